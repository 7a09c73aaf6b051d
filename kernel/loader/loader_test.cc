#include "kernel/loader/loader.h"

#include <elf.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <random>

#include "kernel/vfs/testing/test_caller.h"
#include "platform/base/unique_fd.h"
#include "platform/testing/fake_platform.h"

namespace sandboxd::loader {
namespace {

constexpr uint64_t kBase = 0x400000;

// A file in a memfd.
class MemoryFile final : public vfs::File {
 public:
  explicit MemoryFile(const std::string& content) : File(vfs::Path(), 0) {
    backing_ = MakeRef<Backing>(content);
  }
  bool seekable() const override { return true; }
  Result<size_t> ReadAt(vfs::Caller&, mm::IoSink& dst, int64_t offset) override {
    std::vector<char> buffer(dst.remaining());
    ssize_t n = pread(backing_->fd.get(), buffer.data(), buffer.size(), offset);
    if (n < 0) return Errno::kEINVAL;
    return dst.Put(std::as_bytes(std::span(buffer.data(), static_cast<size_t>(n))));
  }
  Result<vfs::Attr> GetAttr() override {
    vfs::Attr a;
    a.size = backing_->size;
    return a;
  }
  Result<Ref<mm::Mappable>> Mmap(vfs::Caller&, int, int) override {
    return Ref<mm::Mappable>(backing_);
  }

 private:
  struct Backing final : public mm::Mappable {
    explicit Backing(const std::string& s)
        : fd(memfd_create("loader_test", MFD_CLOEXEC)), size(s.size()) {
      CHECK(fd.valid() && write(fd.get(), s.data(), s.size()) == static_cast<ssize_t>(s.size()));
    }
    Result<mm::HostRange> HostBacking(uint64_t offset, uint64_t, mm::MapAccess) override {
      return mm::HostRange{fd.get(), offset};
    }
    Identity identity() const override { return {}; }
    std::string MapsName() const override { return "/program"; }
    Result<void> Sync(uint64_t, uint64_t) override { return Ok(); }
    UniqueFd fd;
    const uint64_t size;
  };
  ~MemoryFile() override = default;
  Ref<Backing> backing_;
};

// A root directory for the caller; nothing is looked up in it.
class EmptyDirectory final : public vfs::Inode {
 public:
  explicit EmptyDirectory(vfs::Superblock& sb) : Inode(sb, 1, S_IFDIR | 0755) {}
  Result<vfs::Attr> GetAttr() override { return vfs::Attr{.ino = 1, .mode = S_IFDIR | 0755}; }

 private:
  ~EmptyDirectory() override = default;
};
class EmptySuperblock final : public vfs::Superblock {
 public:
  std::string_view type_name() const override { return "empty"; }
  Ref<vfs::Inode> RootInode() override { return MakeRef<EmptyDirectory>(*this); }
  Result<vfs::FsStat> StatFs() override { return vfs::FsStat{}; }

 private:
  ~EmptySuperblock() override = default;
};

// An ELF file made by hand: headers in the first page, then what the segments hold.
struct TestElf {
  Elf64_Ehdr header = {};
  std::vector<Elf64_Phdr> segments;
  std::string content = std::string(3 * kPageSize, 'c');

