// fork(2), vfork(2), clone(2), clone3(2), exit(2), pidfd_open(2).
#include <limits.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif

// A pipe that one side waits on until the other lets it go.
class Gate {
 public:
  Gate() { EXPECT_EQ(pipe2(fds_, O_CLOEXEC), 0); }
  ~Gate() {
    close(fds_[0]);
    close(fds_[1]);
  }
  void Open() { EXPECT_EQ(write(fds_[1], "x", 1), 1); }
  void Wait() {
    char c;
    EXPECT_EQ(read(fds_[0], &c, 1), 1);
  }

 private:
  int fds_[2];
};

pid_t RawClone(unsigned long flags, void* stack = nullptr, int* parent = nullptr,
               int* child = nullptr) {
  return static_cast<pid_t>(syscall(SYS_clone, flags, stack, parent, child, 0));
}

TEST(ForkTest, ChildHasItsOwnMemoryAndId) {
  volatile int value = 1;
  pid_t parent = getpid();
  int status = InChild([&] {
    if (getppid() != parent || getpid() == parent) return 1;
    value = 2;
    return 0;
  });
  EXPECT_TRUE(ExitedWith(status, 0));
  EXPECT_EQ(value, 1);
}

TEST(ForkTest, FileOffsetsAreShared) {
  TempFile file("abcdef");
  Fd fd = file.Open(O_RDONLY);
  char c = 0;
  EXPECT_TRUE(ExitedWith(InChild([&] { return read(fd.get(), &c, 1) == 1 ? 0 : 1; }), 0));
  ASSERT_EQ(read(fd.get(), &c, 1), 1);
  EXPECT_EQ(c, 'b');
}

TEST(ForkTest, SharedMappingsAreShared) {
  auto* p = static_cast<std::atomic<int>*>(
      mmap(nullptr, PageSize(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(p, MAP_FAILED);
  EXPECT_TRUE(ExitedWith(InChild([&] {
                           p->store(5);
                           return 0;
                         }),
                         0));
  EXPECT_EQ(p->load(), 5);
  munmap(p, PageSize());
}

TEST(VforkTest, ParentWaitsAndMemoryIsShared) {
  volatile int value = 0;
  pid_t pid = vfork();
  if (pid == 0) {
    value = 1;
    _exit(3);
  }
  EXPECT_EQ(value, 1);
  int status;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(ExitedWith(status, 3));
}

TEST(CloneTest, FlagsThatDontGoTogetherAreInvalid) {
  EXPECT_ERRNO(EINVAL, RawClone(CLONE_THREAD | SIGCHLD));
  EXPECT_ERRNO(EINVAL, RawClone(CLONE_SIGHAND | SIGCHLD));
  EXPECT_ERRNO(EINVAL, RawClone(CLONE_NEWNS | CLONE_FS | SIGCHLD));
  int tid;
  EXPECT_ERRNO(EINVAL, RawClone(CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD, nullptr, &tid));
}

TEST(CloneTest, SetTidStoresTheIdInParentAndChild) {
  int in_parent = 0, in_child = 0;
  pid_t pid =
      RawClone(CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, nullptr, &in_parent, &in_child);
  if (pid == 0) _exit(in_child == syscall(SYS_getpid) ? 0 : 1);
  ASSERT_GT(pid, 0);
  EXPECT_EQ(in_parent, pid);
  EXPECT_EQ(in_child, 0);
  int status;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(ExitedWith(status, 0));
}

TEST(CloneTest, FilesAreSharedWithCloneFiles) {
  int fd = open("/dev/null", O_RDONLY);
  ASSERT_GE(fd, 0);
  pid_t pid = RawClone(CLONE_FILES | SIGCHLD);
  if (pid == 0) _exit(close(fd));
  int status;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_ERRNO(EBADF, close(fd));
}

TEST(CloneTest, CurrentDirectoryIsSharedWithCloneFs) {
  std::string before = get_current_dir_name();
  pid_t pid = RawClone(CLONE_FS | SIGCHLD);
  if (pid == 0) _exit(chdir("/tmp"));
  int status;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  char now[PATH_MAX];
  ASSERT_NE(getcwd(now, sizeof(now)), nullptr);
  EXPECT_STREQ(now, "/tmp");
  EXPECT_EQ(chdir(before.c_str()), 0);
}

TEST(CloneTest, ExitSignalIsTheChosenOneAndNeedsWclone) {
  pid_t pid = RawClone(0);  // no exit signal
  if (pid == 0) _exit(4);
  int status;
  EXPECT_ERRNO(ECHILD, waitpid(pid, &status, 0));
  ASSERT_EQ(waitpid(pid, &status, __WCLONE), pid);
  EXPECT_TRUE(ExitedWith(status, 4));
}

TEST(Clone3Test, SizesAndUnknownFieldsAreChecked) {
  clone_args args{};
  EXPECT_ERRNO(EINVAL, syscall(SYS_clone3, &args, 63));
  EXPECT_ERRNO(E2BIG, syscall(SYS_clone3, &args, 4097));
  args.exit_signal = 65;
  EXPECT_ERRNO(EINVAL, syscall(SYS_clone3, &args, sizeof(args)));
  args.exit_signal = 0;
  args.stack_size = 4096;
  EXPECT_ERRNO(EINVAL, syscall(SYS_clone3, &args, sizeof(args)));
  EXPECT_ERRNO(EFAULT, syscall(SYS_clone3, nullptr, sizeof(args)));
}

TEST(Clone3Test, MakesAProcessAndItsPidfd) {
  int pidfd = -1;
  clone_args args{};
  args.flags = CLONE_PIDFD;
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  pid_t pid = static_cast<pid_t>(syscall(SYS_clone3, &args, sizeof(args)));
  if (pid == 0) _exit(6);
  ASSERT_GT(pid, 0) << strerror(errno);
  ASSERT_GE(pidfd, 0);
  pollfd p{pidfd, POLLIN, 0};
  EXPECT_EQ(poll(&p, 1, -1), 1);
  siginfo_t info{};
  ASSERT_EQ(waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED), 0);
  EXPECT_EQ(info.si_pid, pid);
  EXPECT_EQ(info.si_status, 6);
  EXPECT_NE(fcntl(pidfd, F_GETFD) & FD_CLOEXEC, 0);
  close(pidfd);
}

TEST(PidfdTest, OpenChecksItsArguments) {
  EXPECT_ERRNO(EINVAL, syscall(SYS_pidfd_open, 0, 0));
  EXPECT_ERRNO(EINVAL, syscall(SYS_pidfd_open, getpid(), 1));
  EXPECT_ERRNO(ESRCH, syscall(SYS_pidfd_open, 0x3fffffff, 0));
}

TEST(PidfdTest, SendSignalReachesTheProcess) {
  Gate gate;
  pid_t pid = fork();
  if (pid == 0) {
    for (;;) pause();
  }
  int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  ASSERT_GE(pidfd, 0);
  EXPECT_EQ(syscall(SYS_pidfd_send_signal, pidfd, 0, nullptr, 0), 0);
  EXPECT_EQ(syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, nullptr, 0), 0);
  int status;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(KilledBy(status, SIGTERM));
  EXPECT_ERRNO(ESRCH, syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, nullptr, 0));
  close(pidfd);
}

