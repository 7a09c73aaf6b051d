// Which platform a sandbox gets, and what is said about the others.
#include "daemon/service/server_fixture.h"

namespace sandboxd::daemon {
namespace {

TEST_F(ServerTest, APlatformThatDoesNotWorkHereIsRefusedWithTheAlternative) {
  auto request = Request("a", {"sleep"});
  request.mutable_spec()->set_platform("broken");
  auto status = Create(request);
  EXPECT_EQ(status.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonOf(status), "PLATFORM_UNAVAILABLE");
  EXPECT_NE(status.error_message().find("the host lacks what it needs; use fake"),
            std::string::npos)
      << status.error_message();
  request.mutable_spec()->set_platform("xen");
  status = Create(request);
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(status.error_message().find("spec.platform: unknown platform \"xen\""),
            std::string::npos)
      << status.error_message();
  EXPECT_FALSE(StateFolderHas("a"));
}

TEST_F(ServerTest, TheFieldComesBeforeTheAnnotationBeforeTheDefault) {
  auto request = Request("a", {"sleep"});
  v1::Sandbox sandbox;
  ASSERT_TRUE(Create(request, &sandbox).ok());
  EXPECT_EQ(sandbox.platform().name(), "fake");
  EXPECT_EQ(sandbox.platform().reason(), "the daemon's default");
  request.set_id("b");
  (*request.mutable_annotations())["dev.sandboxd.platform"] = "broken";
  EXPECT_EQ(ReasonOf(Create(request)), "PLATFORM_UNAVAILABLE");
  request.mutable_spec()->set_platform("auto");
  ASSERT_TRUE(Create(request, &sandbox).ok());
  EXPECT_EQ(sandbox.platform().name(), "fake");
  EXPECT_EQ(sandbox.platform().reason(), "the best that works here");
}

TEST_F(ServerTest, PlatformsAreListedWithReasonsAndTheAutomaticChoice) {
  ClientContext context;
  v1::ListPlatformsResponse list;
  ASSERT_TRUE(daemon_->ListPlatforms(&context, {}, &list).ok());
  EXPECT_EQ(list.auto_platform(), "fake");
  EXPECT_EQ(list.auto_reason(), "the best that works here");
  ASSERT_EQ(list.platforms_size(), 5);
  EXPECT_TRUE(list.platforms(0).available() && list.platforms(0).is_default());
  EXPECT_EQ(list.platforms(4).name(), "broken");
  EXPECT_FALSE(list.platforms(4).available() || list.platforms(4).is_default());
  EXPECT_EQ(list.platforms(4).detail(), "the host lacks what it needs");
}

}  // namespace
}  // namespace sandboxd::daemon
