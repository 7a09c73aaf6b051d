#include "kernel/creds/credentials.h"

#include <gtest/gtest.h>
#include <linux/capability.h>

namespace sandboxd::creds {
namespace {

TEST(UserNamespaceTest, InitialMapsEveryIdToItself) {
  auto ns = UserNamespace::CreateInitial();
  EXPECT_EQ(ns->ToKUid(1000), KUid(1000));
  EXPECT_EQ(ns->FromKGid(KGid(5)), 5u);
  EXPECT_FALSE(ns->ToKUid(UINT32_MAX).has_value());
}

TEST(UserNamespaceTest, ChildMapsThroughItsParents) {
  auto init = UserNamespace::CreateInitial();
  auto child = MUST(UserNamespace::CreateChild(init, KUid(1000), KGid(1000)));
  EXPECT_FALSE(child->ToKUid(0).has_value());
  EXPECT_EQ(child->FromKUid(KUid(1000)), kOverflowId);
  ASSERT_TRUE(child->SetUidMap({{0, 1000, 10}}).ok());
  EXPECT_TRUE(child->SetUidMap({{0, 1000, 10}}).Is(Errno::kEPERM));
  EXPECT_EQ(child->ToKUid(3), KUid(1003));
  EXPECT_EQ(child->FromKUid(KUid(1009)), 9u);
  EXPECT_FALSE(child->IsMapped(KUid(1010)));
  EXPECT_TRUE(child->SetGidMap({{0, 1, 2}, {1, 9, 1}}).Is(Errno::kEINVAL));
  EXPECT_TRUE(child->SetGidMap({}).Is(Errno::kEINVAL));
}

TEST(UserNamespaceTest, NestingIsBounded) {
  Ref<UserNamespace> ns = UserNamespace::CreateInitial();
  for (int i = 0; i < 32; i++) {
    auto child = MUST(UserNamespace::CreateChild(ns, KUid(0), KGid(0)));
    ASSERT_TRUE(child->SetUidMap({{0, 0, 1}}).ok());
    ASSERT_TRUE(child->SetGidMap({{0, 0, 1}}).ok());
    ns = child;
  }
  EXPECT_TRUE(UserNamespace::CreateChild(ns, KUid(0), KGid(0)).Is(Errno::kENOSPC));
}

TEST(CredentialsTest, CapabilitiesReachDownButNotUp) {
  auto init = UserNamespace::CreateInitial();
  auto child = MUST(UserNamespace::CreateChild(init, KUid(1000), KGid(1000)));
  auto root = Credentials::Root(init, CapSet::All());
  EXPECT_TRUE(root->Capable(CAP_SYS_ADMIN, *child));
  auto inner = Credentials::Root(child, CapSet::All());
  EXPECT_TRUE(inner->Capable(CAP_SYS_ADMIN, *child));
  EXPECT_FALSE(inner->Capable(CAP_SYS_ADMIN, *init));
  EXPECT_FALSE(inner->CapableInit(CAP_SYS_ADMIN));
  auto owner = Credentials::Root(init, CapSet{});
  owner->euid = KUid(1000);
  EXPECT_TRUE(owner->Capable(CAP_SYS_ADMIN, *child));
  EXPECT_FALSE(owner->Capable(CAP_SYS_ADMIN, *init));
}

TEST(CredentialsTest, GroupsAreFsgidAndSupplementary) {
  auto c = Credentials::Root(UserNamespace::CreateInitial(), CapSet{});
  c->fsgid = KGid(7);
  c->groups = {KGid(3), KGid(9)};
  EXPECT_TRUE(c->InGroup(KGid(7)));
  EXPECT_TRUE(c->InGroup(KGid(9)));
  EXPECT_FALSE(c->InGroup(KGid(4)));
  EXPECT_TRUE(c->Clone()->InGroup(KGid(3)));
}

}  // namespace
}  // namespace sandboxd::creds
