#include "kernel/fs/dev/dev.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "kernel/vfs/testing/test_caller.h"

namespace sandboxd::dev {
namespace {

class DevTest : public ::testing::Test {
 protected:
  DevTest() : caller_(vfs_, MUST(CreateDevtmpfs(tmpfs::HostMemoryFiles()))) {
    RegisterMemoryDevices(vfs_);
  }
  Ref<vfs::File> Open(std::string_view path) {
    return MUST(vfs_.Open(caller_, path, {}, {O_RDWR, 0}));
  }
  vfs::Vfs vfs_;
  vfs::TestCaller caller_;
};

TEST_F(DevTest, NullSwallowsAndIsEmpty) {
  auto null = Open("/null");
  EXPECT_EQ(MUST(vfs::WriteString(caller_, *null, "gone")), 4u);
  EXPECT_EQ(MUST(vfs::ReadAll(caller_, *null)), "");
  EXPECT_TRUE(null->Mmap(caller_, PROT_READ, MAP_PRIVATE).Is(Errno::kENODEV));
}

TEST_F(DevTest, ZeroIsEndlessAndMapsAsAnonymousMemory) {
  auto zero = Open("/zero");
  EXPECT_EQ(MUST(vfs::ReadAll(caller_, *zero, 40000)), std::string(40000, '\0'));
  EXPECT_EQ(MUST(zero->Mmap(caller_, PROT_READ, MAP_PRIVATE)), nullptr);
}

TEST_F(DevTest, FullHasNoSpace) {
  auto full = Open("/full");
  EXPECT_TRUE(vfs::WriteString(caller_, *full, "x").Is(Errno::kENOSPC));
  EXPECT_EQ(MUST(vfs::ReadAll(caller_, *full, 3)), std::string(3, '\0'));
}

TEST_F(DevTest, RandomFillsAndDiffers) {
  auto random = Open("/urandom");
  std::string a = MUST(vfs::ReadAll(caller_, *random, 10000));
  std::string b = MUST(vfs::ReadAll(caller_, *random, 10000));
  EXPECT_EQ(a.size(), 10000u);
  EXPECT_NE(a, b);
}

TEST_F(DevTest, NodesHaveTheirNumbers) {
  auto attr = MUST(vfs_.Stat(caller_, MUST(vfs_.Resolve(caller_, "/tty"))));
  EXPECT_EQ(attr.rdev, (vfs::DeviceNumber{5, 0}));
  EXPECT_TRUE(vfs_.Open(caller_, "/tty", {}, {O_RDWR, 0}).Is(Errno::kENXIO));
  EXPECT_EQ(MUST(vfs_.ReadLink(caller_, "/stdin", {})), "/proc/self/fd/0");
  EXPECT_EQ(MUST(vfs_.Stat(caller_, MUST(vfs_.Resolve(caller_, "/shm")))).mode, S_IFDIR | 01777u);
}

}  // namespace
}  // namespace sandboxd::dev
