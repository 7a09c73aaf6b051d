// mmap(2), munmap(2), mprotect(2), msync(2), mincore(2).
#include <setjmp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <cstring>
#include <vector>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

constexpr int kRw = PROT_READ | PROT_WRITE;
constexpr int kAnon = MAP_PRIVATE | MAP_ANONYMOUS;

void* Map(size_t pages, int prot = kRw, int flags = kAnon) {
  void* p = mmap(nullptr, pages * PageSize(), prot, flags, -1, 0);
  EXPECT_NE(p, MAP_FAILED) << strerror(errno);
  return p;
}
char* At(void* base, size_t page) { return static_cast<char*>(base) + page * PageSize(); }

// What touching `address` raises: 0, or the signal, with its code.
struct Touch {
  int signo = 0;
  int code = 0;
};
sigjmp_buf g_jump;
volatile int g_signo, g_code;
void OnFault(int signo, siginfo_t* info, void*) {
  g_signo = signo;
  g_code = info->si_code;
  siglongjmp(g_jump, 1);
}
Touch TryTouch(volatile char* address, bool write) {
  struct sigaction action = {}, segv, bus;
  action.sa_sigaction = OnFault;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, &segv);
  sigaction(SIGBUS, &action, &bus);
  g_signo = 0;
  g_code = 0;
  if (sigsetjmp(g_jump, 1) == 0) {
    char value = *address;
    if (write) *address = value;
  }
  sigaction(SIGSEGV, &segv, nullptr);
  sigaction(SIGBUS, &bus, nullptr);
  return {g_signo, g_code};
}

TEST(MmapTest, AnonymousMemoryIsZero) {
  char* p = static_cast<char*>(Map(3));
  for (size_t i = 0; i < 3 * PageSize(); i += 64) ASSERT_EQ(p[i], 0);
  memset(p, 1, 3 * PageSize());
  EXPECT_EQ(munmap(p, 3 * PageSize()), 0);
}

TEST(MmapTest, InvalidArguments) {
  EXPECT_ERRNO(EINVAL, mmap(nullptr, 0, kRw, kAnon, -1, 0));
  EXPECT_ERRNO(EINVAL, mmap(nullptr, 1, kRw, MAP_ANONYMOUS, -1, 0));
  EXPECT_ERRNO(EBADF, mmap(nullptr, 1, kRw, MAP_PRIVATE, -1, 0));
  EXPECT_ERRNO(ENOMEM, mmap(nullptr, ~size_t{0}, kRw, kAnon, -1, 0));
  EXPECT_ERRNO(EINVAL, mmap(reinterpret_cast<void*>(0x10000001), 1, kRw, kAnon | MAP_FIXED, -1, 0));
  EXPECT_ERRNO(EINVAL, syscall(SYS_mmap, 0, 4096, kRw, kAnon, -1, 1));
  EXPECT_ERRNO(ENOMEM, mmap(reinterpret_cast<void*>(0x7ffffffff000), PageSize(), kRw,
                            kAnon | MAP_FIXED, -1, 0));
}

TEST(MmapTest, FixedReplacesWhatWasThere) {
  void* p = Map(3);
  memset(p, 7, 3 * PageSize());
  ASSERT_EQ(mmap(At(p, 1), PageSize(), kRw, kAnon | MAP_FIXED, -1, 0), At(p, 1));
  EXPECT_EQ(*At(p, 0), 7);
  EXPECT_EQ(*At(p, 1), 0);
  EXPECT_EQ(*At(p, 2), 7);
  munmap(p, 3 * PageSize());
}

TEST(MmapTest, FixedNoreplaceRefusesWhatIsTaken) {
  void* p = Map(2);
  munmap(At(p, 1), PageSize());
  EXPECT_ERRNO(EEXIST, mmap(p, PageSize(), kRw, kAnon | MAP_FIXED_NOREPLACE, -1, 0));
  EXPECT_EQ(mmap(At(p, 1), PageSize(), kRw, kAnon | MAP_FIXED_NOREPLACE, -1, 0), At(p, 1));
  munmap(p, 2 * PageSize());
}

