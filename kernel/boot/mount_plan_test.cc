#include "kernel/boot/mount_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace sandboxd::boot {
namespace {

const PlannedMount* FindMount(const std::vector<PlannedMount>& plan,
                              const std::string& destination) {
  auto it = std::find_if(plan.begin(), plan.end(),
                         [&](const PlannedMount& m) { return m.destination == destination; });
  return it == plan.end() ? nullptr : &*it;
}

TEST(MountPlanTest, EveryContainerHasProcDevAndSys) {
  std::vector<PlannedMount> plan;
  Failure failure;
  ASSERT_TRUE(PlanMounts({}, &plan, &failure));
  for (const char* destination : {"/proc", "/sys", "/dev", "/dev/pts", "/dev/shm"}) {
    EXPECT_NE(FindMount(plan, destination), nullptr) << destination;
  }
}

TEST(MountPlanTest, ParentsComeBeforeChildren) {
  control::CreateContainer spec;
  for (const char* destination : {"/a/b/c", "/a", "/a/b"}) {
    auto* m = spec.add_mounts();
    m->set_destination(destination);
    m->set_type("tmpfs");
  }
  std::vector<PlannedMount> plan;
  Failure failure;
  ASSERT_TRUE(PlanMounts(spec, &plan, &failure));
  EXPECT_LT(FindMount(plan, "/a"), FindMount(plan, "/a/b"));
  EXPECT_LT(FindMount(plan, "/a/b"), FindMount(plan, "/a/b/c"));
}

TEST(MountPlanTest, ATmpfsOnDevIsFilledWithDevicesAndReplacesTheDefault) {
  control::CreateContainer spec;
  auto* m = spec.add_mounts();
  m->set_destination("/dev/");
  m->set_type("tmpfs");
  for (const char* option : {"nosuid", "strictatime", "mode=755", "size=65536k"})
    m->add_options(option);
  std::vector<PlannedMount> plan;
  Failure failure;
  ASSERT_TRUE(PlanMounts(spec, &plan, &failure));
  EXPECT_EQ(
      std::count_if(plan.begin(), plan.end(), [](auto& p) { return p.destination == "/dev"; }), 1);
  const PlannedMount* dev = FindMount(plan, "/dev");
  EXPECT_EQ(dev->type, "devtmpfs");
  EXPECT_EQ(dev->flags, static_cast<uint32_t>(vfs::kMountNoSuid));
  EXPECT_EQ(dev->options, "mode=755,size=65536k");
}

TEST(MountPlanTest, WhatItCantMountIsNamed) {
  auto message_for = [](const char* destination, const char* type) {
    control::CreateContainer spec;
    auto* m = spec.add_mounts();
    m->set_destination(destination);
    m->set_type(type);
    std::vector<PlannedMount> plan;
    Failure failure;
    EXPECT_FALSE(PlanMounts(spec, &plan, &failure)) << destination;
    EXPECT_EQ(failure.reason, control::Status::INVALID_ARGUMENT);
    return failure.message;
  };
  EXPECT_NE(message_for("/mnt", "ext4").find("ext4"), std::string::npos);
  EXPECT_NE(message_for("mnt", "tmpfs").find("\"mnt\""), std::string::npos);
  EXPECT_NE(message_for("/a/../b", "tmpfs").find("/a/../b"), std::string::npos);
  EXPECT_NE(message_for("/", "tmpfs").find("\"/\""), std::string::npos);
  EXPECT_NE(message_for("/mnt", "gofer").find("gofer"), std::string::npos);
}

}  // namespace
}  // namespace sandboxd::boot