  explicit TestElf(uint16_t type) {
    memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = type;
    header.e_machine = EM_X86_64;
    header.e_phoff = sizeof(header);
    header.e_phentsize = sizeof(Elf64_Phdr);
    uint64_t base = type == ET_EXEC ? kBase : 0;
    header.e_entry = base + 0x123;
    Add(PT_LOAD, PF_R | PF_X, 0, base, kPageSize, kPageSize);
    // Data that begins and ends within pages, and zeros behind it.
    Add(PT_LOAD, PF_R | PF_W, kPageSize + 0x100, base + 2 * kPageSize + 0x100, 0x200,
        2 * kPageSize);
  }
  void Add(uint32_t type, uint32_t flags, uint64_t offset, uint64_t address, uint64_t file_size,
           uint64_t memory_size) {
    segments.push_back({type, flags, offset, address, address, file_size, memory_size, kPageSize});
  }
  void Interpreter(const std::string& path) {
    uint64_t at = 2 * kPageSize;
    memcpy(content.data() + at, path.c_str(), path.size() + 1);
    Add(PT_INTERP, PF_R, at, at, path.size() + 1, path.size() + 1);
  }
  std::string Bytes() const {
    std::string s = content;
    Elf64_Ehdr h = header;
    if (h.e_phnum == 0) h.e_phnum = static_cast<uint16_t>(segments.size());
    memcpy(s.data(), &h, sizeof(h));
    memcpy(s.data() + sizeof(h), segments.data(), segments.size() * sizeof(Elf64_Phdr));
    return s;
  }
};

class LoaderTest : public testing::Test {
 protected:
  Result<LoadedImage> Run(const std::string& content) {
    LoadRequest r;
    r.file = MakeRef<MemoryFile>(content);
    r.filename = "/bin/program-with-a-long-name";
    r.argv = {"prog", "one"};
    r.envp = {"A=b"};
    // The fake platform has an entry for each page.
    r.limits.address_space = 64 << 20;
    r.limits.stack = 256 << 10;
    r.open_interpreter = [this](const std::string& path) -> Result<Ref<vfs::File>> {
      auto it = files_.find(path);
      if (it == files_.end()) return Errno::kENOENT;
      return Ref<vfs::File>(MakeRef<MemoryFile>(it->second));
    };
    r.rights = [this](vfs::File&) -> Result<ProgramRights> {
      return ProgramRights{caller_.credentials(), false};
    };
    return Load(platform_, caller_, std::move(r));
  }
  static std::string ReadString(LoadedImage& image, uint64_t at) {
    return MUST(mm::UserMemory(*image.context).ReadCString(UserAddr(at), 4096));
  }
  static std::map<uint64_t, uint64_t> Auxv(LoadedImage& image) {
    std::map<uint64_t, uint64_t> v;
    auto words = image.mm->layout().auxv;
    for (size_t i = 0; i + 1 < words.size(); i += 2) v[words[i]] = words[i + 1];
    return v;
  }