TEST(MmapTest, AFreeHintIsTaken) {
  void* p = Map(2);
  munmap(p, 2 * PageSize());
  EXPECT_EQ(mmap(p, PageSize(), kRw, kAnon, -1, 0), p);
  void* q = mmap(p, PageSize(), kRw, kAnon, -1, 0);
  EXPECT_NE(q, p);
  munmap(p, PageSize());
  munmap(q, PageSize());
}

TEST(MmapTest, Map32BitStaysLow) {
  void* p = Map(1, kRw, kAnon | MAP_32BIT);
  EXPECT_LT(reinterpret_cast<uintptr_t>(p), uintptr_t{1} << 31);
  munmap(p, PageSize());
}

TEST(MmapTest, NoAccessFaultsWithAccerrAndNoMappingWithMaperr) {
  char* p = static_cast<char*>(Map(2, PROT_NONE));
  Touch t = TryTouch(p, false);
  EXPECT_EQ(t.signo, SIGSEGV);
  EXPECT_EQ(t.code, SEGV_ACCERR);
  munmap(At(p, 1), PageSize());
  t = TryTouch(At(p, 1), false);
  EXPECT_EQ(t.signo, SIGSEGV);
  EXPECT_EQ(t.code, SEGV_MAPERR);
  munmap(p, PageSize());
}

TEST(MmapTest, PrivateFileMappingsDoNotWriteTheFile) {
  TempFile file("hello");
  Fd fd = file.Open(O_RDONLY);
  char* p = static_cast<char*>(mmap(nullptr, PageSize(), kRw, MAP_PRIVATE, fd.get(), 0));
  ASSERT_NE(p, MAP_FAILED);
  EXPECT_STREQ(p, "hello");
  p[0] = 'j';
  EXPECT_EQ(ReadFile(file.path()), "hello");
  munmap(p, PageSize());
}

TEST(MmapTest, SharedFileMappingsAreTheFile) {
  TempFile file("hello");
  Fd fd = file.Open(O_RDWR);
  char* p = static_cast<char*>(mmap(nullptr, PageSize(), kRw, MAP_SHARED, fd.get(), 0));
  ASSERT_NE(p, MAP_FAILED);
  p[0] = 'j';
  EXPECT_EQ(ReadFile(file.path()), "jello");
  ASSERT_EQ(pwrite(fd.get(), "J", 1, 0), 1);
  EXPECT_EQ(p[0], 'J');
  EXPECT_EQ(msync(p, PageSize(), MS_SYNC), 0);
  munmap(p, PageSize());
}

TEST(MmapTest, BeyondTheFilesEndIsSigbus) {
  TempFile file("x");
  Fd fd = file.Open(O_RDONLY);
  char* p = static_cast<char*>(mmap(nullptr, 2 * PageSize(), PROT_READ, MAP_SHARED, fd.get(), 0));
  ASSERT_NE(p, MAP_FAILED);
  EXPECT_EQ(TryTouch(p, false).signo, 0);
  Touch t = TryTouch(At(p, 1), false);
  EXPECT_EQ(t.signo, SIGBUS);
  EXPECT_EQ(t.code, BUS_ADRERR);
  munmap(p, 2 * PageSize());
}

TEST(MmapTest, RightsOfTheFileAreRespected) {
  TempFile file("x");
  Fd reader = file.Open(O_RDONLY);
  Fd writer = file.Open(O_WRONLY);
  EXPECT_ERRNO(EACCES, mmap(nullptr, PageSize(), kRw, MAP_SHARED, reader.get(), 0));
  EXPECT_ERRNO(EACCES, mmap(nullptr, PageSize(), PROT_READ, MAP_PRIVATE, writer.get(), 0));
  EXPECT_ERRNO(EACCES, mmap(nullptr, PageSize(), PROT_WRITE, MAP_SHARED, writer.get(), 0));
  void* p = mmap(nullptr, PageSize(), PROT_READ, MAP_SHARED, reader.get(), 0);
  ASSERT_NE(p, MAP_FAILED);
  EXPECT_ERRNO(EACCES, mprotect(p, PageSize(), kRw));
  munmap(p, PageSize());
  Fd path = file.Open(O_PATH);
  EXPECT_ERRNO(EBADF, mmap(nullptr, PageSize(), PROT_READ, MAP_PRIVATE, path.get(), 0));
}

