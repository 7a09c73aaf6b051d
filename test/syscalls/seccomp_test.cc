// seccomp(2), prctl(PR_SET_SECCOMP), seccomp_unotify(2).
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

using Code = std::vector<sock_filter>;

sock_filter Stmt(int code, uint32_t k) { return {static_cast<uint16_t>(code), 0, 0, k}; }
sock_filter Jump(int code, uint32_t k, uint8_t jt, uint8_t jf) {
  return {static_cast<uint16_t>(code), jt, jf, k};
}
sock_filter Return(uint32_t value) { return Stmt(BPF_RET | BPF_K, value); }

// `action` for system call `number`, SECCOMP_RET_ALLOW for all others.
Code For(long number, uint32_t action) {
  return {Stmt(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
          Jump(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(number), 0, 1), Return(action),
          Return(SECCOMP_RET_ALLOW)};
}

long Seccomp(unsigned op, unsigned flags, void* args) {
  return syscall(SYS_seccomp, op, flags, args);
}

long Install(Code code, unsigned flags = 0) {
  sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  return Seccomp(SECCOMP_SET_MODE_FILTER, flags, &program);
}

bool NoNewPrivs() { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0; }

// Runs `body` in a child that may have filters.
int Filtered(const std::function<int()>& body) {
  return InChild([&] { return NoNewPrivs() ? body() : 98; });
}

#define EXPECT_EXITED(expected, status) \
  EXPECT_TRUE(ExitedWith(status, expected)) << std::hex << (status)

TEST(SeccompTest, ErrnoIsTheResult) {
  EXPECT_EXITED(0, Filtered([] {
                  if (Install(For(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV)) != 0) return 1;
                  if (syscall(SYS_getppid) != -1 || errno != EXDEV) return 2;
                  return getpid() > 0 ? 0 : 3;
                }));
}

TEST(SeccompTest, ErrnoZeroIsSuccessAndALargeOneIsCut) {
  EXPECT_EXITED(0, Filtered([] {
                  if (Install(For(SYS_getppid, SECCOMP_RET_ERRNO)) != 0) return 1;
                  if (syscall(SYS_getppid) != 0) return 2;
                  if (Install(For(SYS_getuid, SECCOMP_RET_ERRNO | 0xffff)) != 0) return 3;
                  return syscall(SYS_getuid) == -1 && errno == 4095 ? 0 : 4;
                }));
}

TEST(SeccompTest, ArgumentsDecide) {
  EXPECT_EXITED(0, Filtered([] {
                  Code code{Stmt(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                            Jump(BPF_JMP | BPF_JEQ | BPF_K, SYS_dup, 0, 3),
                            Stmt(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)),
                            Jump(BPF_JMP | BPF_JEQ | BPF_K, 77, 0, 1),
                            Return(SECCOMP_RET_ERRNO | EXDEV),
                            Return(SECCOMP_RET_ALLOW)};
                  if (Install(code) != 0) return 1;
                  if (dup(77) != -1 || errno != EXDEV) return 2;
                  return dup(78) == -1 && errno == EBADF ? 0 : 3;
                }));
}

TEST(SeccompTest, ArchitectureAndInstructionPointerAreThere) {
  EXPECT_EXITED(0, Filtered([] {
                  Code code{
                      Stmt(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
                      Jump(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
                      Return(SECCOMP_RET_KILL_PROCESS),
                      Stmt(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, instruction_pointer)),
                      Jump(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
                      Return(SECCOMP_RET_KILL_PROCESS),
                      Return(SECCOMP_RET_ALLOW)};
                  return Install(code) == 0 && getppid() > 0 ? 0 : 1;
                }));
}

TEST(SeccompTest, KillProcessIsSigsys) {
  int status = Filtered([] {
    std::thread other([] { pause(); });
    other.detach();
    if (Install(For(SYS_getppid, SECCOMP_RET_KILL_PROCESS)) != 0) return 1;
    syscall(SYS_getppid);
    return 2;
  });
  EXPECT_TRUE(KilledBy(status, SIGSYS)) << status;
}

TEST(SeccompTest, AnUnknownActionKillsTheProcess) {
  int status = Filtered([] {
    if (Install(For(SYS_getppid, 0x12340000)) != 0) return 1;
    syscall(SYS_getppid);
    return 2;
  });
  EXPECT_TRUE(KilledBy(status, SIGSYS)) << status;
}

TEST(SeccompTest, KillThreadLeavesTheOthers) {
  EXPECT_EXITED(0, Filtered([] {
                  if (Install(For(SYS_getppid, SECCOMP_RET_KILL_THREAD)) != 0) return 1;
                  pthread_t thread;
                  static std::atomic<bool> survived{false};
                  pthread_create(
                      &thread, nullptr,
                      [](void*) -> void* {
                        syscall(SYS_getppid);
                        survived = true;
                        return nullptr;
                      },
                      nullptr);
                  // The kernel clears the word that pthread_join waits for.
                  pthread_join(thread, nullptr);
                  return survived ? 2 : 0;
                }));
  int status = Filtered([] {
    if (Install(For(SYS_getppid, SECCOMP_RET_KILL_THREAD)) != 0) return 1;
    syscall(SYS_getppid);
    return 2;
  });
  EXPECT_TRUE(KilledBy(status, SIGSYS)) << status;
}

siginfo_t trapped;
TEST(SeccompTest, TrapIsASignalThatKnowsTheCall) {
  EXPECT_EXITED(0, Filtered([] {
                  struct sigaction action {};
                  action.sa_flags = SA_SIGINFO;
                  action.sa_sigaction = [](int, siginfo_t* info, void*) { trapped = *info; };
                  sigaction(SIGSYS, &action, nullptr);
                  if (Install(For(SYS_getppid, SECCOMP_RET_TRAP | 0x321)) != 0) return 1;
                  syscall(SYS_getppid);
                  if (trapped.si_signo != SIGSYS || trapped.si_code != 1) return 2;  // SYS_SECCOMP
                  if (trapped.si_syscall != SYS_getppid) return 3;
                  if (trapped.si_arch != AUDIT_ARCH_X86_64 || trapped.si_errno != 0x321) return 4;
                  return trapped.si_call_addr != nullptr ? 0 : 5;
                }));
}

TEST(SeccompTest, TrapKillsWhereItIsBlockedOrIgnored) {
  for (bool block : {false, true}) {
    int status = Filtered([block] {
      if (block) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGSYS);
        sigprocmask(SIG_BLOCK, &set, nullptr);
      } else {
        signal(SIGSYS, SIG_IGN);
      }
      if (Install(For(SYS_getppid, SECCOMP_RET_TRAP)) != 0) return 1;
      syscall(SYS_getppid);
      return 2;
    });
    EXPECT_TRUE(KilledBy(status, SIGSYS)) << status;
  }
}

TEST(SeccompTest, TraceWithoutATracerIsEnosys) {
  EXPECT_EXITED(0, Filtered([] {
                  if (Install(For(SYS_getppid, SECCOMP_RET_TRACE)) != 0) return 1;
                  return syscall(SYS_getppid) == -1 && errno == ENOSYS ? 0 : 2;
                }));
}

TEST(SeccompTest, TheStrictestOfAllFiltersCounts) {
  EXPECT_EXITED(0, Filtered([] {
                  if (Install(For(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV)) != 0) return 1;
                  if (Install(For(SYS_getppid, SECCOMP_RET_LOG)) != 0) return 2;
                  if (syscall(SYS_getppid) != -1 || errno != EXDEV) return 3;
                  // Of two errnos, the newer filter's.
                  if (Install(For(SYS_getppid, SECCOMP_RET_ERRNO | ENODEV)) != 0) return 4;
                  return syscall(SYS_getppid) == -1 && errno == ENODEV ? 0 : 5;
                }));
}

TEST(SeccompTest, ChildrenKeepThem) {
  EXPECT_EXITED(7, Filtered([] {
                  if (Install(For(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV)) != 0) return 1;
                  int status =
                      InChild([] { return syscall(SYS_getppid) == -1 && errno == EXDEV ? 7 : 2; });
                  return WEXITSTATUS(status);
                }));
}

TEST(SeccompTest, StatusTellsModeAndCount) {
  EXPECT_EXITED(0, Filtered([] {
                  if (ReadFile("/proc/self/status").find("Seccomp:\t0\n") == std::string::npos)
                    return 1;
                  if (prctl(PR_GET_SECCOMP) != 0) return 2;
                  Install(For(SYS_getppid, SECCOMP_RET_LOG));
                  Install(For(SYS_getppid, SECCOMP_RET_LOG));
                  std::string status = ReadFile("/proc/self/status");
                  if (status.find("NoNewPrivs:\t1\n") == std::string::npos) return 3;
                  if (status.find("Seccomp:\t2\n") == std::string::npos) return 4;
                  if (prctl(PR_GET_SECCOMP) != 2) return 5;
                  return 0;
                }));
}

TEST(SeccompTest, NeedsNoNewPrivsOrPrivilege) {
  int status = AsUser([] {
    if (Install(For(SYS_getppid, SECCOMP_RET_ALLOW)) != -1 || errno != EACCES) return 1;
    if (!NoNewPrivs()) return 2;
    return Install(For(SYS_getppid, SECCOMP_RET_ALLOW)) == 0 ? 0 : 3;
  });
  if (ExitedWith(status, 99)) GTEST_SKIP() << "only root may change ids";
  EXPECT_EXITED(0, status);
}

TEST(SeccompTest, ErrorsOfArguments) {
  EXPECT_EXITED(
      0, Filtered([] {
        if (Seccomp(99, 0, nullptr) != -1 || errno != EINVAL) return 1;
        if (Seccomp(SECCOMP_SET_MODE_STRICT, 1, nullptr) != -1 || errno != EINVAL) return 2;
        int x;
        if (Seccomp(SECCOMP_SET_MODE_STRICT, 0, &x) != -1 || errno != EINVAL) return 3;
        if (Seccomp(SECCOMP_SET_MODE_FILTER, 0, nullptr) != -1 || errno != EFAULT) return 4;
        if (Install(Code{}) != -1 || errno != EINVAL) return 5;
        if (Install(Code(4097, Return(SECCOMP_RET_ALLOW))) != -1 || errno != EINVAL) return 6;
        if (Install(For(1, SECCOMP_RET_ALLOW), 1 << 20) != -1 || errno != EINVAL) return 7;
        if (Install({Stmt(BPF_LD | BPF_W | BPF_ABS, 64), Return(0)}) != -1 || errno != EINVAL)
          return 8;
        sock_fprog program{4, reinterpret_cast<sock_filter*>(8)};
        if (Seccomp(SECCOMP_SET_MODE_FILTER, 0, &program) != -1 || errno != EFAULT) return 9;
        if (prctl(PR_SET_SECCOMP, 3, nullptr) != -1 || errno != EINVAL) return 10;
        return 0;
      }));
}

TEST(SeccompTest, ActionsThatAreThere) {
  for (uint32_t action :
       {SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO,
        SECCOMP_RET_USER_NOTIF, SECCOMP_RET_TRACE, SECCOMP_RET_LOG, SECCOMP_RET_ALLOW}) {
    EXPECT_EQ(Seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &action), 0) << std::hex << action;
  }
  uint32_t action = 0x12340000;
  EXPECT_ERRNO(EOPNOTSUPP, Seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &action));
  EXPECT_ERRNO(EINVAL, Seccomp(SECCOMP_GET_ACTION_AVAIL, 1, &action));
  EXPECT_ERRNO(EFAULT, Seccomp(SECCOMP_GET_ACTION_AVAIL, 0, nullptr));
}