  platform::FakePlatform platform_;
  vfs::Vfs vfs_;
  vfs::TestCaller caller_{vfs_, MakeRef<EmptySuperblock>()};
  std::map<std::string, std::string> files_;
};

TEST_F(LoaderTest, StaticProgram) {
  auto image = MUST(Run(TestElf(ET_EXEC).Bytes()));
  EXPECT_EQ(image.entry, UserAddr(kBase + 0x123));
  EXPECT_EQ(image.comm, "program-with-a-");
  mm::UserMemory memory(*image.context);
  UserAddr data(kBase + 2 * kPageSize);
  EXPECT_EQ(MUST(memory.Read<char>(data + 0x2ff)), 'c');
  EXPECT_EQ(MUST(memory.Read<char>(data + 0x300)), 0) << "zeroed to the page's end";
  EXPECT_EQ(MUST(memory.Read<char>(data + kPageSize)), 0);
  EXPECT_TRUE(memory.Write<char>(data + 2 * kPageSize, 1).ok()) << "bss reaches into this page";
  EXPECT_TRUE(memory.Write<char>(UserAddr(kBase), 1).Is(Errno::kEFAULT)) << "code is read-only";
  auto aux = Auxv(image);
  EXPECT_EQ(aux[AT_PHDR], kBase + sizeof(Elf64_Ehdr));
  EXPECT_EQ(aux[AT_PHNUM], 2u);
  EXPECT_EQ(aux[AT_ENTRY], kBase + 0x123);
  EXPECT_EQ(aux[AT_BASE], 0u);
  EXPECT_EQ(aux[AT_SECURE], 0u);
  EXPECT_EQ(ReadString(image, aux[AT_EXECFN]), "/bin/program-with-a-long-name");
}

TEST_F(LoaderTest, StackHoldsArguments) {
  auto image = MUST(Run(TestElf(ET_EXEC).Bytes()));
  mm::UserMemory memory(*image.context);
  auto words = MUST(memory.ReadArray<uint64_t>(image.stack_pointer, 6));
  EXPECT_EQ(words[0], 2u);
  EXPECT_EQ(ReadString(image, words[1]), "prog");
  EXPECT_EQ(ReadString(image, words[2]), "one");
  EXPECT_EQ(words[3], 0u);
  EXPECT_EQ(ReadString(image, words[4]), "A=b");
  EXPECT_EQ(words[5], 0u);
}

TEST_F(LoaderTest, BreakBeginsBehindTheProgram) {
  auto image = MUST(Run(TestElf(ET_EXEC).Bytes()));
  UserAddr start = image.mm->layout().start_brk;
  EXPECT_GE(start, UserAddr(kBase + 5 * kPageSize));
  UserAddr to = start + 100;
  EXPECT_EQ(image.mm->Brk(*image.context, to, {}), to);
}

TEST_F(LoaderTest, InterpreterRunsFirst) {
  files_["/lib/ld.so"] = TestElf(ET_DYN).Bytes();
  TestElf program(ET_DYN);
  program.Interpreter("/lib/ld.so");
  auto image = MUST(Run(program.Bytes()));
  auto aux = Auxv(image);
  EXPECT_EQ(image.entry.value, aux[AT_BASE] + 0x123);
  EXPECT_NE(aux[AT_BASE], 0u);
  EXPECT_EQ(aux[AT_PHDR] - sizeof(Elf64_Ehdr) + 0x123, aux[AT_ENTRY]);
  EXPECT_NE(aux[AT_ENTRY], image.entry.value);
}

TEST_F(LoaderTest, InterpreterErrors) {
  TestElf program(ET_DYN);
  program.Interpreter("/lib/ld.so");
  EXPECT_TRUE(Run(program.Bytes()).Is(Errno::kENOENT));
  files_["/lib/ld.so"] = "not an ELF file";
  EXPECT_TRUE(Run(program.Bytes()).Is(Errno::kELIBBAD));
  TestElf arm(ET_DYN);
  arm.header.e_machine = EM_AARCH64;
  files_["/lib/ld.so"] = arm.Bytes();
  EXPECT_TRUE(Run(program.Bytes()).Is(Errno::kELIBBAD));
}

TEST_F(LoaderTest, WhatIsNoProgramIsEnoexec) {
  EXPECT_TRUE(Run("").Is(Errno::kENOEXEC));
  EXPECT_TRUE(Run("echo hello\n").Is(Errno::kENOEXEC));
  auto with = [&](auto change) {
    TestElf elf(ET_EXEC);
    change(elf);
    return Run(elf.Bytes());
  };
  EXPECT_TRUE(with([](TestElf& e) { e.header.e_machine = EM_AARCH64; }).Is(Errno::kENOEXEC));
  EXPECT_TRUE(
      with([](TestElf& e) { e.header.e_ident[EI_CLASS] = ELFCLASS32; }).Is(Errno::kENOEXEC));
  EXPECT_TRUE(with([](TestElf& e) { e.header.e_type = ET_REL; }).Is(Errno::kENOEXEC));
  EXPECT_TRUE(with([](TestElf& e) { e.header.e_phentsize = 1; }).Is(Errno::kENOEXEC));
  EXPECT_TRUE(with([](TestElf& e) { e.header.e_phoff = 1 << 30; }).Is(Errno::kENOEXEC));
  EXPECT_TRUE(
      with([](TestElf& e) { e.segments.clear(), e.header.e_phnum = 1; }).Is(Errno::kENOEXEC))
      << "no segment";
  EXPECT_TRUE(Run(TestElf(ET_EXEC).Bytes().substr(0, kPageSize)).Is(Errno::kENOEXEC))
      << "truncated";
}

TEST_F(LoaderTest, ImpossibleSegments) {
  auto with = [&](auto change) {
    TestElf elf(ET_EXEC);
    change(elf.segments[1]);
    return Run(elf.Bytes());
  };
  EXPECT_TRUE(with([](Elf64_Phdr& p) { p.p_memsz = 1; }).Is(Errno::kEINVAL));
  EXPECT_TRUE(with([](Elf64_Phdr& p) { p.p_memsz = ~uint64_t{0}; }).Is(Errno::kEINVAL));
  EXPECT_TRUE(with([](Elf64_Phdr& p) { p.p_vaddr = ~uint64_t{0} << 12; }).Is(Errno::kEINVAL));
  EXPECT_TRUE(with([](Elf64_Phdr& p) { p.p_offset += 1; }).Is(Errno::kEINVAL));
  EXPECT_TRUE(with([](Elf64_Phdr& p) { p.p_memsz = uint64_t{1} << 46; }).Is(Errno::kENOMEM));
  TestElf low(ET_EXEC);
  for (auto& p : low.segments) p.p_vaddr -= kBase;
  EXPECT_TRUE(Run(low.Bytes()).Is(Errno::kEPERM)) << "below vm.mmap_min_addr";
}

TEST_F(LoaderTest, ScriptsNameTheirInterpreter) {
  files_["/bin/sh"] = TestElf(ET_EXEC).Bytes();
  auto image = MUST(Run("#!/bin/sh -e x\nexit 0\n"));
  mm::UserMemory memory(*image.context);
  auto words = MUST(memory.ReadArray<uint64_t>(image.stack_pointer, 5));
  EXPECT_EQ(words[0], 4u);
  EXPECT_EQ(ReadString(image, words[1]), "/bin/sh");
  EXPECT_EQ(ReadString(image, words[2]), "-e x");
  EXPECT_EQ(ReadString(image, words[3]), "/bin/program-with-a-long-name");
  EXPECT_EQ(ReadString(image, words[4]), "one");
  EXPECT_EQ(image.comm, "program-with-a-");
}

TEST_F(LoaderTest, ScriptsOfScriptsEndSomewhere) {
  files_["/bin/sh"] = TestElf(ET_EXEC).Bytes();
  files_["/1"] = "#!/bin/sh\n";
  for (int i = 2; i <= 5; i++) files_["/" + std::to_string(i)] = "#!/" + std::to_string(i - 1);
  EXPECT_TRUE(Run("#!/4\n").ok());
  EXPECT_TRUE(Run("#!/5\n").Is(Errno::kELOOP));
  files_["/self"] = "#!/self\n";
  EXPECT_TRUE(Run("#!/self\n").Is(Errno::kELOOP));
  EXPECT_TRUE(Run("#!/missing\n").Is(Errno::kENOENT));
}

TEST_F(LoaderTest, StringArrays) {
  auto image = MUST(Run(TestElf(ET_EXEC).Bytes()));
  mm::UserMemory memory(*image.context);
  uint64_t budget = 1000;
  auto argv = MUST(ReadStringArray(memory, image.stack_pointer + 8, budget));
  EXPECT_EQ(argv, (std::vector<std::string>{"prog", "one"}));
  EXPECT_EQ(budget, 1000u - 5 - 4 - 16);
  budget = 20;
  EXPECT_TRUE(ReadStringArray(memory, image.stack_pointer + 8, budget).Is(Errno::kE2BIG));
  EXPECT_TRUE(ReadStringArray(memory, UserAddr(0x20000), budget).Is(Errno::kEFAULT));
  EXPECT_TRUE(MUST(ReadStringArray(memory, UserAddr(), budget)).empty());
  EXPECT_EQ(ArgumentLimit({}), uint64_t{2} << 20);
}

// Corrupt headers must never crash us, whatever they say. The seed is fixed: a failure repeats.
TEST_F(LoaderTest, CorruptHeadersAreSurvived) {
  files_["/lib/ld.so"] = TestElf(ET_DYN).Bytes();
  TestElf program(ET_DYN);
  program.Interpreter("/lib/ld.so");
  const std::string good = program.Bytes();
  const size_t headers = sizeof(Elf64_Ehdr) + program.segments.size() * sizeof(Elf64_Phdr);
  std::mt19937_64 random(1);
  int loaded = 0, refused = 0;
  for (int i = 0; i < 3000; i++) {
    std::string bad = good;
    for (uint64_t n = 1 + random() % 3; n > 0; n--) {
      size_t at = 4 + random() % (headers - 12);
      uint64_t value = random() >> (random() % 64);
      if (random() % 2 == 0) at &= ~size_t{7};
      memcpy(bad.data() + at, &value, random() % 2 == 0 ? 8 : 1);
    }
    // Half of the time the damage is in the interpreter.
    Result<LoadedImage> r = Errno::kEIO;
    if (random() % 2 == 0) {
      r = Run(bad);
    } else {
      files_["/lib/ld.so"] = bad;
      r = Run(good);
      files_["/lib/ld.so"] = TestElf(ET_DYN).Bytes();
    }
    (r.ok() ? loaded : refused)++;
  }
  EXPECT_GT(loaded, 0);
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace sandboxd::loader
