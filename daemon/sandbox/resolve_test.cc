#include "daemon/sandbox/resolve.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace sandboxd::daemon {
namespace {

class ResolveTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/resolve-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    chmod(name, 0755);
    std::filesystem::create_directory(dir_ + "/rootfs");
    std::filesystem::create_directory(dir_ + "/data");
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  v1::CreateSandboxRequest Rootfs() {
    v1::CreateSandboxRequest request;
    auto& container = *request.mutable_spec()->add_containers();
    container.mutable_rootfs()->set_path(dir_ + "/rootfs");
    container.mutable_process()->add_args("sh");
    return request;
  }
  v1::CreateSandboxRequest Bundle(const std::string& config) {
    std::ofstream(dir_ + "/config.json") << config;
    v1::CreateSandboxRequest request;
    request.mutable_spec()->add_containers()->set_bundle_path(dir_);
    return request;
  }
  static bool Names(const Error& error, const std::string& field) {
    return std::any_of(error.violations().begin(), error.violations().end(),
                       [&](const auto& v) { return v.field == field; });
  }

  std::string dir_;
  const Caller self_{geteuid(), getegid(), getpid()};
};

constexpr char kConfig[] = R"({"ociVersion": "1.0.2", "root": {"path": "rootfs", "readonly": true},
  "hostname": "box", "process": {"args": ["sh"], "cwd": "/", "env": ["A=1"]},
  "mounts": [{"destination": "/tmp", "type": "tmpfs", "options": ["size=1m"]},
             {"destination": "/d", "source": "data", "options": ["bind", "ro"]}]})";

TEST_F(ResolveTest, IdsAreNarrow) {
  for (const char* good : {"a", "A-1_b.c", "9"}) EXPECT_TRUE(IsValidId(good)) << good;
  for (const char* bad : {"", ".", "..", "-a", "a/b", "a b", "ä"})
    EXPECT_FALSE(IsValidId(bad)) << bad;
  EXPECT_TRUE(IsValidId(std::string(128, 'a')));
  EXPECT_FALSE(IsValidId(std::string(129, 'a')));
  EXPECT_TRUE(IsValidId(GenerateId()));
}

TEST_F(ResolveTest, EveryWrongFieldIsFound) {
  auto request = Rootfs();
  auto& container = *request.mutable_spec()->mutable_containers(0);
  container.mutable_process()->add_env("novalue");
  container.mutable_process()->set_cwd("relative");
  container.mutable_process()->add_rlimits()->set_type("RLIMIT_FOO");
  container.mutable_stdio()->set_log_max_bytes(1);
  container.add_mounts()->set_destination("x");
  const auto outcome = ValidateCreate(request);
  ASSERT_FALSE(outcome.ok());
  for (const char* field : {"process.env[0]", "process.cwd", "process.rlimits[0].type",
                            "stdio.log_max_bytes", "mounts[0].destination", "mounts[0].source"}) {
    EXPECT_TRUE(Names(outcome.error(), std::string("spec.containers[0].") + field)) << field;
  }
}

TEST_F(ResolveTest, WhatIsNotSupportedIsRefusedRatherThanIgnored) {
  auto request = Rootfs();
  *request.mutable_spec()->add_containers() = request.spec().containers(0);
  const auto outcome = ValidateCreate(request);
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.error().reason(), v1::ERROR_REASON_FEATURE_UNSUPPORTED);
}

TEST_F(ResolveTest, LimitsThatMakeNoSenseAreNamed) {
  auto request = Rootfs();
  v1::Resources& r = *request.mutable_spec()->mutable_resources();
  r.set_memory_limit_bytes(1000);
  r.set_memory_swap_bytes(999);
  r.set_cpu_weight(1);
  r.set_cpu_shares(2);
  r.set_cpuset_cpus("all");
  request.mutable_spec()->set_cgroups_path("/a/../b");
  const auto outcome = ValidateCreate(request);
  ASSERT_FALSE(outcome.ok());
  for (const char* field : {"resources.memory_swap_bytes", "resources.cpu_shares",
                            "resources.cpuset", "cgroups_path"}) {
    EXPECT_TRUE(Names(outcome.error(), std::string("spec.") + field)) << field;
  }
}

