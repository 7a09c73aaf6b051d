// The vfs, with tmpfs as the file system below: walks, the dentry cache, mounts.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <thread>

#include "kernel/fs/tmpfs/tmpfs.h"
#include "kernel/vfs/testing/test_caller.h"

namespace sandboxd::vfs {
namespace {

Ref<Superblock> NewTmpfs() {
  return MakeRef<tmpfs::TmpfsSuperblock>("tmpfs", tmpfs::Options{}, tmpfs::HostMemoryFiles());
}

class VfsTest : public ::testing::Test {
 protected:
  VfsTest() : caller_(vfs_, NewTmpfs()) {
    vfs_.RegisterFilesystem(std::make_unique<tmpfs::TmpfsType>());
  }
  void Mkdir(std::string_view path) { ASSERT_TRUE(vfs_.Mkdir(caller_, path, {}, 0755).ok()); }
  Ref<File> Create(std::string_view path) {
    return MUST(vfs_.Open(caller_, path, {}, {O_RDWR | O_CREAT, 0644}));
  }
  Path At(std::string_view path) { return MUST(vfs_.Resolve(caller_, path)); }
  std::string Name(const Path& path) { return vfs_.PathString(path, caller_.root()); }
  Result<void> MountTmpfs(std::string_view where) {
    return vfs_.Mount(caller_, *caller_.mount_namespace(), "none", At(where), "tmpfs", 0, "");
  }