TEST(SeccompTest, StrictModeAllowsFourCalls) {
  int status = InChild([] {
    int fds[2];
    if (pipe(fds) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) return 1;
    char c = 'x';
    if (write(fds[1], &c, 1) != 1 || read(fds[0], &c, 1) != 1) syscall(SYS_exit, 2);
    syscall(SYS_exit, 7);
    return 3;
  });
  EXPECT_EXITED(7, status);
  status = InChild([] {
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    syscall(SYS_getpid);
    return 1;
  });
  EXPECT_TRUE(KilledBy(status, SIGKILL)) << status;
}

TEST(SeccompTest, AFilterExcludesStrictMode) {
  EXPECT_EXITED(0, Filtered([] {
                  Install(For(SYS_getppid, SECCOMP_RET_LOG));
                  if (Seccomp(SECCOMP_SET_MODE_STRICT, 0, nullptr) != -1 || errno != EINVAL)
                    return 1;
                  return 0;
                }));
}

TEST(SeccompTest, TsyncReachesTheOtherThreads) {
  EXPECT_EXITED(0, Filtered([] {
                  int go[2], result = -1;
                  if (pipe(go) != 0) return 1;
                  std::thread other([&] {
                    char c;
                    if (read(go[0], &c, 1) != 1) return;
                    result = syscall(SYS_getppid) == -1 ? errno : 0;
                  });
                  long r = Install(For(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV),
                                   SECCOMP_FILTER_FLAG_TSYNC);
                  if (write(go[1], "x", 1) != 1) return 2;
                  other.join();
                  return r == 0 && result == EXDEV ? 0 : 3;
                }));
}

