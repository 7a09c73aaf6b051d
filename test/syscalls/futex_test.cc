// futex(2), futex_waitv(2), set_robust_list(2).
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

using Word = std::atomic<uint32_t>;
static_assert(sizeof(Word) == 4);

long Futex(Word* word, int op, uint32_t value, const timespec* timeout = nullptr,
           Word* second = nullptr, uint32_t value3 = 0) {
  return syscall(SYS_futex, word, op, value, timeout, second, value3);
}
long FutexCount(Word* word, int op, uint32_t value, uint64_t value2, Word* second,
                uint32_t value3 = 0) {
  return syscall(SYS_futex, word, op, value, value2, second, value3);
}
// Waits until `count` threads sleep on the word: a requeue onto itself counts and wakes nobody.
void AwaitWaiters(Word* word, int op_flags, long count) {
  while (FutexCount(word, FUTEX_REQUEUE | op_flags, 0, 1000, word) < count) sched_yield();
}

TEST(FutexTest, AnotherValueIsEagain) {
  Word word{1};
  EXPECT_ERRNO(EAGAIN, Futex(&word, FUTEX_WAIT_PRIVATE, 2));
  EXPECT_ERRNO(EAGAIN, Futex(&word, FUTEX_WAIT, 2));
}

TEST(FutexTest, TimeoutsAreRelativeOrAbsolute) {
  Word word{1};
  timespec t = {0, 1'000'000};
  EXPECT_ERRNO(ETIMEDOUT, Futex(&word, FUTEX_WAIT_PRIVATE, 1, &t));
  clock_gettime(CLOCK_MONOTONIC, &t);
  EXPECT_ERRNO(ETIMEDOUT, Futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 1, &t, nullptr, ~0u));
  clock_gettime(CLOCK_REALTIME, &t);
  EXPECT_ERRNO(ETIMEDOUT,
               Futex(&word, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 1, &t, nullptr, ~0u));
  t.tv_nsec = 1'000'000'000;
  EXPECT_ERRNO(EINVAL, Futex(&word, FUTEX_WAIT_PRIVATE, 1, &t));
}

TEST(FutexTest, ArgumentsAreChecked) {
  alignas(4) char bytes[8] = {};
  EXPECT_ERRNO(EINVAL, Futex(reinterpret_cast<Word*>(bytes + 1), FUTEX_WAIT_PRIVATE, 0));
  EXPECT_ERRNO(EFAULT, Futex(reinterpret_cast<Word*>(16), FUTEX_WAIT_PRIVATE, 0));
  Word word{0};
  EXPECT_ERRNO(EINVAL, Futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, nullptr, nullptr, 0));
  EXPECT_ERRNO(EINVAL, Futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 1, nullptr, nullptr, 0));
  EXPECT_ERRNO(ENOSYS, Futex(&word, 99, 0));
  EXPECT_ERRNO(ENOSYS, Futex(&word, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 1));
  EXPECT_EQ(Futex(&word, FUTEX_WAKE_PRIVATE, 1), 0);
}

TEST(FutexTest, WakeCountsWhoItWoke) {
  Word word{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 5; i++) {
    threads.emplace_back([&] { EXPECT_EQ(Futex(&word, FUTEX_WAIT_PRIVATE, 0), 0); });
  }
  AwaitWaiters(&word, FUTEX_PRIVATE_FLAG, 5);
  EXPECT_EQ(Futex(&word, FUTEX_WAKE_PRIVATE, 2), 2);
  EXPECT_EQ(Futex(&word, FUTEX_WAKE_PRIVATE, 100), 3);
  for (auto& t : threads) t.join();
}

TEST(FutexTest, CompareRequeueMovesTheRest) {
  Word from{7}, to{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++) {
    threads.emplace_back([&] { EXPECT_EQ(Futex(&from, FUTEX_WAIT_PRIVATE, 7), 0); });
  }
  AwaitWaiters(&from, FUTEX_PRIVATE_FLAG, 4);
  EXPECT_ERRNO(EAGAIN, FutexCount(&from, FUTEX_CMP_REQUEUE_PRIVATE, 1, 2, &to, 8));
  EXPECT_EQ(FutexCount(&from, FUTEX_CMP_REQUEUE_PRIVATE, 1, 2, &to, 7), 3);
  EXPECT_EQ(Futex(&to, FUTEX_WAKE_PRIVATE, 100), 2);
  EXPECT_EQ(Futex(&from, FUTEX_WAKE_PRIVATE, 100), 1);
  for (auto& t : threads) t.join();
}

TEST(FutexTest, WakeOpChangesTheSecondWord) {
  Word first{0}, second{5};
  uint32_t op = FUTEX_OP(FUTEX_OP_XOR, 3, FUTEX_OP_CMP_EQ, 5);
  EXPECT_EQ(FutexCount(&first, FUTEX_WAKE_OP_PRIVATE, 1, 1, &second, op), 0);
  EXPECT_EQ(second.load(), 6u);
  op = FUTEX_OP(FUTEX_OP_OR | FUTEX_OP_OPARG_SHIFT, 4, FUTEX_OP_CMP_GE, 0);
  EXPECT_EQ(FutexCount(&first, FUTEX_WAKE_OP_PRIVATE, 1, 1, &second, op), 0);
  EXPECT_EQ(second.load(), 22u);
}