  Vfs vfs_;
  TestCaller caller_;
  Path held_;
};

TEST_F(VfsTest, NegativeDentriesGiveWay) {
  EXPECT_TRUE(vfs_.Resolve(caller_, "/f").Is(Errno::kENOENT));
  Create("/f");
  EXPECT_EQ(Name(At("/f")), "/f");
  ASSERT_TRUE(vfs_.Unlink(caller_, "/f", {}).ok());
  EXPECT_TRUE(vfs_.Resolve(caller_, "/f").Is(Errno::kENOENT));
}

TEST_F(VfsTest, CacheOfOneDirectoryIsBounded) {
  auto kept = Create("/kept");
  for (int i = 0; i < 20000; i++) {
    EXPECT_TRUE(vfs_.Resolve(caller_, "/none" + std::to_string(i)).Is(Errno::kENOENT));
  }
  int cached = 0;
  for (int i = 0; i < 20000; i++) {
    if (caller_.root().dentry->LookupCached("none" + std::to_string(i))) cached++;
  }
  EXPECT_LT(cached, 2048);
  EXPECT_EQ(At("/kept").dentry, kept->path().dentry);
}

TEST_F(VfsTest, DotDotOfADeletedFolderLeadsOn) {
  Mkdir("/a");
  Mkdir("/a/b");
  caller_.Chdir(At("/a/b"));
  ASSERT_TRUE(vfs_.Rmdir(caller_, "/a/b", {}).ok());
  EXPECT_EQ(Name(At("..")), "/a");
  EXPECT_EQ(Name(caller_.cwd()), "/a/b (deleted)");
  EXPECT_TRUE(vfs_.Mkdir(caller_, "x", {}, 0755).Is(Errno::kENOENT));
}

TEST_F(VfsTest, LongChainOfDeletedFoldersIsReleasedWithoutRecursion) {
  constexpr int kDepth = 50000;
  for (int i = 0; i < kDepth; i++) {
    Mkdir("d");
    caller_.Chdir(At("d"));
  }
  for (int i = 0; i < kDepth; i++) {
    Path parent = caller_.cwd().dentry == caller_.root().dentry ? caller_.root() : At("..");
    if (i == 0) held_ = caller_.cwd();
    caller_.Chdir(parent);
    ASSERT_TRUE(vfs_.Rmdir(caller_, "d", {}).ok());
  }
  held_ = Path();
  EXPECT_TRUE(vfs_.Resolve(caller_, "/d").Is(Errno::kENOENT));
}

TEST_F(VfsTest, ChrootIsTheTop) {
  Mkdir("/jail");
  Create("/jail/f");
  caller_.Chroot(At("/jail"));
  caller_.Chdir(caller_.root());
  EXPECT_EQ(Name(At("/../../f")), "/f");
}

TEST_F(VfsTest, MountsCoverAndDotDotCrosses) {
  Mkdir("/m");
  Create("/m/below");
  ASSERT_TRUE(MountTmpfs("/m").ok());
  EXPECT_TRUE(vfs_.Resolve(caller_, "/m/below").Is(Errno::kENOENT));
  Mkdir("/m/d");
  EXPECT_EQ(Name(At("/m/d/../..")), "/");
  EXPECT_EQ(Name(At("/m/d")), "/m/d");
  EXPECT_TRUE(vfs_.Rmdir(caller_, "/m", {}).Is(Errno::kEBUSY));
  EXPECT_TRUE(vfs_.Rename(caller_, "/m/d", {}, "/d", {}, 0).Is(Errno::kEXDEV));
  auto ns = caller_.mount_namespace();
  {
    auto held = Create("/m/open");
    EXPECT_TRUE(ns->Unmount(At("/m"), 0).Is(Errno::kEBUSY));
  }
  ASSERT_TRUE(ns->Unmount(At("/m"), 0).ok());
  EXPECT_TRUE(vfs_.Resolve(caller_, "/m/below").ok());
}

TEST_F(VfsTest, DetachedMountLivesOnForItsUsers) {
  Mkdir("/m");
  ASSERT_TRUE(MountTmpfs("/m").ok());
  auto file = Create("/m/f");
  ASSERT_TRUE(caller_.mount_namespace()->Unmount(At("/m"), MNT_DETACH).ok());
  EXPECT_EQ(MUST(WriteString(caller_, *file, "still")), 5u);
  EXPECT_EQ(Name(file->path()), "(unreachable)/f");
}

TEST_F(VfsTest, RecursiveBindCopiesWhatIsBelow) {
  Mkdir("/a");
  Mkdir("/b");
  ASSERT_TRUE(MountTmpfs("/a").ok());
  Mkdir("/a/in");
  ASSERT_TRUE(MountTmpfs("/a/in").ok());
  Create("/a/in/f");
  auto& ns = *caller_.mount_namespace();
  ASSERT_TRUE(vfs_.Mount(caller_, ns, "/a", At("/b"), "", MS_BIND, "").ok());
  EXPECT_TRUE(vfs_.Resolve(caller_, "/b/in/f").Is(Errno::kENOENT));
  ASSERT_TRUE(ns.Unmount(At("/b"), 0).ok());
  ASSERT_TRUE(vfs_.Mount(caller_, ns, "/a", At("/b"), "", MS_BIND | MS_REC, "").ok());
  EXPECT_TRUE(vfs_.Resolve(caller_, "/b/in/f").ok());
  EXPECT_EQ(ns.List().size(), 5u);
}

TEST_F(VfsTest, CopiedNamespaceIsSeparate) {
  Mkdir("/m");
  ASSERT_TRUE(MountTmpfs("/m").ok());
  Create("/m/f");
  int told = 0;
  auto copy = caller_.mount_namespace()->Copy([&](const auto&, const auto&) { told++; });
  EXPECT_EQ(told, 2);
  ASSERT_TRUE(caller_.mount_namespace()->Unmount(At("/m"), 0).ok());
  EXPECT_EQ(copy->List().size(), 2u);
  EXPECT_EQ(caller_.mount_namespace()->List().size(), 1u);
}

TEST_F(VfsTest, UserMayNotMountInTheInitialNamespace) {
  Mkdir("/m");
  caller_.BecomeUser(1000, 1000);
  EXPECT_TRUE(MountTmpfs("/m").Is(Errno::kEPERM));
}

TEST_F(VfsTest, StickyFoldersProtectLinksAndFiles) {
  Mkdir("/tmp");
  ASSERT_TRUE(vfs_.Chmod(caller_, At("/tmp"), 01777).ok());
  Create("/target");
  Create("/tmp/roots");
  ASSERT_TRUE(vfs_.Chmod(caller_, At("/tmp/roots"), 0666).ok());
  caller_.BecomeUser(1000, 1000);
  ASSERT_TRUE(vfs_.Symlink(caller_, "/target", "/tmp/users", {}).ok());
  caller_.BecomeUser(2000, 2000);
  EXPECT_TRUE(vfs_.Resolve(caller_, "/tmp/users").Is(Errno::kEACCES));
  EXPECT_TRUE(
      vfs_.Link(caller_, "/target", {.follow_last = false}, "/tmp/l", {}).Is(Errno::kEPERM));
  EXPECT_TRUE(vfs_.Unlink(caller_, "/tmp/users", {}).Is(Errno::kEPERM));
}

TEST_F(VfsTest, ConcurrentRenamesKeepTheTreeWhole) {
  Mkdir("/a");
  Mkdir("/b");
  Mkdir("/a/x");
  std::thread other([&] {
    TestCaller second(caller_, MakeRef<FdTable>());
    for (int i = 0; i < 2000; i++) {
      (void)vfs_.Rename(second, "/a/x", {}, "/b/x", {}, 0);
      (void)vfs_.Rename(second, "/b", {}, "/a/b", {}, 0);
    }
  });
  for (int i = 0; i < 2000; i++) {
    (void)vfs_.Rename(caller_, "/b/x", {}, "/a/x", {}, 0);
    (void)vfs_.Rename(caller_, "/a/b", {}, "/b", {}, 0);
    (void)vfs_.Resolve(caller_, "/a/b/x/..");
  }
  other.join();
  int places = 0;
  for (const char* path : {"/a/x", "/b/x", "/a/b/x"}) {
    if (vfs_.Resolve(caller_, path).ok()) places++;
  }
  EXPECT_EQ(places, 1);
}

}  // namespace
}  // namespace sandboxd::vfs