TEST(SeccompTest, TsyncNamesAThreadThatHasItsOwnFilter) {
  EXPECT_EXITED(0, Filtered([] {
                  int ready[2], end[2];
                  if (pipe(ready) != 0 || pipe(end) != 0) return 1;
                  pid_t tid = 0;
                  std::thread other([&] {
                    tid = gettid();
                    NoNewPrivs();
                    Install(For(SYS_getppid, SECCOMP_RET_LOG));
                    char c = 'x';
                    if (write(ready[1], &c, 1) == 1 && read(end[0], &c, 1) == 1) return;
                  });
                  char c;
                  if (read(ready[0], &c, 1) != 1) return 2;
                  long r = Install(For(SYS_getuid, SECCOMP_RET_LOG), SECCOMP_FILTER_FLAG_TSYNC);
                  long e = Install(For(SYS_getuid, SECCOMP_RET_LOG),
                                   SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH);
                  bool esrch = e == -1 && errno == ESRCH;
                  if (write(end[1], "x", 1) != 1) return 3;
                  other.join();
                  return r == tid && esrch ? 0 : 4;
                }));
}

// --- user notification ---

// A child whose `number` goes to us; `call` is what it then does. Its exit status is in *status
// once the supervisor is done.
template <typename Call, typename Supervise>
int Supervised(long number, const Call& call, const Supervise& supervise) {
  int pair[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  pid_t child = fork();
  if (child == 0) {
    close(pair[0]);
    if (!NoNewPrivs()) _exit(90);
    long fd = Install(For(number, SECCOMP_RET_USER_NOTIF), SECCOMP_FILTER_FLAG_NEW_LISTENER);
    if (fd < 0) _exit(91);
    char control[CMSG_SPACE(sizeof(int))] = {};
    char byte = 'x';
    iovec iov{&byte, 1};
    msghdr message{};
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    int listener = static_cast<int>(fd);
    memcpy(CMSG_DATA(header), &listener, sizeof(int));
    if (sendmsg(pair[1], &message, 0) != 1) _exit(92);
    close(listener);
    _exit(call());
  }
  close(pair[1]);
  char control[CMSG_SPACE(sizeof(int))] = {};
  char byte;
  iovec iov{&byte, 1};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  int listener = -1;
  if (recvmsg(pair[0], &message, 0) == 1 && CMSG_FIRSTHDR(&message) != nullptr) {
    memcpy(&listener, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
  }
  EXPECT_GE(listener, 0);
  if (listener >= 0) supervise(child, listener);
  if (listener >= 0) close(listener);
  close(pair[0]);
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

seccomp_notif Receive(int listener) {
  seccomp_notif request{};
  EXPECT_EQ(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request), 0) << strerror(errno);
  return request;
}

TEST(SeccompNotifyTest, TheSupervisorAnswers) {
  int status = Supervised(
      SYS_getppid, [] { return static_cast<int>(syscall(SYS_getppid)); },
      [](pid_t child, int listener) {
        pollfd p{listener, POLLIN | POLLOUT, 0};
        EXPECT_EQ(poll(&p, 1, -1), 1);
        EXPECT_EQ(p.revents, POLLIN);
        seccomp_notif request = Receive(listener);
        EXPECT_EQ(request.pid, static_cast<uint32_t>(child));
        EXPECT_EQ(request.data.nr, SYS_getppid);
        EXPECT_EQ(request.data.arch, AUDIT_ARCH_X86_64);
        EXPECT_EQ(poll(&p, 1, -1), 1);
        EXPECT_EQ(p.revents, POLLOUT);
        EXPECT_EQ(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &request.id), 0);
        seccomp_notif_resp response{request.id, 42, 0, 0};
        EXPECT_EQ(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response), 0);
        EXPECT_ERRNO(ENOENT,
                     static_cast<long>(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &request.id)));
      });
  EXPECT_EXITED(42, status);
}

