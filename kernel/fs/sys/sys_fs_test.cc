#include "kernel/fs/sys/sys_fs.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "kernel/vfs/testing/test_caller.h"

namespace sandboxd::sysfs {
namespace {

class SysFsTest : public testing::Test {
 protected:
  std::string Read(const char* path) {
    auto file = vfs_.Open(caller_, path, {}, {O_RDONLY, 0});
    return file.ok() ? MUST(vfs::ReadAll(caller_, **file)) : ErrnoName(file.error());
  }
  vfs::Vfs vfs_;
  vfs::TestCaller caller_{vfs_, NewSysSuperblock(34)};
};

TEST_F(SysFsTest, ProcessorsAreCounted) {
  EXPECT_EQ(Read("/devices/system/cpu/online"), "0-33\n");
  EXPECT_EQ(Read("/devices/system/cpu/cpu33/topology/core_id"), "33\n");
  EXPECT_EQ(Read("/devices/system/cpu/cpu34/topology/core_id"), "ENOENT");
  EXPECT_EQ(Read("/devices/system/node/node0/cpumap"), "3,ffffffff\n");
}

TEST_F(SysFsTest, LoopbackIsAClassMember) { EXPECT_EQ(Read("/class/net/lo/mtu"), "65536\n"); }

TEST_F(SysFsTest, CgroupsHaveAMountPoint) {
  EXPECT_TRUE(vfs_.Resolve(caller_, "/fs/cgroup").ok());
  EXPECT_EQ(MUST(NewSysSuperblock(1)->StatFs()).type, 0x62656572);
}

}  // namespace
}  // namespace sandboxd::sysfs
