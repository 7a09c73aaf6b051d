#include "daemon/spawn/cgroup.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "daemon/spawn/cgroup_files.h"

namespace sandboxd::daemon {
namespace {

TEST(CgroupHierarchiesTest, BothVersionsAreFoundAndOtherMountsAreNot) {
  const auto found = FindCgroupHierarchies(
      "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
      "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
      "33 31 0:30 / /sys/fs/cgroup/systemd rw shared:9 - cgroup none rw,xattr,name=systemd\n"
      "34 31 0:31 / /elsewhere rw - cgroup cgroup rw,cpu,cpuacct\n"
      "garbage\n35 - cgroup\n"
      "36 31 0:32 / /no/such/unified rw - cgroup2 cgroup2 rw\n");
  ASSERT_EQ(2u, found.size());
  EXPECT_EQ("/sys/fs/cgroup/cpu", found[0].mount);
  EXPECT_EQ((std::set<std::string>{"cpu", "cpuacct"}), found[0].controllers);
  EXPECT_EQ((std::set<std::string>{"name=systemd"}), found[1].controllers);
}

// A folder with the files that a cgroup file system would show.
class FakeCgroupTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/cgroup-" + std::to_string(::getpid());
    ASSERT_EQ(0, ::system(("mkdir -p " + folder_ + "/v1/box " + folder_ + "/v2/box").c_str()));
  }
  void TearDown() override { (void)!::system(("rm -rf " + folder_).c_str()); }
  void File(const std::string& name, const std::string& content = "") {
    std::ofstream(folder_ + "/" + name) << content;
  }
  std::string Read(const std::string& name) {
    return ReadCgroupFile(folder_ + "/" + name).value_or("(none)");
  }
  Cgroup V1(std::set<std::string> controllers) {
    return Cgroup::Adopt({{folder_ + "/v1", std::move(controllers), false}}, {folder_ + "/v1/box"},
                         {});
  }
  Cgroup V2(std::set<std::string> controllers) {
    return Cgroup::Adopt({{folder_ + "/v2", std::move(controllers), true}}, {folder_ + "/v2/box"},
                         {});
  }
  std::string folder_;
};

TEST_F(FakeCgroupTest, LimitsAreWrittenInTheWordsOfVersionOne) {
  for (const char* name : {"memory.limit_in_bytes", "memory.memsw.limit_in_bytes",
                           "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares", "pids.max"}) {
    File(std::string("v1/box/") + name);
  }
  v1::Resources r;
  r.set_memory_limit_bytes(1 << 20);
  r.set_memory_swap_bytes(2 << 20);
  r.set_cpu_limit_millis(1500);
  r.set_cpu_shares(512);
  r.set_pids_limit(10);
  auto applied = V1({"cpu", "memory", "pids"}).Apply(r);
  ASSERT_TRUE(applied.ok()) << applied.error().message();
  EXPECT_EQ("1048576", Read("v1/box/memory.limit_in_bytes"));
  EXPECT_EQ("2097152", Read("v1/box/memory.memsw.limit_in_bytes"));
  EXPECT_EQ("150000", Read("v1/box/cpu.cfs_quota_us"));
  EXPECT_EQ("100000", Read("v1/box/cpu.cfs_period_us"));
  EXPECT_EQ("512", Read("v1/box/cpu.shares"));
  EXPECT_EQ("84", Read("v1/box/pids.max"));
}

TEST_F(FakeCgroupTest, AndOfVersionTwo) {
  for (const char* name :
       {"memory.max", "memory.swap.max", "memory.low", "cpu.max", "cpu.weight"}) {
    File(std::string("v2/box/") + name);
  }
  v1::Resources r;
  r.set_memory_limit_bytes(1 << 20);
  r.set_memory_swap_bytes(3 << 20);
  r.set_memory_reservation_bytes(1000);
  r.set_cpu_limit_millis(500);
  r.set_cpu_period_us(50000);
  r.set_cpu_shares(1024);
  auto applied = V2({"cpu", "memory"}).Apply(r);
  ASSERT_TRUE(applied.ok()) << applied.error().message();
  EXPECT_EQ("1048576", Read("v2/box/memory.max"));
  EXPECT_EQ("2097152", Read("v2/box/memory.swap.max"));
  EXPECT_EQ("1000", Read("v2/box/memory.low"));
  EXPECT_EQ("25000 50000", Read("v2/box/cpu.max"));
  EXPECT_EQ("39", Read("v2/box/cpu.weight"));
}