TEST(MmapTest, FilesWithoutMappingsAreEnodev) {
  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  Fd in(pipes[0]), out(pipes[1]);
  EXPECT_ERRNO(ENODEV, mmap(nullptr, PageSize(), PROT_READ, MAP_PRIVATE, in.get(), 0));
  Fd dir(open("/", O_RDONLY | O_DIRECTORY));
  EXPECT_ERRNO(ENODEV, mmap(nullptr, PageSize(), PROT_READ, MAP_PRIVATE, dir.get(), 0));
}

TEST(MmapTest, DevZeroIsAnonymousMemory) {
  Fd zero(open("/dev/zero", O_RDWR));
  if (zero.get() < 0) GTEST_SKIP() << "no /dev/zero here";
  char* p = static_cast<char*>(mmap(nullptr, PageSize(), kRw, MAP_PRIVATE, zero.get(), 0));
  ASSERT_NE(p, MAP_FAILED);
  EXPECT_EQ(p[5], 0);
  p[5] = 1;
  munmap(p, PageSize());
}

TEST(MmapTest, SharedAnonymousMemoryIsSharedWithChildren) {
  int* p = static_cast<int*>(Map(1, kRw, MAP_SHARED | MAP_ANONYMOUS));
  int* q = static_cast<int*>(Map(1));
  *q = 1;
  EXPECT_TRUE(ExitedWith(InChild([&] {
                           *p = 42;
                           *q = 2;
                           return 0;
                         }),
                         0));
  EXPECT_EQ(*p, 42);
  EXPECT_EQ(*q, 1);
  munmap(p, PageSize());
  munmap(q, PageSize());
}

TEST(MunmapTest, SplitsAndIgnoresHoles) {
  char* p = static_cast<char*>(Map(5));
  EXPECT_EQ(munmap(At(p, 1), PageSize()), 0);
  EXPECT_EQ(munmap(At(p, 3), PageSize()), 0);
  EXPECT_EQ(TryTouch(At(p, 1), false).signo, SIGSEGV);
  EXPECT_EQ(TryTouch(At(p, 2), true).signo, 0);
  EXPECT_EQ(munmap(p, 5 * PageSize()), 0);
  EXPECT_EQ(munmap(p, 5 * PageSize()), 0);
  EXPECT_ERRNO(EINVAL, munmap(p + 1, PageSize()));
  EXPECT_ERRNO(EINVAL, munmap(p, 0));
}

TEST(MprotectTest, ChangesAndRestores) {
  char* p = static_cast<char*>(Map(3));
  *At(p, 1) = 9;
  ASSERT_EQ(mprotect(At(p, 1), PageSize(), PROT_READ), 0);
  EXPECT_EQ(TryTouch(At(p, 1), true).signo, SIGSEGV);
  EXPECT_EQ(TryTouch(At(p, 0), true).signo, 0);
  ASSERT_EQ(mprotect(p, 3 * PageSize(), kRw), 0);
  EXPECT_EQ(*At(p, 1), 9);
  munmap(p, 3 * PageSize());
}

TEST(MprotectTest, StopsAtAHoleWithEnomem) {
  char* p = static_cast<char*>(Map(3));
  munmap(At(p, 1), PageSize());
  EXPECT_ERRNO(ENOMEM, mprotect(p, 3 * PageSize(), PROT_READ));
  EXPECT_EQ(TryTouch(At(p, 0), true).signo, SIGSEGV) << "what is before the hole has changed";
  EXPECT_EQ(TryTouch(At(p, 2), true).signo, 0);
  EXPECT_ERRNO(EINVAL, mprotect(p + 1, 1, PROT_READ));
  EXPECT_ERRNO(EINVAL, mprotect(p, PageSize(), 0x40));
  EXPECT_EQ(mprotect(p, 0, PROT_READ), 0);
  munmap(p, 3 * PageSize());
}

TEST(MprotectTest, MadeCodeRuns) {
  unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3};  // mov $42,%eax; ret
  void* p = Map(1);
  memcpy(p, code, sizeof(code));
  ASSERT_EQ(mprotect(p, PageSize(), PROT_READ | PROT_EXEC), 0);
  EXPECT_EQ(reinterpret_cast<int (*)()>(p)(), 42);
  munmap(p, PageSize());
}

