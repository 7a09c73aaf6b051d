// Pause, Resume, Update and Stats.
#include "daemon/service/server_fixture.h"

namespace sandboxd::daemon {
namespace {

class LimitsTest : public ServerTest {
 protected:
  grpc::Status Pause(const std::string& id, v1::Sandbox* out) {
    ClientContext context;
    v1::PauseSandboxRequest request;
    request.set_id(id);
    return sandboxes_->Pause(&context, request, out);
  }
  grpc::Status Resume(const std::string& id, v1::Sandbox* out) {
    ClientContext context;
    v1::ResumeSandboxRequest request;
    request.set_id(id);
    return sandboxes_->Resume(&context, request, out);
  }
  grpc::Status Update(const v1::UpdateSandboxRequest& request, v1::Sandbox* out) {
    ClientContext context;
    return sandboxes_->Update(&context, request, out);
  }
};

TEST_F(LimitsTest, APausedSandboxIsResumed) {
  RunDetached("a", {"sleep"});
  v1::Sandbox sandbox;
  EXPECT_EQ(Resume("a", &sandbox).error_code(), StatusCode::FAILED_PRECONDITION);
  ASSERT_TRUE(Pause("a", &sandbox).ok());
  EXPECT_EQ(sandbox.state(), v1::Sandbox::STATE_PAUSED);
  EXPECT_EQ(sandbox.containers(0).state(), v1::CONTAINER_STATE_PAUSED);
  EXPECT_EQ(ReasonOf(Pause("a", &sandbox)), "WRONG_STATE");
  ASSERT_TRUE(Resume("a", &sandbox).ok());
  EXPECT_EQ(sandbox.state(), v1::Sandbox::STATE_RUNNING);
}

TEST_F(LimitsTest, APausedSandboxStaysSoOverARestart) {
  RunDetached("a", {"sleep"});
  v1::Sandbox sandbox;
  ASSERT_TRUE(Pause("a", &sandbox).ok());
  StopServer();
  StartServer();
  EXPECT_EQ(ReasonOf(Pause("a", &sandbox)), "WRONG_STATE");
  ASSERT_TRUE(Resume("a", &sandbox).ok());
}

TEST_F(LimitsTest, APausedSandboxCanBeKilledAndDeleted) {
  RunDetached("a", {"sleep"});
  v1::Sandbox sandbox;
  ASSERT_TRUE(Pause("a", &sandbox).ok());
  EXPECT_EQ(Delete("a", false).error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_TRUE(Delete("a", true).ok());
}

TEST_F(LimitsTest, LabelsAreChangedAndNothingElseIs) {
  auto request = Request("a", {"sleep"});
  (*request.mutable_annotations())["kept"] = "yes";
  ASSERT_TRUE(Create(request).ok());
  v1::UpdateSandboxRequest update;
  update.set_id("a");
  (*update.mutable_labels())["colour"] = "red";
  update.mutable_update_mask()->add_paths("labels");
  v1::Sandbox sandbox;
  ASSERT_TRUE(Update(update, &sandbox).ok());
  EXPECT_EQ(sandbox.labels().at("colour"), "red");
  EXPECT_EQ(sandbox.annotations().at("kept"), "yes");
}

TEST_F(LimitsTest, AMaskThatNamesNothingOrSomethingElseIsRefused) {
  ASSERT_TRUE(Create(Request("a", {"sleep"})).ok());
  v1::UpdateSandboxRequest update;
  update.set_id("a");
  v1::Sandbox sandbox;
  EXPECT_EQ(ReasonOf(Update(update, &sandbox)), "INVALID_FIELD");
  for (const char* path : {"state", "resources.nothing"}) {
    update.mutable_update_mask()->clear_paths();
    update.mutable_update_mask()->add_paths(path);
    EXPECT_EQ(ReasonOf(Update(update, &sandbox)), "INVALID_FIELD") << path;
  }
}

TEST_F(LimitsTest, ALimitForASandboxWithoutACgroupIsRefused) {
  RunDetached("a", {"sleep"});
  v1::UpdateSandboxRequest update;
  update.set_id("a");
  update.mutable_resources()->set_memory_limit_bytes(1 << 30);
  update.mutable_update_mask()->add_paths("resources.memory_limit_bytes");
  v1::Sandbox sandbox;
  EXPECT_EQ(ReasonOf(Update(update, &sandbox)), "FEATURE_UNSUPPORTED");
}

TEST_F(LimitsTest, LimitsAreInForceChangeAndGoWithTheSandbox) {
  auto request = Request("a", {"sleep"});
  request.mutable_spec()->set_cgroups_path("/sandboxd-limits-test-" + std::to_string(getpid()));
  request.mutable_spec()->mutable_resources()->set_memory_limit_bytes(256 << 20);
  v1::Sandbox sandbox;
  const auto created = Create(request, &sandbox);
  if (created.error_code() == StatusCode::INVALID_ARGUMENT) {
    GTEST_SKIP() << "no cgroups for us here: " << created.error_message();
  }
  ASSERT_TRUE(created.ok()) << created.error_message();
  EXPECT_EQ(sandbox.resources().memory_limit_bytes(), 256u << 20);
  ASSERT_TRUE(Start("a").ok());
  v1::UpdateSandboxRequest update;
  update.set_id("a");
  update.mutable_resources()->set_memory_limit_bytes(512 << 20);
  update.mutable_update_mask()->add_paths("resources.memory_limit_bytes");
  const auto updated = Update(update, &sandbox);
  ASSERT_TRUE(updated.ok()) << updated.error_message();
  ClientContext context;
  v1::StatsSandboxRequest ask;
  ask.set_id("a");
  v1::SandboxStats stats;
  ASSERT_TRUE(sandboxes_->Stats(&context, ask, &stats).ok());
  EXPECT_EQ(stats.memory_limit_bytes(), 512u << 20);
  EXPECT_GT(stats.memory_bytes(), 0u);
  ASSERT_FALSE(sandbox.cgroup_folders().empty());
  StopServer();
  StartServer();
  ASSERT_TRUE(Delete("a", true).ok());
  for (const std::string& folder : sandbox.cgroup_folders()) {
    EXPECT_FALSE(std::filesystem::exists(folder)) << folder;
  }
}

TEST_F(LimitsTest, StatsWithoutACgroupComeFromTheProcesses) {
  RunDetached("a", {"sleep"});
  ClientContext context;
  v1::StatsSandboxRequest request;
  request.set_id("a");
  v1::SandboxStats stats;
  ASSERT_TRUE(sandboxes_->Stats(&context, request, &stats).ok());
  EXPECT_GT(stats.memory_bytes(), 0u);
  EXPECT_EQ(stats.processes(), 1u);
}

TEST_F(LimitsTest, StatsOfAnEndedSandboxAreRefused) {
  RunDetached("a", {"exit", "0"});
  Wait("a");
  ClientContext context;
  v1::StatsSandboxRequest request;
  request.set_id("none");
  v1::SandboxStats stats;
  EXPECT_EQ(ReasonOf(sandboxes_->Stats(&context, request, &stats)), "SANDBOX_NOT_FOUND");
}

}  // namespace
}  // namespace sandboxd::daemon