TEST_F(FakeCgroupTest, ALimitThatIsTakenAwayIsResetAndOthersAreLeftAlone) {
  File("v2/box/memory.max", "1048576");
  File("v2/box/cpu.weight", "77");
  v1::Resources before;
  before.set_memory_limit_bytes(1 << 20);
  ASSERT_TRUE(V2({"cpu", "memory"}).Apply(v1::Resources(), &before).ok());
  EXPECT_EQ("max", Read("v2/box/memory.max").substr(0, 3));
  EXPECT_EQ("77", Read("v2/box/cpu.weight"));
}

TEST_F(FakeCgroupTest, ALimitWithoutItsControllerIsRefusedByName) {
  v1::Resources r;
  r.set_memory_limit_bytes(1 << 20);
  auto applied = V1({"cpu"}).Apply(r);
  ASSERT_FALSE(applied.ok());
  EXPECT_EQ(v1::ERROR_REASON_FEATURE_UNSUPPORTED, applied.error().reason());
  EXPECT_EQ("resources.memory_limit_bytes", applied.error().violations()[0].field);
}

TEST_F(FakeCgroupTest, FiguresOfVersionOne) {
  File("v1/box/memory.usage_in_bytes", "4096\n");
  File("v1/box/memory.limit_in_bytes", "9223372036854771712\n");
  File("v1/box/memory.stat", "cache 1\ntotal_rss 100\ntotal_cache 50\n");
  File("v1/box/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
  File("v1/box/cpuacct.usage", "2500000000\n");
  File("v1/box/cpu.stat", "nr_periods 7\nnr_throttled 2\nthrottled_time 9\n");
  v1::SandboxStats stats;
  V1({"cpu", "cpuacct", "memory"}).ReadStats(&stats);
  EXPECT_EQ(4096u, stats.memory_bytes());
  EXPECT_EQ(0u, stats.memory_limit_bytes());
  EXPECT_EQ(100u, stats.memory_rss_bytes());
  EXPECT_EQ(50u, stats.memory_cache_bytes());
  EXPECT_EQ(3u, stats.oom_kills());
  EXPECT_EQ(2, stats.cpu_time().seconds());
  EXPECT_EQ(2u, stats.cpu_throttled_periods());
}

TEST_F(FakeCgroupTest, FiguresOfVersionTwo) {
  File("v2/box/memory.current", "4096\n");
  File("v2/box/memory.max", "max\n");
  File("v2/box/memory.events", "low 0\nmax 5\noom_kill 1\n");
  File("v2/box/cpu.stat", "usage_usec 3000000\nuser_usec 1000000\nsystem_usec 2000000\n");
  v1::SandboxStats stats;
  V2({"cpu", "memory"}).ReadStats(&stats);
  EXPECT_EQ(4096u, stats.memory_bytes());
  EXPECT_EQ(0u, stats.memory_limit_bytes());
  EXPECT_EQ(5u, stats.memory_limit_hits());
  EXPECT_EQ(1u, stats.oom_kills());
  EXPECT_EQ(3, stats.cpu_time().seconds());
  EXPECT_EQ(2, stats.cpu_system_time().seconds());
}

// On the real thing, where this host lets us.
TEST(CgroupTest, AProcessIsPutInAndWhatWasMadeGoesAway) {
  const auto hierarchies =
      FindCgroupHierarchies(ReadCgroupFile("/proc/self/mountinfo").value_or(""));
  const std::string path = "/sandboxd-test-" + std::to_string(::getpid()) + "/inner";
  auto cgroup = Cgroup::Create(hierarchies, path);
  if (!cgroup.ok()) GTEST_SKIP() << cgroup.error().message();
  ASSERT_EQ(hierarchies.size(), cgroup->folders().size());
  EXPECT_EQ(2 * hierarchies.size(), cgroup->made().size());
  int hold[2];
  ASSERT_EQ(0, ::pipe(hold));
  const pid_t child = ::fork();
  if (child == 0) {
    char byte;
    ::close(hold[1]);
    ::_exit(::read(hold[0], &byte, 1) == 0 ? 0 : 1);
  }
  ::close(hold[0]);
  auto added = cgroup->Add(child);
  EXPECT_TRUE(added.ok()) << added.error().message();
  EXPECT_EQ(std::to_string(child), ReadCgroupFile(cgroup->folders()[0] + "/cgroup.procs"));
  ::close(hold[1]);
  int status;
  ASSERT_EQ(child, ::waitpid(child, &status, 0));
  cgroup->Remove();
  for (const std::string& folder : cgroup->made())
    EXPECT_NE(0, ::access(folder.c_str(), F_OK)) << folder;
}

}  // namespace
}  // namespace sandboxd::daemon
