// namespaces(7): unshare(2), setns(2), clone(2)'s CLONE_NEW*, /proc/PID/ns, the id maps. Everything
// happens in a user namespace of its own, so that no privilege is needed.
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>

#include "test/syscalls/testing.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace sandboxd::test {
namespace {

bool WriteFile(const std::string& path, const std::string& text) {
  Fd fd(open(path.c_str(), O_WRONLY));
  return fd.get() >= 0 &&
         write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

std::string NsLink(const std::string& kind, const std::string& pid = "self") {
  char text[128] = {};
  ssize_t n = readlink(("/proc/" + pid + "/ns/" + kind).c_str(), text, sizeof(text) - 1);
  return n < 0 ? "" : text;
}

// Into a user namespace in which this process is root.
bool BecomeRootOfOwn(int also = 0) {
  uid_t uid = geteuid();
  gid_t gid = getegid();
  if (unshare(CLONE_NEWUSER | also) != 0) return false;
  return WriteFile("/proc/self/setgroups", "deny") &&
         WriteFile("/proc/self/uid_map", "0 " + std::to_string(uid) + " 1") &&
         WriteFile("/proc/self/gid_map", "0 " + std::to_string(gid) + " 1");
}

// Runs `body` in a child that is root of a user namespace of its own. Skips where that may not be.
#define IN_OWN(also, ...)                                                       \
  do {                                                                          \
    int status = InChild([&]() -> int {                                         \
      if (!BecomeRootOfOwn(also)) return 200;                                   \
      return (__VA_ARGS__)();                                                   \
    });                                                                         \
    if (ExitedWith(status, 200)) GTEST_SKIP() << "no user namespaces here";     \
    EXPECT_TRUE(ExitedWith(status, 0)) << WEXITSTATUS(status) << " " << status; \
  } while (0)

TEST(UserNamespaceTest, UnmappedIdsAreTheOverflowId) {
  int status = InChild([] {
    if (unshare(CLONE_NEWUSER) != 0) return 200;
    if (getuid() != 65534 || getgid() != 65534) return 1;
    // A user namespace with all capabilities in it, and none outside.
    if (sethostname("x", 1) != -1 || errno != EPERM) return 2;
    if (prctl(PR_CAPBSET_READ, 21) != 1) return 3;
    return 0;
  });
  if (ExitedWith(status, 200)) GTEST_SKIP() << "no user namespaces here";
  EXPECT_TRUE(ExitedWith(status, 0)) << WEXITSTATUS(status);
}

TEST(UserNamespaceTest, MapsHold) {
  uid_t outside = geteuid();
  IN_OWN(0, [&] {
    if (getuid() != 0 || geteuid() != 0 || getgid() != 0) return 1;
    if (setuid(5) != -1 || errno != EINVAL) return 2;
    unsigned inner = 1, outer = 1, count = 0;
    std::string map = ReadFile("/proc/self/uid_map");
    if (sscanf(map.c_str(), "%u %u %u", &inner, &outer, &count) != 3) return 3;
    if (inner != 0 || outer != outside || count != 1) return 4;
    // Only once.
    if (WriteFile("/proc/self/uid_map", "0 0 1") || errno != EPERM) return 5;
    return 0;
  });
}

TEST(UserNamespaceTest, SetgroupsMustBeDeniedFirst) {
  // Only somebody without CAP_SETGID outside is bound by it.
  int status = AsUser([] {
    gid_t gid = getegid();
    prctl(PR_SET_DUMPABLE, 1);  // else /proc/self is root's
    if (unshare(CLONE_NEWUSER) != 0) return 200;
    std::string map = "0 " + std::to_string(gid) + " 1";
    if (ReadFile("/proc/self/setgroups") != "allow\n") return 1;
    if (WriteFile("/proc/self/gid_map", map) || errno != EPERM) return 2;
    if (WriteFile("/proc/self/setgroups", "maybe") || errno != EINVAL) return 3;
    if (!WriteFile("/proc/self/setgroups", "deny")) return 4;
    if (ReadFile("/proc/self/setgroups") != "deny\n") return 5;
    if (WriteFile("/proc/self/setgroups", "allow") || errno != EPERM) return 6;
    if (!WriteFile("/proc/self/gid_map", map)) return 7;
    if (setgroups(0, nullptr) != -1 || errno != EPERM) return 8;
    return 0;
  });
  if (ExitedWith(status, 200) || ExitedWith(status, 99)) GTEST_SKIP() << "no user namespaces here";
  EXPECT_TRUE(ExitedWith(status, 0)) << WEXITSTATUS(status);
}

TEST(UserNamespaceTest, SomebodyElsesIdsAreRefused) {
  int status = AsUser([] {
    prctl(PR_SET_DUMPABLE, 1);
    if (unshare(CLONE_NEWUSER) != 0) return 200;
    if (WriteFile("/proc/self/uid_map", "0 0 1") || errno != EPERM) return 1;
    if (WriteFile("/proc/self/uid_map", "0 1234 2") || errno != EPERM) return 2;
    if (WriteFile("/proc/self/uid_map", "nonsense") || errno != EINVAL) return 3;
    if (!WriteFile("/proc/self/uid_map", "7 1234 1")) return 4;
    return getuid() == 7 ? 0 : 5;
  });
  if (ExitedWith(status, 200) || ExitedWith(status, 99)) GTEST_SKIP() << "no user namespaces here";
  EXPECT_TRUE(ExitedWith(status, 0)) << WEXITSTATUS(status);
}

TEST(UserNamespaceTest, RefusesAChroot) {
  TempDir dir;
  IN_OWN(0, [&] {
    if (chroot(dir.path().c_str()) != 0 || chdir("/") != 0) return 1;
    return unshare(CLONE_NEWUSER) == -1 && errno == EPERM ? 0 : 2;
  });
}

TEST(UnshareTest, EachKindGetsANewNumber) {
  struct {
    int flag;
    const char* name;
  } kinds[] = {{CLONE_NEWNS, "mnt"},  {CLONE_NEWUTS, "uts"},       {CLONE_NEWIPC, "ipc"},
               {CLONE_NEWNET, "net"}, {CLONE_NEWCGROUP, "cgroup"}, {CLONE_NEWUSER, "user"}};
  for (const auto& k : kinds) {
    IN_OWN(0, [&] {
      std::string before = NsLink(k.name);
      if (before.compare(0, strlen(k.name) + 2, std::string(k.name) + ":[") != 0) return 1;
      if (unshare(k.flag) != 0) return 2;
      return NsLink(k.name) != before ? 0 : 3;
    });
  }
}

TEST(UnshareTest, NeedsCapability) {
  int status = AsUser([] {
    for (int flag :
         {CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWCGROUP}) {
      if (unshare(flag) != -1 || errno != EPERM) return 1;
    }
    return 0;
  });
  EXPECT_TRUE(ExitedWith(status, 0)) << WEXITSTATUS(status);
  EXPECT_ERRNO(EINVAL, unshare(0x00800000 /* CLONE_UNTRACED */));
}

TEST(UtsNamespaceTest, NamesAreItsOwn) {
  utsname before{};
  ASSERT_EQ(uname(&before), 0);
  IN_OWN(CLONE_NEWUTS, [] {
    if (sethostname("inside", 6) != 0) return 1;
    utsname u{};
    uname(&u);
    return strcmp(u.nodename, "inside") == 0 ? 0 : 2;
  });
  utsname after{};
  ASSERT_EQ(uname(&after), 0);
  EXPECT_STREQ(before.nodename, after.nodename);
}

TEST(IpcNamespaceTest, KeysAreItsOwn) {
  IN_OWN(0, [] {
    constexpr key_t kKey = 0x5b9f17;
    int id = msgget(kKey, IPC_CREAT | 0600);
    if (id < 0) return 1;
    int status = InChild([&] {
      if (unshare(CLONE_NEWIPC) != 0) return 2;
      if (msgget(kKey, 0600) != -1 || errno != ENOENT) return 3;
      return msgget(kKey, IPC_CREAT | IPC_EXCL | 0600) >= 0 ? 0 : 4;
    });
    msgctl(id, IPC_RMID, nullptr);
    return WEXITSTATUS(status);
  });
}

TEST(NetNamespaceTest, AbstractNamesAreItsOwn) {
  IN_OWN(0, [] {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    memcpy(name.sun_path, "\0sbx-ns-test", 12);
    socklen_t length = offsetof(sockaddr_un, sun_path) + 12;
    auto* address = reinterpret_cast<sockaddr*>(&name);
    Fd server(socket(AF_UNIX, SOCK_DGRAM, 0));
    if (bind(server.get(), address, length) != 0) return 1;
    Fd here(socket(AF_UNIX, SOCK_DGRAM, 0));
    if (connect(here.get(), address, length) != 0) return 2;
    if (unshare(CLONE_NEWNET) != 0) return 3;
    Fd there(socket(AF_UNIX, SOCK_DGRAM, 0));
    if (connect(there.get(), address, length) != -1 || errno != ECONNREFUSED) return 4;
    Fd second(socket(AF_UNIX, SOCK_DGRAM, 0));
    if (bind(second.get(), address, length) != 0) return 5;
    return connect(there.get(), address, length) == 0 ? 0 : 6;
  });
}

TEST(PidNamespaceTest, ChildrenStartAtOne) {
  IN_OWN(0, [] {
    if (unshare(CLONE_NEWPID) != 0) return 1;
    if (!NsLink("pid_for_children").empty()) return 2;
    int status = InChild([] {
      if (getpid() != 1 || getppid() != 0) return 3;
      int inner = InChild([] { return getpid() == 2 ? 0 : 4; });
      return WEXITSTATUS(inner);
    });
    if (!ExitedWith(status, 0)) return WEXITSTATUS(status);
    // Its init has ended: nothing can be made in it any more.
    if (fork() != -1 || errno != ENOMEM) return 5;
    return 0;
  });
}

TEST(PidNamespaceTest, ProcShowsItsProcesses) {
  IN_OWN(CLONE_NEWNS | CLONE_NEWPID, [] {
    int status = InChild([] {
      if (mount("proc", "/proc", "proc", 0, nullptr) != 0) return errno == EPERM ? 0 : 1;
      char self[32] = {};
      if (readlink("/proc/self", self, sizeof(self) - 1) < 0 || strcmp(self, "1") != 0) return 2;
      return ReadFile("/proc/1/status").find("\nNSpid:\t1\n") != std::string::npos ? 0 : 3;
    });
    return WEXITSTATUS(status);
  });
}

TEST(SetnsTest, EntersANamespaceByItsFile) {
  IN_OWN(0, [] {
    Fd before(open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC));
    if (before.get() < 0) return 1;
    std::string name = NsLink("uts");
    if (unshare(CLONE_NEWUTS) != 0) return 2;
    Fd own(open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC));
    std::string own_name = NsLink("uts");
    // The first belongs to the world outside.
    if (setns(before.get(), CLONE_NEWUTS) != -1 || errno != EPERM) return 3;
    if (unshare(CLONE_NEWUTS) != 0) return 4;
    if (setns(own.get(), CLONE_NEWNET) != -1 || errno != EINVAL) return 5;
    if (setns(own.get(), 0) != 0) return 6;
    if (NsLink("uts") != own_name) return 7;
    struct statfs fs {};
    if (fstatfs(own.get(), &fs) != 0 || fs.f_type != 0x6e736673) return 8;
    struct stat st {};
    if (fstat(own.get(), &st) != 0) return 9;
    return own_name == "uts:[" + std::to_string(st.st_ino) + "]" ? 0 : 10;
  });
}

