// Runs real programs in real namespaces; needs root, or a host that lets users make namespaces.
#include "daemon/spawn/spawn.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <set>

#include "daemon/error/fault_point.h"

namespace sandboxd::daemon {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t kAll =
    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;

std::set<std::string> OpenFds() {
  std::set<std::string> out;
  DIR* dir = opendir("/proc/self/fd");
  while (dirent* entry = readdir(dir)) {
    char target[256];
    const std::string path = std::string("/proc/self/fd/") + entry->d_name;
    const ssize_t n = readlink(path.c_str(), target, sizeof target);
    if (n > 0) out.insert(std::string(entry->d_name) + " " + std::string(target, n));
  }
  closedir(dir);
  return out;
}

bool HasChild() {
  siginfo_t info{};
  return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

HostId Unprivileged() {
  return geteuid() == 0 ? HostId{65534, 65534} : HostId{geteuid(), getegid()};
}

class SpawnTest : public testing::Test {
 protected:
  void SetUp() override {
    shell_ = UniqueFd(open("/bin/sh", O_PATH | O_CLOEXEC));
    int fds[2];
    ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
    out_read_ = UniqueFd(fds[0]);
    out_write_ = UniqueFd(fds[1]);
    auto probe = Spawn(Shell("true"));
    if (!probe.ok()) GTEST_SKIP() << "no namespaces here: " << probe.error().message();
    ASSERT_TRUE(probe->WaitEnded(20s));
    probe->Reap();
  }
  void TearDown() override { SetFaultHook(nullptr); }

  SpawnRequest Shell(const std::string& script) {
    SpawnRequest request;
    request.binary_fd = shell_.get();
    request.argv = {"sh", "-c", script};
    request.env = {"PATH=/usr/bin:/bin"};
    request.namespaces = kAll;
    request.map = Unprivileged();
    request.fds = {{out_write_.get(), 3}};
    return request;
  }
  std::string Output(const std::string& script) {
    auto child = Spawn(Shell(script));
    if (!child.ok()) return "error: " + child.error().message();
    out_write_.Reset();
    std::string out;
    char buffer[4096];
    for (ssize_t n; (n = read(out_read_.get(), buffer, sizeof buffer)) > 0;) out.append(buffer, n);
    EXPECT_TRUE(child->WaitEnded(20s));
    child->Reap();
    return out;
  }

  UniqueFd shell_, out_read_, out_write_;
};

TEST_F(SpawnTest, IsPidOneAndUidZeroOfItsOwnNamespaces) {
  EXPECT_EQ(Output("echo $$ $(id -u) $(id -g) $(id -G) >&3"), "1 0 0 0\n");
}

TEST_F(SpawnTest, IsAnUnprivilegedUserOutside) {
  auto child = Spawn(Shell("exec sleep 1000"));
  ASSERT_TRUE(child.ok());
  const std::string proc = "/proc/" + std::to_string(child->identity().pid) + "/uid_map";
  UniqueFd map(open(proc.c_str(), O_RDONLY | O_CLOEXEC));
  char text[128] = {};
  ASSERT_GT(read(map.get(), text, sizeof text - 1), 0);
  unsigned inside, outside, count;
  ASSERT_EQ(sscanf(text, "%u %u %u", &inside, &outside, &count), 3);
  EXPECT_EQ(inside, 0u);
  EXPECT_EQ(outside, Unprivileged().uid);
  EXPECT_EQ(count, 1u);
  child->KillAndReap();
}

TEST_F(SpawnTest, HasExactlyItsDescriptors) {
  UniqueFd other(open("/etc/passwd", O_RDONLY));  // without O_CLOEXEC
  // `ls` itself holds one more: the folder it reads.
  EXPECT_EQ(Output("ls /proc/self/fd >/dev/null 2>&1; cd /proc/self/fd; echo * >&3"),
            "0 1 2 3 4\n");
}

TEST_F(SpawnTest, SeesNoNetworkButItsOwnLoopback) {
  EXPECT_EQ(Output("tail -n +3 /proc/self/net/dev | wc -l >&3"), "1\n");
}

TEST_F(SpawnTest, SignalsAreAtTheirDefaults) {
  signal(SIGPIPE, SIG_IGN);
  const std::string status = Output("grep -E 'SigBlk|SigIgn' /proc/self/status | tr -d '\\t' >&3");
  EXPECT_EQ(status, "SigBlk:0000000000000000\nSigIgn:0000000000000000\n");
}

TEST_F(SpawnTest, AProgramThatCannotBeExecutedIsReportedWithItsReason) {
  UniqueFd passwd(open("/etc/passwd", O_PATH | O_CLOEXEC));
  SpawnRequest request = Shell("true");
  request.binary_fd = passwd.get();
  auto child = Spawn(request);
  ASSERT_FALSE(child.ok());
  EXPECT_EQ(child.error().message(), "sh could not execute its program: Permission denied");
  EXPECT_FALSE(HasChild());
}

TEST_F(SpawnTest, NothingIsLeftWhenAStepFails) {
  for (const char* point : {"spawn.clone", "spawn.map", "spawn.go"}) {
    const auto before = OpenFds();
    SetFaultHook([point](std::string_view at) { return at == point ? EMFILE : 0; });
    auto child = Spawn(Shell("true"));
    SetFaultHook(nullptr);
    ASSERT_FALSE(child.ok()) << point;
    EXPECT_NE(child.error().message().find("Too many open files"), std::string::npos);
    EXPECT_FALSE(HasChild()) << point;
    EXPECT_EQ(OpenFds(), before) << point;
  }
}

TEST_F(SpawnTest, WhatCannotBeRecordedNeverRuns) {
  SpawnRequest request = Shell("echo ran >&3");
  request.before_exec = [](const ProcessIdentity&) { return Error::Internal("disk full"); };
  auto child = Spawn(request);
  ASSERT_FALSE(child.ok());
  EXPECT_EQ(child.error().message(), "disk full");
  EXPECT_FALSE(HasChild());
  request.fds.clear();
  out_write_.Reset();
  char byte;
  EXPECT_EQ(read(out_read_.get(), &byte, 1), 0);
}

TEST_F(SpawnTest, TheChildEndsIfTheParentDiesBeforeItRuns) {
  int report[2];
  ASSERT_EQ(pipe2(report, O_CLOEXEC), 0);
  const pid_t parent = fork();
  if (parent == 0) {
    SpawnRequest request = Shell("echo ran >&3");
    request.before_exec = [&](const ProcessIdentity& identity) -> Outcome<void> {
      if (write(report[1], &identity, sizeof identity) < 0) _exit(1);
      raise(SIGKILL);
      return {};
    };
    (void)Spawn(request);
    _exit(1);
  }
  close(report[1]);
  ProcessIdentity identity;
  ASSERT_EQ(read(report[0], &identity, sizeof identity), static_cast<ssize_t>(sizeof identity));
  close(report[0]);
  int status;
  ASSERT_EQ(waitpid(parent, &status, 0), parent);
  ASSERT_TRUE(WIFSIGNALED(status));
  if (auto orphan = ProcessHandle::Adopt(identity)) {
    EXPECT_TRUE(orphan->WaitEnded(20s));
  }
  out_write_.Reset();
  char byte;
  EXPECT_EQ(read(out_read_.get(), &byte, 1), 0) << "the program ran";
}

TEST_F(SpawnTest, KillAndReapLeavesNothing) {
  auto child = Spawn(Shell("exec sleep 1000"));
  ASSERT_TRUE(child.ok());
  EXPECT_FALSE(child->Ended());
  child->KillAndReap();
  EXPECT_FALSE(HasChild());
}

TEST_F(SpawnTest, ReapSaysHowItEnded) {
  auto child = Spawn(Shell("exit 7"));
  ASSERT_TRUE(child.ok());
  ASSERT_TRUE(child->WaitEnded(20s));
  EXPECT_EQ(child->Reap(), "exited with status 7");
}

TEST_F(SpawnTest, AdoptTakesOnlyTheProcessThatWasRecorded) {
  auto child = Spawn(Shell("exec sleep 1000"));
  ASSERT_TRUE(child.ok());
  ProcessIdentity other = child->identity();
  EXPECT_TRUE(ProcessHandle::Adopt(other).has_value());
  other.start_ticks += 1;
  EXPECT_FALSE(ProcessHandle::Adopt(other).has_value());
  const ProcessIdentity gone = child->identity();
  child->KillAndReap();
  EXPECT_FALSE(ProcessHandle::Adopt(gone).has_value());
}

}  // namespace
}  // namespace sandboxd::daemon
