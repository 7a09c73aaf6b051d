#include "kernel/loader/loader.h"

#include <elf.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <utility>

#include "kernel/loader/elf_image.h"
#include "kernel/loader/initial_stack.h"
#include "kernel/loader/script.h"
#include "kernel/mm/random.h"

namespace sandboxd::loader {
namespace {

constexpr int kMaxScripts = 5;                 // a script's interpreter may be a script, this deep
constexpr uint64_t kMaxString = 128 << 10;     // MAX_ARG_STRLEN, NUL included
constexpr uint64_t kMinArguments = 128 << 10;  // ARG_MAX
constexpr uint64_t kMaxArguments = 6 << 20;    // three quarters of _STK_LIM
constexpr size_t kMaxComm = 15;
// Where position-independent programs go: two thirds up, and 28 bits of pages at random (Linux's
// ELF_ET_DYN_BASE).
constexpr uint64_t kPieBase = PageRoundDown(platform::kApplicationEnd.value / 3 * 2);
constexpr uint64_t kPieEntropy = kPageSize << 28;
constexpr uint64_t kBrkEntropy = 32 << 20;
// Between a program and its heap: what a platform that patches code wants within reach of it
// (systrap/call_site_x86_64.h) lies here and not in the way of the heap.
constexpr uint64_t kBrkGap = 0x5000'0000;
constexpr uint64_t kStackJitter = 8192;

class Loading {
 public:
  Loading(platform::Platform& platform, vfs::Caller& caller, LoadRequest request)
      : platform_(platform), caller_(caller), request_(std::move(request)) {}

  Result<LoadedImage> Run() {
    TRY(FollowScripts());
    ProgramReader program_reader(caller_, *request_.file);
    ElfImage program = TRY(ReadElf(program_reader));
    std::optional<ElfImage> interpreter;
    Ref<vfs::File> interpreter_file;
    if (program.interpreter) {
      interpreter_file = TRY(request_.open_interpreter(*program.interpreter));
      auto read = ReadElf(ProgramReader(caller_, *interpreter_file));
      // What is no ELF file for us can't be an interpreter.
      if (read.Is(Errno::kENOEXEC)) return Errno::kELIBBAD;
      interpreter = TRY(std::move(read));
    }
    image_.rights = TRY(request_.rights(*request_.file));
    image_.executable = request_.file;
    image_.comm = request_.filename.substr(request_.filename.rfind('/') + 1).substr(0, kMaxComm);

    TRY(MakeAddressSpace());
    AddrRange stack = TRY(image_.mm->MapStack(*image_.context, request_.limits,
                                              program.executable_stack, request_.randomize));
    uint64_t bias = TRY(PlaceProgram(program));
    TRY(MapSegments(*request_.file, program, bias));
    UserAddr entry(program.entry + bias);
    uint64_t interpreter_bias = 0;
    if (interpreter) {
      interpreter_bias = TRY(Place(*interpreter, UserAddr()));
      TRY(MapSegments(*interpreter_file, *interpreter, interpreter_bias));
      entry = UserAddr(interpreter->entry + interpreter_bias);
    }
    if (entry >= platform::kApplicationEnd) return Errno::kEINVAL;
    image_.entry = entry;
    SetBreak(program, bias);
    UserAddr base(interpreter ? interpreter_bias : 0);
    TRY(WriteStack(stack, Auxv(program, bias, base)));
    RecordLayout(program, bias);
    return std::move(image_);
  }

 private:
  // Replaces the file and argv by the interpreter's as long as the file is a script.
  Result<void> FollowScripts() {
    // execve(2) since Linux 5.18: an empty argv gets one empty string.
    if (request_.argv.empty()) request_.argv.emplace_back();
    for (int depth = 0;; depth++) {
      std::array<char, kScriptHead> head;
      ProgramReader reader(caller_, *request_.file);
      size_t n = TRY(reader.ReadSome(0, std::as_writable_bytes(std::span(head))));
      auto script = TRY(ParseScript({head.data(), n}));
      if (!script) return Ok();
      if (depth >= kMaxScripts) return Errno::kELOOP;
      // The script's own name takes the place of argv[0].
      request_.argv[0] = depth == 0 ? request_.filename : script_name_;
      if (script->argument) request_.argv.insert(request_.argv.begin(), *script->argument);
      request_.argv.insert(request_.argv.begin(), script->interpreter);
      request_.file = TRY(request_.open_interpreter(script->interpreter));
      script_name_ = script->interpreter;
    }
  }

