// /proc/PID/{maps,smaps,smaps_rollup,mem,pagemap,auxv,cmdline,environ}: the process's memory.
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>

#include "kernel/fs/proc/task_ref.h"
#include "kernel/task/ptrace.h"
#include "platform/base/format.h"

namespace sandboxd::proc {
namespace {

using mm::MemoryManager;
using mm::Vma;

constexpr uint64_t kMiB = 1 << 20;

// mincore of a piece costs a host call and a byte a page: beyond this a mapping is guessed at.
constexpr uint64_t kMaxMincore = 512 * kMiB;

// What an untouched look at a mapping suggests.
uint64_t Guess(const Vma& vma) {
  uint64_t n = vma.range.length();
  if ((vma.prot & (PROT_READ | PROT_WRITE | PROT_EXEC)) == 0) return 0;
  if (vma.grows_down) return std::min<uint64_t>(n, 132 << 10);
  if (vma.no_reserve) return 0;
  if (vma.file != nullptr) return n / 2;
  return std::min(n, 16 * kMiB);
}

// In the reader's own process its context can be asked.
uint64_t ResidentBytes(const View& v, MemoryManager& mm, const Vma& vma) {
  if (vma.special) return vma.range.length();
  task::Task* reader = v.reader();
  const bool own = reader != nullptr && reader->mm() == &mm;
  if (!own || vma.range.length() > kMaxMincore) return Guess(vma);
  std::vector<std::byte> present(4096);
  uint64_t pages = 0;
  for (UserAddr at = vma.range.start; at < vma.range.end;) {
    uint64_t n = std::min<uint64_t>((vma.range.end - at) / kPageSize, present.size());
    Bytes piece = Bytes(present).first(n);
    if (!mm.Mincore(reader->context(), at, n * kPageSize, piece).ok()) return Guess(vma);
    for (std::byte b : piece) pages += (b & std::byte{1}) != std::byte{0} ? 1 : 0;
    at = at + n * kPageSize;
  }
  return pages * kPageSize;
}

std::string NameOf(const Vma& vma) {
  if (vma.file != nullptr) {
    std::string name = vma.file->MapsName();
    return name.empty() ? vma.label : name;
  }
  if (vma.shared_anon_id != 0) return "/dev/zero (deleted)";
  return vma.label;
}

std::string MapsLine(const Vma& vma) {
  mm::Mappable::Identity id;
  uint64_t offset = 0;
  if (vma.file != nullptr) {
    id = vma.file->identity();
    offset = vma.offset;
  } else if (vma.shared_anon_id != 0) {
    id = {1, vma.shared_anon_id};
    offset = vma.offset;
  }
  vfs::DeviceNumber dev = vfs::DeviceNumber::Decode(id.device);
  auto ull = [](uint64_t x) { return static_cast<unsigned long long>(x); };
  std::string s =
      StrFormat("%08llx-%08llx %c%c%c%c %08llx %02x:%02x %llu ", ull(vma.range.start.value),
                ull(vma.range.end.value), (vma.prot & PROT_READ) != 0 ? 'r' : '-',
                (vma.prot & PROT_WRITE) != 0 ? 'w' : '-', (vma.prot & PROT_EXEC) != 0 ? 'x' : '-',
                vma.shared() ? 's' : 'p', ull(offset), dev.major, dev.minor, ull(id.inode));
  std::string name = NameOf(vma);
  if (!name.empty()) {
    // Names begin at a column of their own.
    if (s.size() < 73) s.append(73 - s.size(), ' ');
    for (char c : name) s += c == '\n' ? std::string("\\012") : std::string(1, c);
  }
  return s + "\n";
}

Result<std::string> Maps(const View& v) {
  std::string s;
  if (Ref<MemoryManager> mm = v.task.mm()) {
    for (const Vma& vma : mm->Snapshot()) s += MapsLine(vma);
  }
  return s;
}

std::string VmFlags(const Vma& vma) {
  std::string s;
  auto flag = [&](bool on, const char* name) {
    if (on) s += StrFormat("%s ", name);
  };
  flag((vma.prot & PROT_READ) != 0, "rd");
  flag((vma.prot & PROT_WRITE) != 0, "wr");
  flag((vma.prot & PROT_EXEC) != 0, "ex");
  flag(vma.shared(), "sh");
  flag((vma.max_prot & PROT_READ) != 0, "mr");
  flag((vma.max_prot & PROT_WRITE) != 0, "mw");
  flag((vma.max_prot & PROT_EXEC) != 0, "me");
  flag(vma.shared(), "ms");
  flag(vma.grows_down, "gd");
  flag(vma.locked, "lo");
  flag(vma.dont_fork, "dc");
  flag(!vma.no_reserve && !vma.shared() && (vma.prot & PROT_WRITE) != 0, "ac");
  flag(vma.no_reserve, "nr");
  flag(vma.wipe_on_fork, "wf");
  flag(vma.dont_dump, "dd");
  return s;
}

struct Sums {
  uint64_t size = 0, resident = 0, shared = 0, private_clean = 0, private_dirty = 0, anonymous = 0,
           locked = 0;
};

std::string SmapsBody(const Sums& m) {
  auto line = [](const char* name, uint64_t bytes) {
    return StrFormat("%-16s%8llu kB\n", name, static_cast<unsigned long long>(bytes / 1024));
  };
  return line("Rss:", m.resident) + line("Pss:", m.resident) + line("Pss_Dirty:", m.private_dirty) +
         line("Shared_Clean:", m.shared) + line("Shared_Dirty:", 0) +
         line("Private_Clean:", m.private_clean) + line("Private_Dirty:", m.private_dirty) +
         line("Referenced:", m.resident) + line("Anonymous:", m.anonymous) + line("LazyFree:", 0) +
         line("AnonHugePages:", 0) + line("ShmemPmdMapped:", 0) + line("FilePmdMapped:", 0) +
         line("Shared_Hugetlb:", 0) + line("Private_Hugetlb:", 0) + line("Swap:", 0) +
         line("SwapPss:", 0) + line("Locked:", m.locked);
}

Sums SumsOf(const View& v, MemoryManager& mm, const Vma& vma) {
  Sums m;
  m.size = vma.range.length();
  m.resident = ResidentBytes(v, mm, vma);
  if (vma.shared()) {
    m.shared = m.resident;
  } else if (vma.file != nullptr) {
    m.private_clean = m.resident;
  } else {
    m.private_dirty = m.anonymous = m.resident;
  }
  if (vma.locked) m.locked = m.resident;
  return m;
}

Result<std::string> Smaps(const View& v) {
  std::string s;
  Ref<MemoryManager> mm = v.task.mm();
  if (mm == nullptr) return s;
  for (const Vma& vma : mm->Snapshot()) {
    Sums m = SumsOf(v, *mm, vma);
    s += MapsLine(vma);
    s += StrFormat(
        "Size:           %8llu kB\nKernelPageSize:        4 kB\nMMUPageSize:           "
        "4 kB\n",
        static_cast<unsigned long long>(m.size / 1024));
    s += SmapsBody(m) + "THPeligible:    0\nVmFlags: " + VmFlags(vma) + "\n";
  }
  return s;
}

Result<std::string> SmapsRollup(const View& v) {
  Ref<MemoryManager> mm = v.task.mm();
  if (mm == nullptr) return Errno::kESRCH;
  Sums all;
  std::vector<Vma> vmas = mm->Snapshot();
  for (const Vma& vma : vmas) {
    Sums m = SumsOf(v, *mm, vma);
    all.resident += m.resident;
    all.shared += m.shared;
    all.private_clean += m.private_clean;
    all.private_dirty += m.private_dirty;
    all.anonymous += m.anonymous;
    all.locked += m.locked;
  }
  if (vmas.empty()) return std::string();
  std::string s = StrFormat("%08llx-%08llx ---p 00000000 00:00 0 ",
                            static_cast<unsigned long long>(vmas.front().range.start.value),
                            static_cast<unsigned long long>(vmas.back().range.end.value));
  if (s.size() < 73) s.append(73 - s.size(), ' ');
  return s + "[rollup]\n" + SmapsBody(all);
}

std::string ReadRange(MemoryManager& mm, UserAddr start, UserAddr end) {
  // As much as a program could have been given.
  constexpr uint64_t kMax = 8 << 20;
  if (end <= start) return "";
  std::string s(std::min(end - start, kMax), '\0');
  mm::UserMemory memory(mm.address_space());
  s.resize(memory.CopyInPartial(start, std::as_writable_bytes(std::span(s.data(), s.size()))));
  return s;
}

Result<std::string> Cmdline(const View& v) {
  Ref<MemoryManager> mm = v.task.mm();
  if (mm == nullptr) return std::string();
  MemoryManager::Layout l = mm->layout();
  std::string s = ReadRange(*mm, l.arg_start, l.arg_end);
  // setproctitle(3): a program that has overwritten the final NUL has gone on into the environment;
  // its title is one string.
  if (!s.empty() && s.back() != '\0') {
    s += ReadRange(*mm, l.env_start, l.env_end);
    s.resize(std::min(s.size(), s.find('\0')));
  }
  return s;
}

Result<std::string> Environ(const View& v) {
  Ref<MemoryManager> mm = v.task.mm();
  if (mm == nullptr) return std::string();
  MemoryManager::Layout l = mm->layout();
  return ReadRange(*mm, l.env_start, l.env_end);
}

Result<std::string> Auxv(const View& v) {
  Ref<MemoryManager> mm = v.task.mm();
  if (mm == nullptr) return std::string();
  std::vector<uint64_t> auxv = mm->layout().auxv;
  return std::string(reinterpret_cast<const char*>(auxv.data()), auxv.size() * sizeof(uint64_t));
}

constexpr TaskFile kFiles[] = {
    {"maps", 0444, Maps, nullptr, true},
    {"smaps", 0444, Smaps, nullptr, true},
    {"smaps_rollup", 0444, SmapsRollup, nullptr, true, true},
    {"cmdline", 0444, Cmdline},
    {"environ", 0400, Environ, nullptr, true},
    {"auxv", 0400, Auxv, nullptr, true},
};

// /proc/PID/mem: the position is the address.
class MemFile final : public vfs::File {
 public:
  MemFile(Ref<MemoryManager> mm, const vfs::Path& path, int flags)
      : File(path, flags), mm_(std::move(mm)) {}
  bool seekable() const override { return true; }
  // As ptrace(2) reaches it: past the protections.
  Result<size_t> ReadAt(vfs::Caller& c, mm::IoSink& dst, int64_t offset) override {
    return Transfer(dst.remaining(), offset, [&](UserAddr at, Bytes piece) -> Result<size_t> {
      auto* reader = static_cast<task::Task*>(c.task());
      size_t n = reader != nullptr ? task::PtraceReadMemory(*reader, *mm_, at, piece)
                                   : Memory().CopyInPartial(at, piece);
      if (n == 0) return Errno::kEIO;
      return dst.Put(piece.first(n));
    });
  }
  Result<size_t> WriteAt(vfs::Caller& c, mm::IoSource& src, int64_t offset,
                         const vfs::ReadWriteOptions&) override {
    return Transfer(src.remaining(), offset, [&](UserAddr at, Bytes piece) -> Result<size_t> {
      size_t taken = TRY(src.Get(piece));
      auto* writer = static_cast<task::Task*>(c.task());
      size_t n = writer != nullptr ? task::PtraceWriteMemory(*writer, *mm_, at, piece.first(taken))
                                   : Memory().CopyOutPartial(at, piece.first(taken));
      if (n < taken) src.Unget(taken - n);
      if (n == 0) return Errno::kEIO;
      return n;
    });
  }

