#include "kernel/mm/memory_manager.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "platform/base/unique_fd.h"
#include "platform/testing/fake_platform.h"

namespace sandboxd::mm {
namespace {

using platform::FakeAddressSpace;
constexpr int kRw = PROT_READ | PROT_WRITE;
constexpr int kAnon = MAP_PRIVATE | MAP_ANONYMOUS;

class FakeFile final : public Mappable {
 public:
  explicit FakeFile(uint64_t inode) : inode_(inode), fd_(memfd_create("mm_test", MFD_CLOEXEC)) {
    CHECK(fd_.valid() && ftruncate(fd_.get(), 16 * kPageSize) == 0);
  }
  Result<HostRange> HostBacking(uint64_t offset, uint64_t, MapAccess access) override {
    last_access = access;
    return HostRange{fd_.get(), offset};
  }
  Identity identity() const override { return {1, inode_}; }
  std::string MapsName() const override { return "/file"; }
  Result<void> Sync(uint64_t offset, uint64_t length) override {
    synced_offset = offset;
    synced_length = length;
    return Ok();
  }
  MapAccess last_access = MapAccess::kPrivate;
  uint64_t synced_offset = 0, synced_length = 0;

 private:
  const uint64_t inode_;
  UniqueFd fd_;
};

class MemoryManagerTest : public testing::Test {
 protected:
  Result<UserAddr> Map(UserAddr at, uint64_t pages, int prot = kRw, int flags = kAnon,
                       Ref<FakeFile> file = nullptr, uint64_t offset = 0, int max_prot = 7) {
    MmapRequest r;
    r.addr = at;
    r.length = pages * kPageSize;
    r.prot = prot;
    r.flags = flags;
    r.file = file;
    r.offset = offset;
    r.max_prot = max_prot;
    return mm_->Mmap(*context_, r, limits_);
  }
  UserAddr MapFixed(uint64_t page, uint64_t pages, int prot = kRw) {
    return MUST(Map(At(page), pages, prot, kAnon | MAP_FIXED));
  }
  static UserAddr At(uint64_t page) { return UserAddr(0x10000000 + page * kPageSize); }
  static uint64_t Size(uint64_t pages) { return pages * kPageSize; }
  size_t Count() const { return mm_->Snapshot().size(); }
  void Put(UserAddr a, uint32_t v) { EXPECT_EQ(context_->CopyOut(a, AsBytes(v)), sizeof(v)); }
  uint32_t Word(UserAddr a) {
    uint32_t v = 0;
    EXPECT_EQ(context_->CopyIn(a, AsWritableBytes(v)), sizeof(v));
    return v;
  }