  Result<void> MakeAddressSpace() {
    auto as = TRY(platform_.NewAddressSpace());
    image_.context = TRY(as->NewContext());
    image_.mm = TRY(mm::MemoryManager::Create(std::move(as), platform_.vdso()));
    image_.mm->set_executable(request_.file);
    image_.mm->set_dumpable(image_.rights.secure ? 0 : 1);
    return Ok();
  }

  // What to add to the image's addresses.
  Result<uint64_t> Place(const ElfImage& image, UserAddr hint) {
    if (!image.relocatable) {
      UserAddr at = TRY(image_.mm->FindRoom(image.span.start, image.span.length()));
      if (image.span.start < mm::kMmapMinAddr) return Errno::kEPERM;
      if (at != image.span.start) return Errno::kENOMEM;
      return uint64_t{0};
    }
    UserAddr at = TRY(image_.mm->FindRoom(hint, image.span.length()));
    return at.value - image.span.start.value;
  }

  Result<uint64_t> PlaceProgram(const ElfImage& program) {
    // An interpreter that is run as a program goes where mmap puts it, as libraries do.
    if (!program.relocatable || !program.interpreter) return Place(program, UserAddr());
    uint64_t base = kPieBase + (request_.randomize ? mm::RandomPageOffset(kPieEntropy) : 0);
    return Place(program, UserAddr(base & ~(program.alignment - 1)));
  }

  Result<void> MapSegments(vfs::File& file, const ElfImage& image, uint64_t bias) {
    auto mappable = file.Mmap(caller_, PROT_READ | PROT_EXEC, MAP_PRIVATE);
    if (mappable.Is(Errno::kENODEV)) return Errno::kENOEXEC;
    Ref<mm::Mappable> content = TRY(std::move(mappable));
    for (const Segment& s : image.segments) TRY(MapSegment(content, s, bias));
    return Ok();
  }

  Result<void> MapSegment(const Ref<mm::Mappable>& content, const Segment& s, uint64_t bias) {
    UserAddr start(s.address + bias);
    UserAddr file_end = start + s.file_size;
    UserAddr first(PageRoundDown(start.value));
    // None of these sums wraps: a segment ends below kTaskSize, and so does where it is put.
    UserAddr file_pages_end(*PageRoundUp(file_end.value));
    UserAddr end(*PageRoundUp((start + s.memory_size).value));
    mm::MmapRequest r;
    r.prot = s.prot;
    r.flags = MAP_PRIVATE | MAP_FIXED;
    if (s.file_size != 0) {
      r.addr = first;
      r.length = file_pages_end - first;
      r.offset = PageRoundDown(s.offset);
      r.file = content;
      TRY(image_.mm->Mmap(*image_.context, r, request_.limits));
    } else {
      file_pages_end = first;
    }
    if (s.memory_size == s.file_size) return Ok();
    if (s.file_size != 0 && file_end < file_pages_end && (s.prot & PROT_WRITE) != 0) {
      // The rest of the last page of the file's part is zero as well.
      TRY(mm::UserMemory(*image_.context).Zero(file_end, file_pages_end - file_end));
    }
    if (end <= file_pages_end) return Ok();
    r.addr = file_pages_end;
    r.length = end - file_pages_end;
    r.offset = 0;
    r.file = nullptr;
    r.flags |= MAP_ANONYMOUS;
    TRY(image_.mm->Mmap(*image_.context, r, request_.limits));
    return Ok();
  }

  void SetBreak(const ElfImage& program, uint64_t bias) {
    UserAddr start = program.span.end + bias + kBrkGap;
    // A static position-independent program lies among the libraries, where there is no room to
    // grow.
    if (program.relocatable && !program.interpreter) start = UserAddr(kPieBase);
    if (request_.randomize) start = start + mm::RandomPageOffset(kBrkEntropy);
    image_.mm->SetBrkStart(start);
  }