TEST(SetnsTest, MountNamespaceMovesTheRoot) {
  TempDir dir;
  IN_OWN(CLONE_NEWNS, [&] {
    Fd first(open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
    std::string at = dir.path();
    if (unshare(CLONE_NEWNS) != 0) return 1;
    if (mount("none", at.c_str(), "tmpfs", 0, nullptr) != 0) return 2;
    dir.Put("seen");
    if (setns(first.get(), CLONE_NEWNS) != 0) return 3;
    if (access((dir / "seen").c_str(), F_OK) != -1 || errno != ENOENT) return 4;
    char cwd[4096];
    return getcwd(cwd, sizeof(cwd)) != nullptr && strcmp(cwd, "/") == 0 ? 0 : 5;
  });
}

TEST(SetnsTest, ErrorsOfArguments) {
  TempFile file;
  Fd plain = file.Open(O_RDONLY);
  EXPECT_ERRNO(EBADF, setns(-1, 0));
  EXPECT_ERRNO(EINVAL, setns(plain.get(), 0));
  Fd user(open("/proc/self/ns/user", O_RDONLY));
  // One's own can't be entered again.
  EXPECT_ERRNO(EINVAL, setns(user.get(), CLONE_NEWUSER));
}

TEST(SetnsTest, PidfdEntersSeveral) {
  IN_OWN(0, [] {
    int ready[2], done[2];
    if (pipe(ready) != 0 || pipe(done) != 0) return 1;
    pid_t child = fork();
    if (child == 0) {
      close(done[1]);
      if (unshare(CLONE_NEWUTS | CLONE_NEWIPC) != 0 || sethostname("pidfd", 5) != 0) _exit(1);
      char c = 0;
      if (write(ready[1], "x", 1) != 1 || read(done[0], &c, 1) != 0) _exit(2);
      _exit(0);
    }
    close(done[0]);
    char c;
    if (read(ready[0], &c, 1) != 1) return 2;
    Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, child, 0)));
    if (setns(pidfd.get(), 0) != -1 || errno != EINVAL) return 3;
    if (setns(pidfd.get(), CLONE_NEWUTS | CLONE_NEWIPC) != 0) return 4;
    utsname u{};
    uname(&u);
    if (strcmp(u.nodename, "pidfd") != 0) return 5;
    bool same = NsLink("ipc") == NsLink("ipc", std::to_string(child));
    close(done[1]);
    waitpid(child, nullptr, 0);
    return same ? 0 : 6;
  });
}

