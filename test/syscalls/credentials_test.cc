// setuid(2) and relatives, setgroups(2), capset(2), kill permissions.
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cstring>
#include <vector>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

#define REQUIRE_ROOT() \
  if (geteuid() != 0) GTEST_SKIP() << "only root may change ids"

// Runs `body` in a child; it returns the number of the step that failed, or 0.
#define EXPECT_STEPS(...)                                     \
  do {                                                        \
    int steps_status = InChild(__VA_ARGS__);                  \
    EXPECT_TRUE(ExitedWith(steps_status, 0)) << steps_status; \
  } while (0)

bool HasIds(uid_t r, uid_t e, uid_t s) {
  uid_t ruid, euid, suid;
  return getresuid(&ruid, &euid, &suid) == 0 && ruid == r && euid == e && suid == s;
}
bool Fails(int result, int error) { return result == -1 && errno == error; }

struct Caps {
  uint64_t effective = 0, permitted = 0, inheritable = 0;
};
Caps GetCaps() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  syscall(SYS_capget, &header, data);
  auto join = [](uint32_t low, uint32_t high) { return uint64_t{high} << 32 | low; };
  return {join(data[0].effective, data[1].effective), join(data[0].permitted, data[1].permitted),
          join(data[0].inheritable, data[1].inheritable)};
}
int SetCaps(const Caps& c) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  for (int i = 0; i < 2; i++) {
    data[i].effective = static_cast<uint32_t>(c.effective >> (32 * i));
    data[i].permitted = static_cast<uint32_t>(c.permitted >> (32 * i));
    data[i].inheritable = static_cast<uint32_t>(c.inheritable >> (32 * i));
  }
  return static_cast<int>(syscall(SYS_capset, &header, data));
}
constexpr uint64_t Cap(int n) { return uint64_t{1} << n; }

TEST(SetuidTest, RootGivesUpEverythingForGood) {
  REQUIRE_ROOT();
  EXPECT_STEPS([] {
    if (syscall(SYS_setuid, 1000) != 0) return 1;
    if (!HasIds(1000, 1000, 1000)) return 2;
    if (!Fails(static_cast<int>(syscall(SYS_setuid, 0)), EPERM)) return 3;
    Caps c = GetCaps();
    if (c.effective != 0 || c.permitted != 0) return 4;
    return 0;
  });
}

TEST(SetuidTest, SeteuidCanGoBack) {
  REQUIRE_ROOT();
  EXPECT_STEPS([] {
    Caps before = GetCaps();
    if (syscall(SYS_setresuid, -1, 1000, -1) != 0) return 1;
    if (!HasIds(0, 1000, 0)) return 2;
    Caps c = GetCaps();
    if (c.effective != 0 || c.permitted != before.permitted) return 3;
    if (syscall(SYS_setresuid, -1, 0, -1) != 0) return 4;
    if (GetCaps().effective != before.permitted) return 5;
    return 0;
  });
}

TEST(SetuidTest, SetresuidLetsOneShuffleOwnIdsOnly) {
  REQUIRE_ROOT();
  EXPECT_STEPS([] {
    if (syscall(SYS_setresuid, 1, 2, 3) != 0) return 1;
    if (syscall(SYS_setresuid, 2, 3, 1) != 0) return 2;
    if (!HasIds(2, 3, 1)) return 3;
    if (!Fails(static_cast<int>(syscall(SYS_setresuid, 4, -1, -1)), EPERM)) return 4;
    if (!Fails(static_cast<int>(syscall(SYS_setuid, 3)), EPERM)) return 5;
    return 0;
  });
}

TEST(SetuidTest, SetreuidMovesTheSavedId) {
  REQUIRE_ROOT();
  EXPECT_STEPS([] {
    if (syscall(SYS_setreuid, 5, 6) != 0) return 1;
    return HasIds(5, 6, 6) ? 0 : 2;
  });
}

TEST(SetuidTest, SetfsuidReturnsTheOldOne) {
  REQUIRE_ROOT();
  EXPECT_STEPS([] {
    if (setfsuid(7) != 0) return 1;
    if (setfsuid(static_cast<uid_t>(-1)) != 7) return 2;
    if (!HasIds(0, 0, 0)) return 3;
    return 0;
  });
}

TEST(SetuidTest, KeepcapsKeepsThePermittedSet) {
  REQUIRE_ROOT();
  EXPECT_STEPS([] {
    Caps before = GetCaps();
    if (prctl(PR_SET_KEEPCAPS, 1) != 0) return 1;
    if (syscall(SYS_setuid, 1000) != 0) return 2;
    Caps c = GetCaps();
    if (c.permitted != before.permitted || c.effective != 0) return 3;
    if (!Fails(static_cast<int>(syscall(SYS_setuid, 0)), EPERM)) return 4;
    return 0;
  });
}