TEST(ThreadTest, ThreadsShareTheProcessIdAndHaveTheirOwnTid) {
  pid_t tid = 0, pid = 0;
  std::thread([&] {
    tid = static_cast<pid_t>(syscall(SYS_gettid));
    pid = static_cast<pid_t>(syscall(SYS_getpid));
  }).join();
  EXPECT_EQ(pid, getpid());
  EXPECT_NE(tid, pid);
}

TEST(ThreadTest, ExitGroupEndsBlockedThreads) {
  int status = InChild([] {
    std::thread([] {
      for (;;) pause();
    }).detach();
    std::thread([] { syscall(SYS_exit_group, 9); }).join();
    return 1;
  });
  EXPECT_TRUE(ExitedWith(status, 9));
}

TEST(ThreadTest, TheProcessLivesOnWhenItsLeaderExits) {
  int status = InChild([] {
    std::thread([] {
      // The leader is a zombie thread by then; nothing tells when, and nothing depends on it.
      _exit(8);
    }).detach();
    syscall(SYS_exit, 1);
    return 2;
  });
  EXPECT_TRUE(ExitedWith(status, 8));
}

TEST(ThreadTest, ManyThreadsComeAndGo) {
  std::atomic<int> sum{0};
  for (int round = 0; round < 10; round++) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 20; i++) threads.emplace_back([&sum] { sum++; });
    for (std::thread& t : threads) t.join();
  }
  EXPECT_EQ(sum.load(), 200);
}

TEST(ThreadTest, ForkInAThreadCopiesThatThreadAlone) {
  int status = -1;
  std::thread([&] { status = InChild([] { return getpid() == gettid() ? 0 : 1; }); }).join();
  EXPECT_TRUE(ExitedWith(status, 0));
}

TEST(ExitTest, OrphansGoToASubreaper) {
  ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  Gate gate;
  int ids[2];
  ASSERT_EQ(pipe(ids), 0);
  pid_t child = fork();
  if (child == 0) {
    pid_t grandchild = fork();
    if (grandchild == 0) {
      gate.Wait();
      _exit(11);
    }
    _exit(write(ids[1], &grandchild, sizeof(grandchild)) == sizeof(grandchild) ? 0 : 1);
  }
  int status;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  pid_t grandchild = 0;
  ASSERT_EQ(read(ids[0], &grandchild, sizeof(grandchild)), ssize_t{sizeof(grandchild)});
  gate.Open();
  ASSERT_EQ(waitpid(grandchild, &status, 0), grandchild);
  EXPECT_TRUE(ExitedWith(status, 11));
  EXPECT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
  close(ids[0]);
  close(ids[1]);
}

TEST(ExitTest, ParentDeathSignalComes) {
  ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  Gate ready;
  int ids[2];
  ASSERT_EQ(pipe(ids), 0);
  pid_t child = fork();
  if (child == 0) {
    pid_t grandchild = fork();
    if (grandchild == 0) {
      prctl(PR_SET_PDEATHSIG, SIGUSR1);
      ready.Open();
      for (;;) pause();
    }
    ready.Wait();
    _exit(write(ids[1], &grandchild, sizeof(grandchild)) == sizeof(grandchild) ? 0 : 1);
  }
  int status;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  pid_t grandchild = 0;
  ASSERT_EQ(read(ids[0], &grandchild, sizeof(grandchild)), ssize_t{sizeof(grandchild)});
  ASSERT_EQ(waitpid(grandchild, &status, 0), grandchild);
  EXPECT_TRUE(KilledBy(status, SIGUSR1));
  EXPECT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
  close(ids[0]);
  close(ids[1]);
}

}  // namespace
}  // namespace sandboxd::test