TEST(NsfsTest, BoundNamespaceOutlivesItsProcess) {
  TempFile place;
  IN_OWN(CLONE_NEWNS, [&] {
    if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return 1;
    if (unshare(CLONE_NEWUTS) != 0 || sethostname("kept", 4) != 0) return 2;
    if (mount("/proc/self/ns/uts", place.path(), nullptr, MS_BIND, nullptr) != 0) return 3;
    if (unshare(CLONE_NEWUTS) != 0 || sethostname("other", 5) != 0) return 4;
    {
      Fd fd(open(place.path(), O_RDONLY));
      if (setns(fd.get(), CLONE_NEWUTS) != 0) return 5;
    }
    utsname u{};
    uname(&u);
    if (strcmp(u.nodename, "kept") != 0) return 6;
    return umount(place.path()) == 0 ? 0 : 7;
  });
}

TEST(NsfsTest, IoctlsTellKindOwnerAndParent) {
  uid_t outside = geteuid();
  IN_OWN(CLONE_NEWUTS, [&] {
    Fd uts(open("/proc/self/ns/uts", O_RDONLY));
    if (ioctl(uts.get(), NS_GET_NSTYPE) != CLONE_NEWUTS) return 1;
    Fd owner(ioctl(uts.get(), NS_GET_USERNS));
    if (owner.get() < 0) return 2;
    struct stat a {
    }, b{};
    if (fstat(owner.get(), &a) != 0 || stat("/proc/self/ns/user", &b) != 0) return 3;
    if (a.st_ino != b.st_ino || a.st_dev != b.st_dev) return 4;
    if (ioctl(uts.get(), NS_GET_PARENT) != -1 || errno != EINVAL) return 5;
    if (ioctl(owner.get(), NS_GET_PARENT) != -1 || errno != EPERM) return 6;
    uid_t uid = 1;
    if (ioctl(owner.get(), NS_GET_OWNER_UID, &uid) != 0) return 7;
    (void)outside;
    return uid == 0 ? 0 : 8;  // our own uid, as mapped here
  });
}