TEST_F(ResolveTest, ARootfsNeedsNoMoreThanACommand) {
  auto resolved = ResolveContainer(Rootfs(), "id", self_);
  ASSERT_TRUE(resolved.ok()) << resolved.error().message();
  EXPECT_EQ(resolved->name, "id");
  EXPECT_EQ(resolved->create.hostname(), "id");
  EXPECT_EQ(resolved->stdio.output(), v1::StdioSpec::OUTPUT_LOG);
  const auto& env = resolved->create.process().env();
  EXPECT_EQ(std::count_if(env.begin(), env.end(),
                          [](const std::string& e) { return e.rfind("PATH=", 0) == 0; }),
            1);
}

TEST_F(ResolveTest, ABundleIsRead) {
  auto resolved = ResolveContainer(Bundle(kConfig), "id", self_);
  ASSERT_TRUE(resolved.ok()) << resolved.error().message();
  EXPECT_EQ(resolved->root.path, dir_ + "/rootfs");
  EXPECT_TRUE(resolved->root.readonly);
  EXPECT_EQ(resolved->create.hostname(), "box");
  ASSERT_EQ(resolved->binds.size(), 1u);
  EXPECT_EQ(resolved->binds[0].path, dir_ + "/data");
  EXPECT_TRUE(resolved->binds[0].readonly);
  EXPECT_EQ(resolved->create.mounts(resolved->binds[0].mount_index).type(), "gofer");
}

std::string Joined(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& line : lines) out += line + "\n";
  return out;
}

TEST_F(ResolveTest, WhatHasNoEffectIsTold) {
  std::string config = kConfig;
  config.replace(config.rfind('}'), 1, R"(, "linux": {"sysctl": {"net.core.somaxconn": "9",
      "kernel.domainname": "home"}, "resources": {"memory": {"limit": 5000000}},
      "namespaces": [{"type": "network", "path": "/run/netns/x"}]}})");
  config.replace(config.find("\"mounts\": ["), 11, R"("mounts": [{"destination": "/sys/fs/cgroup",
      "type": "cgroup", "source": "cgroup", "options": ["ro"]},)");
  auto resolved = ResolveContainer(Bundle(config.c_str()), "id", self_);
  ASSERT_TRUE(resolved.ok()) << resolved.error().message();
  const std::string warnings = Joined(resolved->warnings);
  EXPECT_NE(warnings.find("net.core.somaxconn"), std::string::npos) << warnings;
  EXPECT_NE(warnings.find("/sys/fs/cgroup"), std::string::npos) << warnings;
  EXPECT_NE(warnings.find("/run/netns/x"), std::string::npos) << warnings;
  EXPECT_EQ(resolved->create.domainname(), "home");
  EXPECT_EQ(resolved->create.sysctl_size(), 0);
  EXPECT_EQ(resolved->resources.memory_limit_bytes(), 5000000u);
}

TEST_F(ResolveTest, HooksAreTheCallersToRun) {
  std::string config = kConfig;
  config.replace(config.rfind('}'), 1, R"(, "hooks": {"poststop": [{"path": "/bin/true"}]}})");
  auto request = Bundle(config.c_str());
  auto refused = ResolveContainer(request, "id", self_);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().reason(), v1::ERROR_REASON_FEATURE_UNSUPPORTED);
  EXPECT_EQ(refused.error().violations()[0].field, "config.json:hooks.poststop");
  request.mutable_spec()->mutable_containers(0)->set_hooks_by_caller(true);
  EXPECT_TRUE(ResolveContainer(request, "id", self_).ok());
}

