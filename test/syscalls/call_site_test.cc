// Places in a program's code where it makes system calls. A platform may change such code while it
// runs; a program must not notice: no call is lost, none is made twice, whatever happens meanwhile.
//
// `call_site_test --seconds=N` tortures for N seconds instead of a few.
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>

#include <atomic>
#include <thread>
#include <vector>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

double seconds = 3;

// write(fd, buffer, size), as different compilers and libraries make the call, each 32 bytes.
constexpr size_t kSiteSize = 32;
const std::vector<std::vector<unsigned char>> kShapes = {
    // mov $1,%eax; syscall; ret
    {0xb8, 1, 0, 0, 0, 0x0f, 0x05, 0xc3},
    // mov $1,%ecx; mov %ecx,%eax; syscall; cmp $-4095,%rax; ret
    {0xb9, 1, 0, 0, 0, 0x89, 0xc8, 0x0f, 0x05, 0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff, 0xc3},
    // mov $1,%eax; mov %rdx,%rdx; syscall; cmp $-4095,%rax; ret
    {0xb8, 1, 0, 0, 0, 0x48, 0x89, 0xd2, 0x0f, 0x05, 0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff, 0xc3},
    // mov $1,%eax; mov 8(%rsp),%r9; syscall; ret
    {0xb8, 1, 0, 0, 0, 0x4c, 0x8b, 0x4c, 0x24, 0x08, 0x0f, 0x05, 0xc3},
    // mov $1,%eax; mov -8(%rsp),%r9d (4 bytes more with 32-bit load); syscall; ret
    {0xb8, 1, 0, 0, 0, 0x8b, 0x4c, 0x24, 0xf8, 0x0f, 0x05, 0xc3},
    // push %rbp; xor %ebp,%ebp; mov $1,%rax; syscall; pop %rbp; ret
    {0x55, 0x31, 0xed, 0x48, 0xc7, 0xc0, 1, 0, 0, 0, 0x0f, 0x05, 0x5d, 0xc3},
};
using WriteCall = ssize_t (*)(int, const void*, size_t);

// A page and more of such code, mapped from a file as a library is.
class Text {
 public:
  Text() {
    std::string code(2 * PageSize(), '\x90');
    // One site crosses from the first page to the second.
    for (size_t at = PageSize() / 2 + 3; at + kSiteSize < code.size(); at += kSiteSize + 1) {
      const auto& shape = kShapes[starts_.size() % kShapes.size()];
      std::copy(shape.begin(), shape.end(), code.begin() + static_cast<ptrdiff_t>(at));
      starts_.push_back(at);
      if (starts_.size() == 100) break;
    }
    file_ = std::make_unique<TempFile>(code);
    code_ = code;
    size_ = code.size();
    Fd fd = file_->Open(O_RDONLY);
    base_ =
        static_cast<char*>(mmap(nullptr, size_, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd.get(), 0));
    EXPECT_NE(base_, MAP_FAILED);
  }
  ~Text() { munmap(base_, size_); }
  size_t size() const { return starts_.size(); }
  WriteCall operator[](size_t i) const {
    return reinterpret_cast<WriteCall>(base_ + starts_[i % starts_.size()]);
  }
  void Protect(int prot) { ASSERT_EQ(mprotect(base_, size_, prot), 0); }
  // As a system call sees the code, which is as a debugger does.
  void ExpectOriginal() const {
    int fds[2];
    ASSERT_EQ(pipe(fds), 0);
    std::string seen(size_, 0);
    ASSERT_EQ(write(fds[1], base_, size_), static_cast<ssize_t>(size_));
    ASSERT_EQ(read(fds[0], seen.data(), size_), static_cast<ssize_t>(size_));
    close(fds[0]);
    close(fds[1]);
    EXPECT_TRUE(seen == code_);
  }

 private:
  std::unique_ptr<TempFile> file_;
  std::string code_;
  std::vector<size_t> starts_;
  size_t size_ = 0;
  char* base_ = nullptr;
};

// Calls made, beside the eventfd that has counted those that arrived.
struct Counter {
  int fd = eventfd(0, EFD_NONBLOCK);
  std::atomic<uint64_t> made{0};

  void Call(WriteCall call) {
    const uint64_t one = 1;
    if (call(fd, &one, sizeof(one)) == sizeof(one)) {
      made.fetch_add(1, std::memory_order_relaxed);
    } else {
      failed.fetch_add(1, std::memory_order_relaxed);
    }
  }
  std::atomic<uint64_t> failed{0};
  uint64_t Seen() const {
    uint64_t value = 0;
    return read(fd, &value, sizeof(value)) == sizeof(value) ? value : 0;
  }
};

Counter* counter;
Text* text;
std::atomic<size_t> handler_calls{0};

void CallInHandler(int) {
  const int saved = errno;
  counter->Call((*text)[handler_calls++]);
  errno = saved;
}