TEST(FutexTest, SharedMemoryJoinsProcesses) {
  void* page = mmap(nullptr, PageSize(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto* word = new (page) Word(0);
  pid_t child = fork();
  if (child == 0) _exit(Futex(word, FUTEX_WAIT, 0) == 0 ? 0 : 1);
  AwaitWaiters(word, 0, 1);
  EXPECT_EQ(Futex(word, FUTEX_WAKE, 1), 1);
  int status;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(ExitedWith(status, 0));
  munmap(page, PageSize());
}

TEST(FutexTest, AFileMappedTwiceIsOneWord) {
  TempFile file(std::string(4096, '\0'));
  Fd fd = file.Open(O_RDWR);
  auto map = [&] {
    return static_cast<Word*>(
        mmap(nullptr, PageSize(), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
  };
  Word *a = map(), *b = map();
  std::thread sleeper([&] { EXPECT_EQ(Futex(a, FUTEX_WAIT, 0), 0); });
  AwaitWaiters(b, 0, 1);
  EXPECT_EQ(Futex(b, FUTEX_WAKE, 1), 1);
  sleeper.join();
  munmap(a, PageSize());
  munmap(b, PageSize());
}

TEST(FutexTest, PriorityInheritanceMutexesExclude) {
  pthread_mutexattr_t attr;
  pthread_mutexattr_init(&attr);
  pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
  pthread_mutex_t mutex;
  ASSERT_EQ(pthread_mutex_init(&mutex, &attr), 0);
  int counter = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++) {
    threads.emplace_back([&] {
      for (int n = 0; n < 500; n++) {
        ASSERT_EQ(pthread_mutex_lock(&mutex), 0);
        int seen = counter;
        if (n % 16 == 0) sched_yield();
        counter = seen + 1;
        ASSERT_EQ(pthread_mutex_unlock(&mutex), 0);
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(counter, 2000);
  pthread_mutex_destroy(&mutex);
}

TEST(FutexTest, ARobustMutexTellsOfItsOwnersDeath) {
  struct Shared {
    pthread_mutex_t mutex;
  };
  auto* shared = static_cast<Shared*>(
      mmap(nullptr, PageSize(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  pthread_mutexattr_t attr;
  pthread_mutexattr_init(&attr);
  pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
  pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
  ASSERT_EQ(pthread_mutex_init(&shared->mutex, &attr), 0);
  EXPECT_TRUE(ExitedWith(InChild([&] { return pthread_mutex_lock(&shared->mutex); }), 0));
  EXPECT_EQ(pthread_mutex_lock(&shared->mutex), EOWNERDEAD);
  EXPECT_EQ(pthread_mutex_consistent(&shared->mutex), 0);
  EXPECT_EQ(pthread_mutex_unlock(&shared->mutex), 0);
  munmap(shared, PageSize());
}

TEST(FutexTest, WaitvWaitsForAnyOfSeveral) {
  Word words[3] = {{0}, {0}, {0}};
  futex_waitv list[3] = {};
  for (int i = 0; i < 3; i++) {
    list[i].uaddr = reinterpret_cast<uint64_t>(&words[i]);
    list[i].flags = FUTEX_32 | FUTEX_PRIVATE_FLAG;
  }
  timespec past = {0, 1};
  long r = syscall(SYS_futex_waitv, list, 3, 0, &past, CLOCK_MONOTONIC);
  if (r == -1 && errno == ENOSYS) GTEST_SKIP() << "this kernel has no futex_waitv";
  EXPECT_ERRNO(ETIMEDOUT, syscall(SYS_futex_waitv, list, 3, 0, &past, CLOCK_MONOTONIC));
  long woken = -2;
  std::thread sleeper(
      [&] { woken = syscall(SYS_futex_waitv, list, 3, 0, nullptr, CLOCK_MONOTONIC); });
  AwaitWaiters(&words[1], FUTEX_PRIVATE_FLAG, 1);
  EXPECT_EQ(Futex(&words[1], FUTEX_WAKE_PRIVATE, 1), 1);
  sleeper.join();
  EXPECT_EQ(woken, 1);
  list[2].val = 9;
  EXPECT_ERRNO(EAGAIN, syscall(SYS_futex_waitv, list, 3, 0, nullptr, CLOCK_MONOTONIC));
  EXPECT_ERRNO(EINVAL, syscall(SYS_futex_waitv, list, 0, 0, nullptr, CLOCK_MONOTONIC));
  list[0].flags = 0;
  EXPECT_ERRNO(EINVAL, syscall(SYS_futex_waitv, list, 3, 0, nullptr, CLOCK_MONOTONIC));
}

TEST(FutexTest, RobustListsHaveOneSize) {
  EXPECT_ERRNO(EINVAL, syscall(SYS_set_robust_list, nullptr, 8));
  robust_list_head* head = nullptr;
  size_t size = 0;
  EXPECT_EQ(syscall(SYS_get_robust_list, 0, &head, &size), 0);
  EXPECT_EQ(size, sizeof(robust_list_head));
}

}  // namespace
}  // namespace sandboxd::test