TEST(SeccompNotifyTest, AnErrorOrTheCallItself) {
  int status = Supervised(
      SYS_getppid,
      [] {
        if (syscall(SYS_getppid) != -1 || errno != EXDEV) return 1;
        return syscall(SYS_getppid) > 0 ? 0 : 2;
      },
      [](pid_t, int listener) {
        seccomp_notif first = Receive(listener);
        seccomp_notif_resp error{first.id, 0, -EXDEV, 0};
        EXPECT_EQ(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &error), 0);
        seccomp_notif second = Receive(listener);
        seccomp_notif_resp both{second.id, 1, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        EXPECT_ERRNO(EINVAL, static_cast<long>(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &both)));
        seccomp_notif_resp go{second.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        EXPECT_EQ(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &go), 0);
      });
  EXPECT_EXITED(0, status);
}

TEST(SeccompNotifyTest, WithoutAListenerItIsEnosys) {
  int status = Supervised(
      SYS_getppid, [] { return syscall(SYS_getppid) == -1 && errno == ENOSYS ? 0 : 1; },
      [](pid_t, int listener) {
        Receive(listener);  // and closed without an answer
      });
  EXPECT_EXITED(0, status);
}

TEST(SeccompNotifyTest, HangsUpWhenNobodyHasTheFilter) {
  int status = Supervised(
      SYS_getppid, [] { return 5; },
      [](pid_t, int listener) {
        pollfd p{listener, POLLIN, 0};
        EXPECT_EQ(poll(&p, 1, -1), 1);
        EXPECT_EQ(p.revents, POLLHUP);
      });
  EXPECT_EXITED(5, status);
}