class CallSiteTest : public testing::Test {
 protected:
  CallSiteTest() {
    // Shared, so that children count in the same place.
    counter = new (mmap(nullptr, sizeof(Counter), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Counter;
  }
  ~CallSiteTest() override {
    close(counter->fd);
    munmap(counter, sizeof(Counter));
  }
  static void ExpectAgreement() {
    EXPECT_EQ(counter->Seen(), counter->made.load());
    EXPECT_EQ(counter->failed.load(), 0u);
    counter->made = 0;
  }
};

TEST_F(CallSiteTest, EveryShapeKeepsWorking) {
  Text own;
  text = &own;
  for (int round = 0; round < 10; round++) {
    for (size_t i = 0; i < own.size(); i++) counter->Call(own[i]);
  }
  ExpectAgreement();
  own.ExpectOriginal();
}

TEST_F(CallSiteTest, CodeThatBecomesWritableIsTheOriginal) {
  Text own;
  for (int i = 0; i < 10; i++) counter->Call(own[0]);
  own.Protect(PROT_READ | PROT_WRITE | PROT_EXEC);
  EXPECT_EQ(memcmp(reinterpret_cast<void*>(own[0]), kShapes[0].data(), kShapes[0].size()), 0);
  own.Protect(PROT_READ | PROT_EXEC);
  for (int i = 0; i < 10; i++) counter->Call(own[0]);
  ExpectAgreement();
}

TEST_F(CallSiteTest, ResultsAndErrorsArrive) {
  Text own;
  const uint64_t one = 1;
  for (size_t i = 0; i < 10 * own.size(); i++) {
    EXPECT_EQ(own[i](-1, &one, sizeof(one)), -EBADF);
    EXPECT_EQ(own[i](counter->fd, nullptr, sizeof(one)), -EFAULT);
  }
}

// Code that no file backs, and writable code: whatever it is now is what runs.
TEST_F(CallSiteTest, CodeThatChangesItself) {
  auto* code = static_cast<unsigned char*>(mmap(
      nullptr, PageSize(), PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(code, MAP_FAILED);
  // mov $nr,%eax; syscall; ret
  const unsigned char function[] = {0xb8, 0, 0, 0, 0, 0x0f, 0x05, 0xc3};
  memcpy(code + 64, function, sizeof(function));
  auto call = reinterpret_cast<long (*)()>(code + 64);
  for (int i = 0; i < 20; i++) {
    code[65] = SYS_getpid;
    EXPECT_EQ(call(), getpid());
    code[65] = SYS_getppid;
    EXPECT_EQ(call(), getppid());
  }
  munmap(code, PageSize());
}

void Work(size_t seed, std::atomic<bool>& stop) {
  for (size_t i = seed; !stop.load(std::memory_order_relaxed); i += 7) counter->Call((*text)[i]);
}

// A child calls everything too, then is the same program again.
void ForkAndExec(bool exec) {
  const pid_t pid = fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    for (size_t i = 0; i < text->size(); i++) counter->Call((*text)[i]);
    if (exec) execl("/proc/self/exe", "call_site_test", "--nothing", nullptr);
    _exit(exec ? 1 : 0);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) != pid) {
  }
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

TEST_F(CallSiteTest, NoCallIsLostOrDoubledWhateverHappens) {
  struct sigaction action {};
  action.sa_handler = CallInHandler;
  action.sa_flags = SA_RESTART;
  ASSERT_EQ(sigaction(SIGALRM, &action, nullptr), 0);
  timespec begin;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  auto elapsed = [&] {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec - begin.tv_sec) +
           static_cast<double>(now.tv_nsec - begin.tv_nsec) / 1e9;
  };
  uint64_t rounds = 0;
  while (elapsed() < seconds || rounds < 2) {
    Text own;  // code that nobody has called yet
    text = &own;
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (size_t i = 0; i < 4; i++) threads.emplace_back([i, &stop] { Work(i, stop); });
    const itimerval often{{0, 500}, {0, 500}}, never{};
    setitimer(ITIMER_REAL, &often, nullptr);
    ForkAndExec(rounds % 4 == 3);
    own.Protect(PROT_READ | PROT_WRITE | PROT_EXEC);
    own.Protect(PROT_READ | PROT_EXEC);
    own.ExpectOriginal();
    ForkAndExec(false);
    setitimer(ITIMER_REAL, &never, nullptr);
    stop = true;
    for (std::thread& t : threads) t.join();
    ExpectAgreement();
    if (HasFailure()) break;
    rounds++;
  }
  signal(SIGALRM, SIG_DFL);
  EXPECT_GT(handler_calls.load(), 0u);
}

}  // namespace
}  // namespace sandboxd::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; i++) {
    if (std::string(argv[i]) == "--nothing") return 0;
    if (std::string(argv[i]).rfind("--seconds=", 0) == 0) {
      sandboxd::test::seconds = std::stod(argv[i] + strlen("--seconds="));
    }
  }
  return RUN_ALL_TESTS();
}