TEST(SetgidTest, UnprivilegedAreHeldToTheirOwn) {
  REQUIRE_ROOT();
  EXPECT_STEPS([] {
    if (syscall(SYS_setresgid, 10, 11, 12) != 0) return 1;
    if (syscall(SYS_setuid, 1000) != 0) return 2;
    if (syscall(SYS_setgid, 12) != 0) return 3;
    if (getegid() != 12 || getgid() != 10) return 4;
    if (!Fails(static_cast<int>(syscall(SYS_setgid, 0)), EPERM)) return 5;
    return 0;
  });
}

TEST(GroupsTest, SetAndGet) {
  REQUIRE_ROOT();
  EXPECT_STEPS([] {
    gid_t groups[] = {30, 10, 20}, got[3] = {};
    if (syscall(SYS_setgroups, 3, groups) != 0) return 1;
    if (getgroups(0, nullptr) != 3) return 2;
    if (!Fails(getgroups(2, got), EINVAL)) return 3;
    if (getgroups(3, got) != 3 || got[0] != 10 || got[2] != 30) return 4;
    if (syscall(SYS_setuid, 1000) != 0) return 5;
    if (!Fails(static_cast<int>(syscall(SYS_setgroups, 0, nullptr)), EPERM)) return 6;
    return 0;
  });
}

TEST(CapsetTest, CapabilitiesCanBeDroppedButNotTaken) {
  REQUIRE_ROOT();
  EXPECT_STEPS([] {
    Caps c = GetCaps();
    if ((c.permitted & Cap(CAP_KILL)) == 0) return 0;
    c.effective &= ~Cap(CAP_KILL);
    if (SetCaps(c) != 0) return 1;
    c.effective |= Cap(CAP_KILL);
    if (SetCaps(c) != 0) return 2;
    c.permitted &= ~Cap(CAP_KILL);
    if (!Fails(SetCaps(c), EPERM)) return 3;  // effective is no subset
    c.effective = c.permitted;
    if (SetCaps(c) != 0) return 4;
    c.permitted |= Cap(CAP_KILL);
    if (!Fails(SetCaps(c), EPERM)) return 5;
    return 0;
  });
}

TEST(CapsetTest, UnknownVersionsAreToldThePreferredOne) {
  __user_cap_header_struct header{0x1234, 0};
  __user_cap_data_struct data[2];
  EXPECT_ERRNO(EINVAL, syscall(SYS_capget, &header, data));
  EXPECT_EQ(header.version, static_cast<uint32_t>(_LINUX_CAPABILITY_VERSION_3));
  header.version = 0x1234;
  EXPECT_EQ(syscall(SYS_capget, &header, nullptr), 0);
}

TEST(CapabilityTest, BoundingAndAmbientSets) {
  REQUIRE_ROOT();
  EXPECT_STEPS([] {
    if ((GetCaps().effective & Cap(CAP_SETPCAP)) == 0) return 0;
    if (prctl(PR_CAPBSET_READ, CAP_CHOWN) != 1) return 1;
    // Ambient needs permitted and inheritable.
    if (!Fails(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0), EPERM)) return 2;
    Caps c = GetCaps();
    c.inheritable |= Cap(CAP_CHOWN);
    if (SetCaps(c) != 0) return 3;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0) != 0) return 4;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0) != 1) return 5;
    c.inheritable = 0;
    if (SetCaps(c) != 0) return 6;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0) != 0) return 7;
    if (prctl(PR_CAPBSET_DROP, CAP_CHOWN) != 0) return 8;
    if (prctl(PR_CAPBSET_READ, CAP_CHOWN) != 0) return 9;
    if (!Fails(prctl(PR_CAPBSET_READ, 64), EINVAL)) return 10;
    return 0;
  });
}

TEST(KillPermissionTest, OthersProcessesAreOutOfReach) {
  REQUIRE_ROOT();
  pid_t parent = getpid();
  EXPECT_STEPS([parent] {
    if (syscall(SYS_setuid, 1000) != 0) return 1;
    if (!Fails(kill(parent, 0), EPERM)) return 2;
    if (!Fails(static_cast<int>(syscall(SYS_tgkill, parent, parent, 0)), EPERM)) return 3;
    // SIGCONT may go to any process of the session; signal 0 is not SIGCONT.
    return kill(getpid(), 0) == 0 ? 0 : 4;
  });
}

TEST(FileAccessTest, FollowsTheEffectiveId) {
  REQUIRE_ROOT();
  TempFile file("secret");
  ASSERT_EQ(chmod(file.path(), 0600), 0);
  EXPECT_STEPS([&file] {
    if (syscall(SYS_setresuid, -1, 1000, -1) != 0) return 1;
    if (!Fails(open(file.path(), O_RDONLY), EACCES)) return 2;
    if (syscall(SYS_setresuid, -1, 0, -1) != 0) return 3;
    return open(file.path(), O_RDONLY) >= 0 ? 0 : 4;
  });
}

}  // namespace
}  // namespace sandboxd::test
