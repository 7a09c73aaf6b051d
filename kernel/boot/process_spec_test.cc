#include "kernel/boot/process_spec.h"

#include <gtest/gtest.h>
#include <linux/capability.h>

namespace sandboxd::boot {
namespace {

constexpr char kPasswd[] =
    "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:100:A:/home/alice:/bin/sh\n";
constexpr char kGroup[] = "root:x:0:\nusers:x:100:\naudio:x:29:bob,alice\nwheel:x:10:alice\n";

UserIds MustFind(const std::string& user) {
  std::string message;
  auto ids = LookUpUser(user, kPasswd, kGroup, &message);
  EXPECT_TRUE(ids.ok()) << message;
  return ids.ok() ? *ids : UserIds{};
}

TEST(LookUpUserTest, NameGivesIdsGroupsAndHome) {
  UserIds ids = MustFind("alice");
  EXPECT_EQ(ids.uid, 1000u);
  EXPECT_EQ(ids.gid, 100u);
  EXPECT_EQ(ids.groups, (std::vector<uint32_t>{29, 10}));
  EXPECT_EQ(ids.home, "/home/alice");
}

TEST(LookUpUserTest, NumberWithoutEntryIsTakenAsItIs) {
  UserIds ids = MustFind("4711");
  EXPECT_EQ(ids.uid, 4711u);
  EXPECT_EQ(ids.gid, 0u);
}

TEST(LookUpUserTest, GroupIsLookedUpByNameOrNumber) {
  EXPECT_EQ(MustFind("alice:wheel").gid, 10u);
  EXPECT_EQ(MustFind("1000:77").gid, 77u);
  EXPECT_TRUE(MustFind("alice:wheel").groups.empty());
}

TEST(LookUpUserTest, UnknownNamesAreNamedInTheError) {
  std::string message;
  EXPECT_FALSE(LookUpUser("carol", kPasswd, kGroup, &message).ok());
  EXPECT_NE(message.find("carol"), std::string::npos);
  EXPECT_FALSE(LookUpUser("alice:nogroup", kPasswd, kGroup, &message).ok());
  EXPECT_NE(message.find("nogroup"), std::string::npos);
}

class FillProcessRequestTest : public ::testing::Test {
 protected:
  bool Fill(const control::ProcessSpec& spec) {
    return FillProcessRequest(spec, user_, creds::UserNamespace::CreateInitial(), &request_,
                              &failure_);
  }
  UserIds user_;
  task::ProcessRequest request_;
  Failure failure_;
};

TEST_F(FillProcessRequestTest, RootGetsTheDefaultCapabilitiesOthersNone) {
  control::ProcessSpec spec;
  spec.add_args("/bin/true");
  ASSERT_TRUE(Fill(spec)) << failure_.message;
  EXPECT_EQ(request_.credentials->effective, DefaultCapabilities());
  EXPECT_FALSE(request_.credentials->effective.Has(CAP_SYS_ADMIN));
  user_.uid = 1000;
  ASSERT_TRUE(Fill(spec));
  EXPECT_EQ(request_.credentials->effective, creds::CapSet{});
  EXPECT_EQ(request_.credentials->bounding, DefaultCapabilities());
}

TEST_F(FillProcessRequestTest, DefaultsAreThoseOfAShell) {
  control::ProcessSpec spec;
  spec.add_args("true");
  ASSERT_TRUE(Fill(spec));
  EXPECT_EQ(request_.cwd, "/");
  EXPECT_EQ(request_.umask, 0022u);
}

TEST_F(FillProcessRequestTest, WrongFieldsAreNamed) {
  control::ProcessSpec spec;
  EXPECT_FALSE(Fill(spec));
  EXPECT_NE(failure_.message.find("process.args"), std::string::npos);
  spec.add_args("true");
  spec.set_cwd("relative");
  EXPECT_FALSE(Fill(spec));
  EXPECT_NE(failure_.message.find("process.cwd"), std::string::npos);
  spec.set_cwd("/");
  spec.mutable_capabilities()->add_bounding("CAP_NONSENSE");
  EXPECT_FALSE(Fill(spec));
  EXPECT_NE(failure_.message.find("CAP_NONSENSE"), std::string::npos);
  spec.clear_capabilities();
  auto* limit = spec.add_rlimits();
  limit->set_type("RLIMIT_NOFILE");
  limit->set_soft(10);
  limit->set_hard(5);
  EXPECT_FALSE(Fill(spec));
  EXPECT_NE(failure_.message.find("RLIMIT_NOFILE"), std::string::npos);
}

}  // namespace
}  // namespace sandboxd::boot