  std::vector<std::pair<uint64_t, uint64_t>> Auxv(const ElfImage& program, uint64_t bias,
                                                  UserAddr interpreter_base) const {
    std::vector<std::pair<uint64_t, uint64_t>> v;
    AddrRange vdso = platform_.vdso().vdso;
    if (!vdso.empty()) v.emplace_back(AT_SYSINFO_EHDR, vdso.start.value);
    // What the processor can do is the host's to say.
    for (uint64_t type : {uint64_t{AT_MINSIGSTKSZ}, uint64_t{AT_HWCAP}}) {
      if (uint64_t value = getauxval(type)) v.emplace_back(type, value);
    }
    const creds::Credentials& c = *image_.rights.credentials;
    const creds::UserNamespace& ns = *c.user_ns;
    v.insert(v.end(), {{AT_PAGESZ, kPageSize},
                       {AT_CLKTCK, 100},
                       {AT_PHDR, program.headers_address + bias},
                       {AT_PHENT, sizeof(Elf64_Phdr)},
                       {AT_PHNUM, program.header_count},
                       {AT_BASE, interpreter_base.value},
                       {AT_FLAGS, 0},
                       {AT_ENTRY, program.entry + bias},
                       {AT_UID, ns.FromKUid(c.ruid)},
                       {AT_EUID, ns.FromKUid(c.euid)},
                       {AT_GID, ns.FromKGid(c.rgid)},
                       {AT_EGID, ns.FromKGid(c.egid)},
                       {AT_SECURE, image_.rights.secure ? 1 : 0},
                       {AT_HWCAP2, getauxval(AT_HWCAP2)}});
    return v;
  }

  Result<void> WriteStack(AddrRange stack, std::vector<std::pair<uint64_t, uint64_t>> auxv) {
    uint64_t jitter = 0;
    if (request_.randomize) {
      mm::RandomBytes(&jitter, sizeof(jitter));
      jitter %= kStackJitter;
    }
    stack_ = TRY(BuildInitialStack(
        stack, {request_.argv, request_.envp, request_.filename, std::move(auxv), jitter}));
    image_.stack_pointer = stack_.stack_pointer;
    auto copied = mm::UserMemory(*image_.context).CopyOut(stack_.stack_pointer, stack_.bytes);
    // Our own fresh stack can only refuse for want of memory.
    return copied.ok() ? Ok() : Result<void>(Errno::kENOMEM);
  }

  void RecordLayout(const ElfImage& program, uint64_t bias) {
    mm::MemoryManager::Layout l = image_.mm->layout();
    for (const Segment& s : program.segments) {
      UserAddr start(s.address + bias);
      UserAddr end = start + s.file_size;
      if ((s.prot & PROT_EXEC) != 0) {
        if (l.start_code.null() || start < l.start_code) l.start_code = start;
        l.end_code = std::max(l.end_code, end);
      }
      if (start >= l.start_data) l.start_data = start;
      l.end_data = std::max(l.end_data, end);
    }
    l.start_stack = stack_.stack_pointer;
    l.arg_start = stack_.arg_start;
    l.arg_end = stack_.arg_end;
    l.env_start = stack_.env_start;
    l.env_end = stack_.env_end;
    l.auxv = stack_.auxv;
    image_.mm->set_layout(l);
  }

  platform::Platform& platform_;
  vfs::Caller& caller_;
  LoadRequest request_;
  std::string script_name_;
  LoadedImage image_;
  InitialStack stack_;
};

}  // namespace

Result<LoadedImage> Load(platform::Platform& platform, vfs::Caller& caller, LoadRequest request) {
  return Loading(platform, caller, std::move(request)).Run();
}

uint64_t ArgumentLimit(const mm::MemoryLimits& limits) {
  return std::max(std::min(limits.stack / 4, kMaxArguments), kMinArguments);
}

Result<std::vector<std::string>> ReadStringArray(const mm::UserMemory& memory, UserAddr array,
                                                 uint64_t& budget) {
  std::vector<std::string> strings;
  if (array.null()) return strings;
  std::array<uint64_t, 32> pointers;
  for (;;) {
    size_t got =
        memory.CopyInPartial(array, std::as_writable_bytes(std::span(pointers))) / sizeof(uint64_t);
    if (got == 0) return Errno::kEFAULT;
    for (size_t i = 0; i < got; i++) {
      if (pointers[i] == 0) return strings;
      auto s = memory.ReadCString(UserAddr(pointers[i]), kMaxString);
      if (s.Is(Errno::kENAMETOOLONG)) return Errno::kE2BIG;
      std::string text = TRY(std::move(s));
      uint64_t cost = text.size() + 1 + sizeof(uint64_t);
      if (cost > budget) return Errno::kE2BIG;
      budget -= cost;
      strings.push_back(std::move(text));
    }
    array = array + got * sizeof(uint64_t);
  }
}

}  // namespace sandboxd::loader