TEST_F(ResolveTest, WhatTheRequestSaysReplacesTheBundle) {
  auto request = Bundle(kConfig);
  request.mutable_spec()->mutable_containers(0)->mutable_process()->add_args("id");
  request.mutable_spec()->mutable_containers(0)->set_hostname("other");
  auto resolved = ResolveContainer(request, "id", self_);
  ASSERT_TRUE(resolved.ok());
  EXPECT_EQ(resolved->create.process().args(0), "id");
  EXPECT_EQ(resolved->create.hostname(), "other");
}

TEST_F(ResolveTest, WhatIsMissingIsNamed) {
  v1::CreateSandboxRequest request;
  request.mutable_spec()->add_containers()->set_bundle_path("/no/such");
  EXPECT_EQ(ResolveContainer(request, "id", self_).error().reason(),
            v1::ERROR_REASON_BUNDLE_NOT_FOUND);
  request.mutable_spec()->mutable_containers(0)->set_bundle_path(dir_);
  EXPECT_EQ(ResolveContainer(request, "id", self_).error().reason(),
            v1::ERROR_REASON_BUNDLE_NOT_FOUND);
  auto mount = Rootfs();
  auto& m = *mount.mutable_spec()->mutable_containers(0)->add_mounts();
  m.set_destination("/x");
  m.set_source("/no/such");
  EXPECT_EQ(ResolveContainer(mount, "id", self_).error().reason(),
            v1::ERROR_REASON_MOUNT_SOURCE_NOT_FOUND);
}

TEST_F(ResolveTest, TheDaemonReadsNothingForACallerThatTheyCouldNotRead) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root to be someone else";
  const Caller nobody{65534, 65534, 1};
  EXPECT_TRUE(ResolveContainer(Rootfs(), "id", nobody).ok());
  chmod((dir_ + "/rootfs").c_str(), 0700);
  const auto denied = ResolveContainer(Rootfs(), "id", nobody);
  ASSERT_FALSE(denied.ok());
  EXPECT_EQ(denied.error().reason(), v1::ERROR_REASON_PATH_PERMISSION_DENIED);
  EXPECT_TRUE(ResolveContainer(Rootfs(), "id", self_).ok()) << "and we are ourselves again";
  auto bundle = Bundle(kConfig);
  chmod((dir_ + "/config.json").c_str(), 0600);
  EXPECT_EQ(ResolveContainer(bundle, "id", nobody).error().reason(),
            v1::ERROR_REASON_PATH_PERMISSION_DENIED);
}

TEST_F(ResolveTest, ExecTakesTheRestFromTheInitProcess) {
  v1::ProcessSpec init;
  init.add_args("init");
  init.add_env("A=1");
  init.add_env("B=1");
  init.set_cwd("/work");
  init.mutable_user()->set_uid(7);
  init.set_terminal(true);
  v1::ExecRequest request;
  request.mutable_process()->add_args("sh");
  request.mutable_process()->add_env("B=2");
  const auto spec = CompleteExec(request, init);
  EXPECT_EQ(spec.args_size(), 1);
  EXPECT_EQ(spec.args(0), "sh");
  EXPECT_EQ(spec.cwd(), "/work");
  EXPECT_EQ(spec.user().uid(), 7u);
  EXPECT_FALSE(spec.terminal());
  EXPECT_EQ(std::count(spec.env().begin(), spec.env().end(), "A=1"), 1);
  EXPECT_EQ(std::count(spec.env().begin(), spec.env().end(), "B=1"), 0);
  EXPECT_EQ(std::count(spec.env().begin(), spec.env().end(), "B=2"), 1);
  request.set_exact(true);
  const auto exact = CompleteExec(request, init);
  EXPECT_EQ(exact.cwd(), "");
  EXPECT_EQ(std::count(exact.env().begin(), exact.env().end(), "A=1"), 0);
}

}  // namespace
}  // namespace sandboxd::daemon