  Ref<FakeAddressSpace> as_ = MakeRef<FakeAddressSpace>();
  std::unique_ptr<platform::FakeContext> context_ = as_->NewFakeContext();
  Ref<MemoryManager> mm_ = MemoryManager::Create(as_, {}).value();
  MemoryLimits limits_;
};

TEST_F(MemoryManagerTest, MmapChecksInLinuxOrder) {
  EXPECT_TRUE(Map(At(0), 0).Is(Errno::kEINVAL));
  EXPECT_TRUE(Map(At(0) + 1, 1, kRw, kAnon | MAP_FIXED).Is(Errno::kEINVAL));
  EXPECT_TRUE(Map(UserAddr(0x1000), 1, kRw, kAnon | MAP_FIXED).Is(Errno::kEPERM));
  EXPECT_TRUE(Map(kTaskSize, 1, kRw, kAnon | MAP_FIXED).Is(Errno::kENOMEM));
  EXPECT_TRUE(Map({}, uint64_t{1} << 40, kRw, kAnon).Is(Errno::kENOMEM));
  EXPECT_TRUE(Map({}, 1, kRw, MAP_ANONYMOUS).Is(Errno::kEINVAL)) << "neither shared nor private";
  EXPECT_TRUE(Map({}, 1, kRw, kAnon | MAP_HUGETLB).Is(Errno::kENOMEM));
  EXPECT_EQ(Count(), 0u);
}

TEST_F(MemoryManagerTest, PlacementIsTopDownAndMerges) {
  UserAddr a = MUST(Map({}, 1));
  UserAddr b = MUST(Map({}, 2));
  EXPECT_EQ(b + Size(2), a);
  EXPECT_EQ(Count(), 1u);
  EXPECT_EQ(as_->ProtectionOf(b), kRw);
}

TEST_F(MemoryManagerTest, HintsAreTakenIfFree) {
  EXPECT_EQ(MUST(Map(At(5) + 1, 1)), At(6)) << "rounded up";
  EXPECT_NE(MUST(Map(At(6), 1)), At(6));
  EXPECT_TRUE(Map(At(6), 1, kRw, kAnon | MAP_FIXED_NOREPLACE).Is(Errno::kEEXIST));
  EXPECT_EQ(MUST(Map(At(7), 1, kRw, kAnon | MAP_FIXED_NOREPLACE)), At(7));
}

TEST_F(MemoryManagerTest, Map32BitStaysBelowTwoGigabytes) {
  UserAddr a = MUST(Map({}, 1, kRw, kAnon | MAP_32BIT));
  EXPECT_LT(a.value, uint64_t{1} << 31);
}

TEST_F(MemoryManagerTest, FixedReplacesAndMunmapSplits) {
  MapFixed(0, 4);
  Put(At(1), 7);
  MapFixed(1, 1);
  EXPECT_EQ(Word(At(1)), 0u);
  ASSERT_TRUE(mm_->Munmap(*context_, At(1), Size(1)).ok());
  EXPECT_EQ(Count(), 2u);
  EXPECT_EQ(as_->ProtectionOf(At(1)), -1);
  EXPECT_TRUE(mm_->Munmap(*context_, At(1), Size(1)).ok()) << "nothing there is no error";
  EXPECT_TRUE(mm_->Munmap(*context_, At(1) + 1, Size(1)).Is(Errno::kEINVAL));
  EXPECT_TRUE(mm_->Munmap(*context_, At(1), 0).Is(Errno::kEINVAL));
}

TEST_F(MemoryManagerTest, MprotectStopsAtTheFirstHole) {
  MapFixed(0, 2);
  MapFixed(3, 1);
  EXPECT_TRUE(mm_->Mprotect(*context_, At(0), Size(4), PROT_READ).Is(Errno::kENOMEM));
  EXPECT_EQ(as_->ProtectionOf(At(1)), PROT_READ);
  EXPECT_EQ(as_->ProtectionOf(At(3)), kRw);
  EXPECT_TRUE(mm_->Mprotect(*context_, At(2), Size(1), PROT_READ).Is(Errno::kENOMEM));
  EXPECT_TRUE(mm_->Mprotect(*context_, At(0), Size(1), 0x100).Is(Errno::kEINVAL));
  EXPECT_TRUE(mm_->Mprotect(*context_, At(0), 0, PROT_READ).ok());
}

TEST_F(MemoryManagerTest, MprotectHonoursWhatTheFileAllows) {
  auto file = MakeRef<FakeFile>(1);
  UserAddr a = MUST(Map({}, 1, PROT_READ, MAP_SHARED, file, 0, PROT_READ | PROT_EXEC));
  EXPECT_EQ(file->last_access, MapAccess::kSharedReadOnly);
  EXPECT_TRUE(mm_->Mprotect(*context_, a, Size(1), kRw).Is(Errno::kEACCES));
  EXPECT_TRUE(Map({}, 1, kRw, MAP_SHARED, file, 0, PROT_READ).Is(Errno::kEACCES));
  UserAddr p = MUST(Map({}, 1, PROT_READ, MAP_PRIVATE, file, 0, PROT_READ | PROT_EXEC));
  EXPECT_TRUE(mm_->Mprotect(*context_, p, Size(1), kRw).ok()) << "a private copy may be written";
}

TEST_F(MemoryManagerTest, AddressSpaceAndDataLimits) {
  limits_.address_space = Size(4);
  MapFixed(0, 4);
  EXPECT_TRUE(Map({}, 1).Is(Errno::kENOMEM));
  MapFixed(1, 2);  // replaces: nothing more
  limits_ = {};
  limits_.data = Size(4);
  EXPECT_TRUE(Map({}, 1).Is(Errno::kENOMEM));
  EXPECT_TRUE(Map({}, 1, PROT_READ).ok());
}

TEST_F(MemoryManagerTest, MremapGrowsInPlaceOrMoves) {
  MapFixed(0, 2);
  Put(At(1), 5);
  EXPECT_EQ(MUST(mm_->Mremap(*context_, At(0), Size(2), Size(3), 0, {}, limits_)), At(0));
  EXPECT_EQ(as_->ProtectionOf(At(2)), kRw);
  MapFixed(3, 1, PROT_READ);
  EXPECT_TRUE(mm_->Mremap(*context_, At(0), Size(3), Size(5), 0, {}, limits_).Is(Errno::kENOMEM));
  UserAddr moved =
      MUST(mm_->Mremap(*context_, At(0), Size(3), Size(5), MREMAP_MAYMOVE, {}, limits_));
  EXPECT_NE(moved, At(0));
  EXPECT_EQ(Word(moved + Size(1)), 5u);
  EXPECT_EQ(as_->ProtectionOf(At(0)), -1);
  EXPECT_EQ(MUST(mm_->Mremap(*context_, moved, Size(5), Size(1), 0, {}, limits_)), moved);
  EXPECT_EQ(as_->ProtectionOf(moved + Size(1)), -1);
}

TEST_F(MemoryManagerTest, MremapFixedDontUnmapAndDuplicate) {
  MapFixed(0, 2);
  Put(At(0), 9);
  const int fixed = MREMAP_MAYMOVE | MREMAP_FIXED;
  EXPECT_TRUE(
      mm_->Mremap(*context_, At(0), Size(2), Size(2), fixed, At(1), limits_).Is(Errno::kEINVAL));
  EXPECT_EQ(MUST(mm_->Mremap(*context_, At(0), Size(2), Size(2), fixed, At(10), limits_)), At(10));
  EXPECT_EQ(Word(At(10)), 9u);
  EXPECT_EQ(MUST(mm_->Mremap(*context_, At(10), Size(2), Size(2), fixed | MREMAP_DONTUNMAP, At(20),
                             limits_)),
            At(20));
  EXPECT_EQ(Word(At(20)), 9u);
  EXPECT_EQ(Word(At(10)), 0u);
  EXPECT_TRUE(
      mm_->Mremap(*context_, At(20), 0, Size(2), MREMAP_MAYMOVE, {}, limits_).Is(Errno::kEINVAL));
  UserAddr shared = MUST(Map({}, 1, kRw, MAP_SHARED | MAP_ANONYMOUS));
  UserAddr twin = MUST(mm_->Mremap(*context_, shared, 0, Size(1), MREMAP_MAYMOVE, {}, limits_));
  Put(shared, 77);
  EXPECT_EQ(Word(twin), 77u);
  EXPECT_EQ(MUST(mm_->KeyFor(shared)), MUST(mm_->KeyFor(twin)));
}

TEST_F(MemoryManagerTest, MremapArguments) {
  MapFixed(0, 2);
  auto remap = [&](UserAddr a, uint64_t o, uint64_t n, int f) {
    return mm_->Mremap(*context_, a, o, n, f, At(50), limits_);
  };
  EXPECT_TRUE(remap(At(0), Size(1), Size(1), 8).Is(Errno::kEINVAL));
  EXPECT_TRUE(remap(At(0), Size(1), Size(1), MREMAP_FIXED).Is(Errno::kEINVAL));
  EXPECT_TRUE(remap(At(0) + 1, Size(1), Size(2), 0).Is(Errno::kEINVAL));
  EXPECT_TRUE(remap(At(0), Size(1), 0, 0).Is(Errno::kEINVAL));
  EXPECT_TRUE(remap(At(9), Size(1), Size(1), 0).Is(Errno::kEFAULT));
  EXPECT_TRUE(remap(At(0), Size(3), Size(4), MREMAP_MAYMOVE).Is(Errno::kEFAULT));
}

TEST_F(MemoryManagerTest, BrkGrowsShrinksAndKeepsClear) {
  mm_->SetBrkStart(At(0) + 100);
  EXPECT_EQ(mm_->Brk(*context_, {}, limits_), At(0) + 100);
  EXPECT_EQ(mm_->Brk(*context_, At(3) + 1, limits_), At(3) + 1);
  EXPECT_EQ(as_->ProtectionOf(At(3)), kRw);
  EXPECT_STREQ(mm_->Snapshot().at(0).label, "[heap]");
  EXPECT_EQ(mm_->Brk(*context_, At(2), limits_), At(2));
  EXPECT_EQ(as_->ProtectionOf(At(2)), -1);
  MapFixed(10, 1);
  EXPECT_EQ(mm_->Brk(*context_, At(10), limits_), At(2)) << "no free page before the mapping";
  EXPECT_EQ(mm_->Brk(*context_, At(9), limits_), At(9));
  limits_.data = Size(1);
  EXPECT_EQ(mm_->Brk(*context_, At(9) + 1, limits_), At(9));
}

TEST_F(MemoryManagerTest, MadviseDontneedZeroesAndReportsHoles) {
  MapFixed(0, 1);
  MapFixed(2, 1);
  Put(At(0), 1);
  Put(At(2), 2);
  EXPECT_TRUE(mm_->Madvise(*context_, At(0), Size(3), MADV_DONTNEED).Is(Errno::kENOMEM));
  EXPECT_EQ(Word(At(0)), 0u);
  EXPECT_EQ(Word(At(2)), 0u);
  EXPECT_TRUE(mm_->Madvise(*context_, At(0), Size(1), 12345).Is(Errno::kEINVAL));
  EXPECT_TRUE(mm_->Madvise(*context_, At(0) + 1, Size(1), MADV_DONTNEED).Is(Errno::kEINVAL));
  EXPECT_TRUE(mm_->Madvise(*context_, At(0), 0, MADV_DONTNEED).ok());
  EXPECT_TRUE(mm_->Madvise(*context_, At(0), Size(1), MADV_REMOVE).Is(Errno::kEINVAL));
  ASSERT_TRUE(mm_->Mlock(*context_, At(0), 1, 0, limits_).ok());
  EXPECT_TRUE(mm_->Madvise(*context_, At(0), Size(1), MADV_DONTNEED).Is(Errno::kEINVAL));
}

TEST_F(MemoryManagerTest, ForkCopiesButForDontFork) {
  MapFixed(0, 2);
  Put(At(0), 3);
  ASSERT_TRUE(mm_->Madvise(*context_, At(1), Size(1), MADV_DONTFORK).ok());
  EXPECT_EQ(Count(), 2u);
  ASSERT_TRUE(mm_->Mlock(*context_, At(0), 1, 0, limits_).ok());
  auto child = MUST(mm_->Fork(*context_));
  ASSERT_EQ(child->Snapshot().size(), 1u);
  EXPECT_FALSE(child->Snapshot()[0].locked);
  Put(At(0), 4);
  uint32_t v = 0;
  ASSERT_EQ(child->address_space().CopyIn(At(0), AsWritableBytes(v)), 4u);
  EXPECT_EQ(v, 3u);
  EXPECT_NE(MUST(child->KeyFor(At(0))), MUST(mm_->KeyFor(At(0))));
}

TEST_F(MemoryManagerTest, KeysOfFilesFollowTheFile) {
  auto file = MakeRef<FakeFile>(5);
  UserAddr a = MUST(Map({}, 2, kRw, MAP_SHARED, file, Size(1)));
  UserAddr b = MUST(Map(At(100), 1, kRw, MAP_SHARED, file, Size(2)));
  EXPECT_EQ(MUST(mm_->KeyFor(a + Size(1) + 8)), MUST(mm_->KeyFor(b + 8)));
  EXPECT_NE(MUST(mm_->KeyFor(a)), MUST(mm_->KeyFor(b)));
  EXPECT_TRUE(mm_->KeyFor(At(0)).Is(Errno::kEFAULT));
}

TEST_F(MemoryManagerTest, MsyncReachesTheFile) {
  auto file = MakeRef<FakeFile>(5);
  UserAddr a = MUST(Map({}, 3, kRw, MAP_SHARED, file, Size(1)));
  ASSERT_TRUE(mm_->Msync(*context_, a + Size(1), Size(1), MS_SYNC).ok());
  EXPECT_EQ(file->synced_offset, Size(2));
  EXPECT_EQ(file->synced_length, Size(1));
  EXPECT_TRUE(mm_->Msync(*context_, a, Size(1), MS_SYNC | MS_ASYNC).Is(Errno::kEINVAL));
  EXPECT_TRUE(mm_->Msync(*context_, At(0), Size(1), MS_ASYNC).Is(Errno::kENOMEM));
  ASSERT_TRUE(mm_->Mlock(*context_, a, 1, 0, limits_).ok());
  EXPECT_TRUE(mm_->Msync(*context_, a, Size(1), MS_INVALIDATE).Is(Errno::kEBUSY));
}

TEST_F(MemoryManagerTest, MlockCountsAgainstTheLimit) {
  MapFixed(0, 4);
  limits_.locked = Size(2);
  EXPECT_TRUE(mm_->Mlock(*context_, At(0), Size(2), 0, limits_).ok());
  EXPECT_TRUE(mm_->Mlock(*context_, At(0), Size(2), 0, limits_).ok()) << "again: nothing more";
  EXPECT_TRUE(mm_->Mlock(*context_, At(2), 1, 0, limits_).Is(Errno::kENOMEM));
  EXPECT_EQ(mm_->usage().locked_bytes, Size(2));
  EXPECT_TRUE(mm_->Munlock(*context_, At(0), Size(1)).ok());
  EXPECT_EQ(mm_->usage().locked_bytes, Size(1));
  limits_.locked = 0;
  EXPECT_TRUE(mm_->Mlock(*context_, At(2), 1, 0, limits_).Is(Errno::kEPERM));
  EXPECT_TRUE(mm_->MlockAll(*context_, 0, limits_).Is(Errno::kEINVAL));
  limits_ = {};
  EXPECT_TRUE(mm_->MlockAll(*context_, MCL_CURRENT | MCL_FUTURE, limits_).ok());
  MapFixed(10, 1);
  EXPECT_EQ(mm_->usage().locked_bytes, Size(5));
  EXPECT_TRUE(mm_->MunlockAll(*context_).ok());
  EXPECT_EQ(mm_->usage().locked_bytes, 0u);
}

TEST_F(MemoryManagerTest, StackIsBelowTheTopAndAboveNewMappings) {
  limits_.stack = 8 << 20;
  AddrRange stack = MUST(mm_->MapStack(*context_, limits_, false));
  EXPECT_EQ(stack.length(), uint64_t{8} << 20);
  UserAddr a = MUST(Map({}, 1));
  EXPECT_LT(a, stack.start - kStackGuardGap);
  EXPECT_TRUE(
      mm_->Mprotect(*context_, stack.end - Size(1), Size(1), kRw | PROT_EXEC | PROT_GROWSDOWN)
          .ok());
  EXPECT_EQ(as_->ProtectionOf(stack.start), kRw | PROT_EXEC);
}

TEST_F(MemoryManagerTest, SpecialMappingsStay) {
  platform::VdsoLayout vdso;
  vdso.vdso = {UserAddr(0x7fff'0000'1000), UserAddr(0x7fff'0000'3000)};
  auto mm = MUST(MemoryManager::Create(as_, vdso));
  ASSERT_EQ(mm->Snapshot().size(), 1u);
  EXPECT_TRUE(mm->Munmap(*context_, vdso.vdso.start, kPageSize).Is(Errno::kEINVAL));
  EXPECT_TRUE(mm->Mprotect(*context_, vdso.vdso.start, kPageSize, kRw).Is(Errno::kEACCES));
  EXPECT_EQ(mm->Snapshot().size(), 1u);
}

TEST_F(MemoryManagerTest, AHostFailureChangesNothing) {
  MapFixed(0, 2);
  as_->FailNextCall(Errno::kENOMEM);
  EXPECT_TRUE(mm_->Mprotect(*context_, At(0), Size(1), PROT_READ).Is(Errno::kENOMEM));
  as_->FailNextCall(Errno::kENOMEM);
  EXPECT_TRUE(mm_->Munmap(*context_, At(0), Size(1)).Is(Errno::kENOMEM));
  EXPECT_EQ(Count(), 1u);
  as_->FailNextCall(Errno::kENOMEM);
  EXPECT_TRUE(Map({}, 1).Is(Errno::kENOMEM));
  EXPECT_EQ(Count(), 1u);
}

TEST_F(MemoryManagerTest, FaultCodesComeFromTheMap) {
  MapFixed(0, 1, PROT_NONE);
  EXPECT_EQ(mm_->FaultCode(At(0)), SEGV_ACCERR);
  EXPECT_EQ(mm_->FaultCode(At(1)), SEGV_MAPERR);
}

}  // namespace
}  // namespace sandboxd::mm