TEST(SeccompNotifyTest, ADescriptorCanBeGiven) {
  TempFile file("given");
  int status = Supervised(
      SYS_getppid,
      [] {
        int fd = static_cast<int>(syscall(SYS_getppid));
        char text[6] = {};
        if (read(fd, text, 5) != 5) return 1;
        return strcmp(text, "given") == 0 ? 0 : 2;
      },
      [&](pid_t, int listener) {
        seccomp_notif request = Receive(listener);
        Fd fd = file.Open(O_RDONLY);
        seccomp_notif_addfd add{};
        add.id = request.id;
        add.srcfd = static_cast<uint32_t>(fd.get());
        int installed = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
        EXPECT_GE(installed, 0) << strerror(errno);
        seccomp_notif_resp response{request.id, installed, 0, 0};
        EXPECT_EQ(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response), 0);
      });
  EXPECT_EXITED(0, status);
}

TEST(SeccompNotifyTest, OnlyOneListenerInAChain) {
  EXPECT_EXITED(0, Filtered([] {
                  long fd = Install(For(SYS_getppid, SECCOMP_RET_USER_NOTIF),
                                    SECCOMP_FILTER_FLAG_NEW_LISTENER);
                  if (fd < 0) return 1;
                  if (Install(For(SYS_getppid, SECCOMP_RET_USER_NOTIF),
                              SECCOMP_FILTER_FLAG_NEW_LISTENER) != -1 ||
                      errno != EBUSY)
                    return 2;
                  return 0;
                }));
  seccomp_notif_sizes sizes{};
  ASSERT_EQ(Seccomp(SECCOMP_GET_NOTIF_SIZES, 0, &sizes), 0);
  EXPECT_EQ(sizes.seccomp_notif, sizeof(seccomp_notif));
  EXPECT_EQ(sizes.seccomp_notif_resp, sizeof(seccomp_notif_resp));
  EXPECT_EQ(sizes.seccomp_data, sizeof(seccomp_data));
}

}  // namespace
}  // namespace sandboxd::test