TEST(CloneTest, FlagsThatDoNotGoTogether) {
  auto raw = [](unsigned long flags) {
    return syscall(SYS_clone, flags | SIGCHLD, nullptr, nullptr, nullptr, 0);
  };
  EXPECT_ERRNO(EINVAL, raw(CLONE_NEWNS | CLONE_FS));
  EXPECT_ERRNO(EINVAL, raw(CLONE_NEWUSER | CLONE_FS));
  EXPECT_ERRNO(EINVAL, raw(CLONE_NEWIPC | CLONE_SYSVSEM));
}

TEST(TimeNamespaceTest, OffsetsAreTheChildrens) {
  IN_OWN(0, [] {
    if (unshare(CLONE_NEWTIME) != 0) return errno == EINVAL ? 0 : 1;  // Linux before 5.6
    if (NsLink("time") == NsLink("time_for_children")) return 2;
    if (!WriteFile("/proc/self/timens_offsets", "boottime 1000 0\n")) return 3;
    std::string text = ReadFile("/proc/self/timens_offsets");
    if (text.find("boottime") == std::string::npos || text.find("1000") == std::string::npos)
      return 4;
    std::string expected = NsLink("time_for_children");
    int status = InChild([&] { return NsLink("time") == expected ? 0 : 5; });
    if (!ExitedWith(status, 0)) return WEXITSTATUS(status);
    // A process is in it.
    if (WriteFile("/proc/self/timens_offsets", "boottime 1 0\n") || errno != EACCES) return 6;
    return 0;
  });
}

}  // namespace
}  // namespace sandboxd::test