TEST(MmapTest, ManyMappingsAreKeptApart) {
  std::vector<char*> pages;
  for (int i = 0; i < 500; i++) {
    pages.push_back(static_cast<char*>(Map(1, i % 2 == 0 ? kRw : PROT_READ)));
    if (i % 2 == 0) *pages.back() = static_cast<char>(i);
  }
  for (int i = 0; i < 500; i += 2) EXPECT_EQ(*pages[static_cast<size_t>(i)], static_cast<char>(i));
  for (char* p : pages) EXPECT_EQ(munmap(p, PageSize()), 0);
}

TEST(MmapTest, AddressSpaceLimitHolds) {
  int status = InChild([] {
    rlimit limit = {256 << 20, 256 << 20};
    if (setrlimit(RLIMIT_AS, &limit) != 0) return 1;
    void* p = mmap(nullptr, 512 << 20, kRw, kAnon, -1, 0);
    return p == MAP_FAILED && errno == ENOMEM ? 0 : 2;
  });
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

TEST(MsyncTest, Arguments) {
  char* p = static_cast<char*>(Map(2));
  EXPECT_EQ(msync(p, 2 * PageSize(), MS_ASYNC), 0);
  EXPECT_ERRNO(EINVAL, msync(p, PageSize(), MS_ASYNC | MS_SYNC));
  EXPECT_ERRNO(EINVAL, msync(p + 1, PageSize(), MS_SYNC));
  EXPECT_ERRNO(EINVAL, msync(p, PageSize(), 0x100));
  munmap(At(p, 1), PageSize());
  EXPECT_ERRNO(ENOMEM, msync(p, 2 * PageSize(), MS_SYNC));
  munmap(p, PageSize());
}

TEST(MincoreTest, ShowsWhatWasTouched) {
  char* p = static_cast<char*>(Map(3));
  *At(p, 1) = 1;
  unsigned char present[3] = {};
  ASSERT_EQ(mincore(p, 3 * PageSize(), present), 0);
  EXPECT_EQ(present[0] & 1, 0);
  EXPECT_EQ(present[1] & 1, 1);
  EXPECT_ERRNO(EINVAL, mincore(p + 1, PageSize(), present));
  munmap(At(p, 2), PageSize());
  EXPECT_ERRNO(ENOMEM, mincore(p, 3 * PageSize(), present));
  EXPECT_ERRNO(EFAULT, mincore(p, PageSize(), reinterpret_cast<unsigned char*>(1)));
  munmap(p, 2 * PageSize());
}

TEST(ProcessVmTest, ReadsAndWritesAnotherProcess) {
  char* p = static_cast<char*>(Map(1));
  strcpy(p, "before");
  int ready[2], done[2];
  ASSERT_EQ(pipe(ready), 0);
  ASSERT_EQ(pipe(done), 0);
  pid_t child = fork();
  if (child == 0) {
    strcpy(p, "child!");
    char c;
    if (write(ready[1], "r", 1) != 1 || read(done[0], &c, 1) != 1) _exit(1);
    _exit(strcmp(p, "parent") == 0 ? 0 : 2);
  }
  char c;
  ASSERT_EQ(read(ready[0], &c, 1), 1);
  char buffer[16] = {};
  iovec local = {buffer, 7}, remote = {p, 7};
  EXPECT_EQ(process_vm_readv(child, &local, 1, &remote, 1, 0), 7);
  EXPECT_STREQ(buffer, "child!");
  strcpy(buffer, "parent");
  EXPECT_EQ(process_vm_writev(child, &local, 1, &remote, 1, 0), 7);
  iovec bad = {reinterpret_cast<void*>(16), 7};
  EXPECT_ERRNO(EFAULT, process_vm_readv(child, &local, 1, &bad, 1, 0));
  EXPECT_ERRNO(EINVAL, process_vm_readv(child, &local, 1, &remote, 1, 1));
  EXPECT_EQ(write(done[1], "d", 1), 1);
  int status;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
  EXPECT_ERRNO(ESRCH, process_vm_readv(child, &local, 1, &remote, 1, 0));
  EXPECT_STREQ(p, "before");
  for (int fd : {ready[0], ready[1], done[0], done[1]}) close(fd);
  munmap(p, PageSize());
}

}  // namespace
}  // namespace sandboxd::test