 private:
  ~MemFile() override = default;
  mm::UserMemory Memory() const { return mm::UserMemory(mm_->address_space()); }

  template <typename Piece>
  Result<size_t> Transfer(size_t size, int64_t offset, const Piece& piece) {
    std::vector<std::byte> buffer(std::min<size_t>(size, 64 << 10));
    size_t done = 0;
    while (done < size) {
      Bytes window = Bytes(buffer).first(std::min(buffer.size(), size - done));
      auto n = piece(UserAddr(static_cast<uint64_t>(offset) + done), window);
      if (!n.ok()) return done > 0 ? Result<size_t>(done) : n;
      done += *n;
      if (*n < window.size()) break;
    }
    return done;
  }

  const Ref<MemoryManager> mm_;
};

class MemNode final : public pseudo::Node {
 public:
  MemNode(const TaskRef& ref, const Owner& o, uint64_t ino)
      : Node(*ref.sb, {ino, S_IFREG | 0600, o.uid, o.gid}), ref_(ref) {}
  Result<Ref<vfs::File>> Open(vfs::Caller& c, const vfs::Path& path, int flags) override {
    Ref<task::Task> t = TRY(ref_.Get());
    TRY(CheckAccess(View{*t, c, *ref_.sb, ref_.scope}));
    Ref<MemoryManager> mm = t->mm();
    if (mm == nullptr) return Errno::kESRCH;
    return Ref<vfs::File>(MakeRef<MemFile>(std::move(mm), path, flags));
  }

 private:
  ~MemNode() override = default;
  const TaskRef ref_;
};

}  // namespace

std::span<const TaskFile> MemoryFiles() { return kFiles; }

Resident ResidentOf(const View& v) {
  Resident r;
  Ref<MemoryManager> mm = v.task.mm();
  if (mm == nullptr) return r;
  for (const Vma& vma : mm->Snapshot()) {
    uint64_t n = ResidentBytes(v, *mm, vma);
    (vma.shared() ? r.shared : vma.file != nullptr ? r.file : r.anonymous) += n;
  }
  return r;
}

Ref<vfs::Inode> MakeMemFile(const TaskRef& ref, task::Task& task, uint64_t ino) {
  return MakeRef<MemNode>(ref, OwnerOf(task), ino);
}

}  // namespace sandboxd::proc
