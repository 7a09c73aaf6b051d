#include "kernel/vfs/fd_table.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "kernel/vfs/file_locks.h"
#include "kernel/vfs/inode.h"
#include "kernel/vfs/vfs.h"

namespace sandboxd::vfs {
namespace {

class AnyFile final : public File {
 public:
  explicit AnyFile(Vfs& vfs) : File(vfs.AnonymousPath("any", 0600), O_RDWR) {}
};

class FdTableTest : public ::testing::Test {
 protected:
  Ref<File> NewFile() { return MakeRef<AnyFile>(vfs_); }
  Vfs vfs_;
  Ref<FdTable> table_ = MakeRef<FdTable>();
};

TEST_F(FdTableTest, LowestFreeNumber) {
  for (int i = 0; i < 4; i++) EXPECT_EQ(MUST(table_->Install(NewFile(), false, 10)).value, i);
  EXPECT_EQ(MUST(table_->Install(NewFile(), true, 10, FdNum(7))).value, 7);
  EXPECT_EQ(MUST(table_->Install(NewFile(), false, 10)).value, 4);
  EXPECT_TRUE(MUST(table_->GetCloexec(FdNum(7))));
  EXPECT_EQ(table_->count(), 6u);
}

TEST_F(FdTableTest, LimitsAreEmfileAndEinval) {
  for (int i = 0; i < 3; i++) MUST(table_->Install(NewFile(), false, 3));
  EXPECT_TRUE(table_->Install(NewFile(), false, 3).Is(Errno::kEMFILE));
  EXPECT_TRUE(table_->Install(NewFile(), false, 3, FdNum(3)).Is(Errno::kEINVAL));
  EXPECT_TRUE(table_->CheckRoom(3).Is(Errno::kEMFILE));
  EXPECT_TRUE(table_->InstallMany({NewFile(), NewFile()}, false, 4).Is(Errno::kEMFILE));
  EXPECT_EQ(table_->count(), 3u);
}

TEST_F(FdTableTest, ForkCopiesNumbersAndSharesFiles) {
  FdNum fd = MUST(table_->Install(NewFile(), true, 10));
  Ref<FdTable> copy = table_->Fork();
  EXPECT_EQ(MUST(copy->Get(fd)), MUST(table_->Get(fd)));
  EXPECT_TRUE(MUST(copy->GetCloexec(fd)));
}

TEST_F(FdTableTest, EndOfATableDropsItsRecordLocks) {
  Ref<File> file = NewFile();
  MUST(table_->Install(file, false, 10));
  RecordLock lock{{0, 1}, LockType::kWrite, {LockOwner::Kind::kPosix, table_.get()}, 1};
  ASSERT_TRUE(file->inode()->locks().SetRecord(lock).ok());
  table_.Reset();
  EXPECT_TRUE(file->inode()->locks().List().empty());
}

}  // namespace
}  // namespace sandboxd::vfs
