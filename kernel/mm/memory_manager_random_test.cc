// Random calls against a model that knows each page by itself. The seed is fixed: a failure
// repeats.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <map>
#include <random>

#include "kernel/mm/memory_manager.h"
#include "platform/testing/fake_platform.h"

namespace sandboxd::mm {
namespace {

constexpr uint64_t kPages = 48;
constexpr UserAddr kStart{0x10000000};

struct ModelPage {
  int prot = 0;
  bool shared = false;
  uint32_t word = 0;
};

class Model {
 public:
  explicit Model(unsigned seed) : random_(seed) {}

  void Step() {
    uint64_t first = Pick(kPages), count = 1 + Pick(kPages - first);
    UserAddr at = kStart + first * kPageSize;
    uint64_t length = count * kPageSize;
    switch (Pick(7)) {
      case 0:
      case 1:
        Map(first, count, at, length);
        break;
      case 2:
        ASSERT_TRUE(mm_->Munmap(*context_, at, length).ok());
        for (uint64_t p = first; p < first + count; p++) pages_.erase(p);
        break;
      case 3:
        Protect(first, count, at, length);
        break;
      case 4:
        Remap(first, count, at, length);
        break;
      case 5: {
        auto r = mm_->Madvise(*context_, at, length, MADV_DONTNEED);
        bool hole = false;
        for (uint64_t p = first; p < first + count; p++) {
          auto it = pages_.find(p);
          hole = hole || it == pages_.end();
          if (it != pages_.end() && !it->second.shared) it->second.word = 0;
        }
        ASSERT_EQ(r.ok(), !hole);
        break;
      }
      case 6:
        Write(first, at);
        break;
    }
  }

  void Check() {
    size_t mapped = 0;
    const Vma* last = nullptr;
    auto vmas = mm_->Snapshot();
    for (const Vma& vma : vmas) {
      ASSERT_FALSE(vma.range.empty());
      if (last != nullptr) {
        ASSERT_LE(last->range.end, vma.range.start);
      }
      last = &vma;
      for (UserAddr a = vma.range.start; a < vma.range.end; a = a + kPageSize) {
        auto it = pages_.find((a - kStart) / kPageSize);
        ASSERT_NE(it, pages_.end());
        ASSERT_EQ(it->second.prot, vma.prot);
        ASSERT_EQ(as_->ProtectionOf(a), vma.prot);
        uint32_t word = 0;
        if ((vma.prot & PROT_READ) != 0) {
          ASSERT_EQ(context_->CopyIn(a, AsWritableBytes(word)), sizeof(word));
          ASSERT_EQ(word, it->second.word);
        }
        mapped++;
      }
    }
    ASSERT_EQ(mapped, pages_.size());
    ASSERT_EQ(as_->mapped_pages(), pages_.size());
    ASSERT_EQ(mm_->usage().total_bytes, mapped * kPageSize);
  }

 private:
  uint64_t Pick(uint64_t n) { return random_() % n; }
  int PickProt() {
    static constexpr int kProts[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE,
                                     PROT_READ | PROT_EXEC};
    return kProts[Pick(4)];
  }

  void Map(uint64_t first, uint64_t count, UserAddr at, uint64_t length) {
    MmapRequest r;
    bool shared = Pick(3) == 0;
    r.addr = at;
    r.length = length;
    r.prot = PickProt();
    r.flags = MAP_ANONYMOUS | MAP_FIXED | (shared ? MAP_SHARED : MAP_PRIVATE);
    ASSERT_EQ(MUST(mm_->Mmap(*context_, r, {})), at);
    for (uint64_t p = first; p < first + count; p++) pages_[p] = {r.prot, shared, 0};
  }

  void Protect(uint64_t first, uint64_t count, UserAddr at, uint64_t length) {
    int prot = PickProt();
    auto r = mm_->Mprotect(*context_, at, length, prot);
    uint64_t p = first;
    for (; p < first + count && pages_.contains(p); p++) pages_[p].prot = prot;
    ASSERT_EQ(r.ok(), p == first + count);
  }

  // To a fixed place that does not overlap, or to a smaller length.
  void Remap(uint64_t first, uint64_t count, UserAddr at, uint64_t length) {
    uint64_t target = Pick(kPages);
    if (target + count > kPages) return;
    UserAddr to = kStart + target * kPageSize;
    auto r = mm_->Mremap(*context_, at, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, to, {});
    bool overlap = target < first + count && first < target + count;
    if (overlap || !pages_.contains(first)) {
      ASSERT_FALSE(r.ok());
      return;
    }
    for (uint64_t i = 0; i < count; i++) pages_.erase(target + i);
    if (!r.ok()) return;  // not one mapping: the target is gone, as on Linux
    for (uint64_t i = 0; i < count; i++) {
      ASSERT_TRUE(pages_.contains(first + i));
      pages_[target + i] = pages_[first + i];
      pages_.erase(first + i);
    }
  }

  void Write(uint64_t page, UserAddr at) {
    uint32_t word = static_cast<uint32_t>(random_());
    bool stored = context_->CopyOut(at, AsBytes(word)) == sizeof(word);
    auto it = pages_.find(page);
    bool writable = it != pages_.end() && (it->second.prot & PROT_WRITE) != 0;
    ASSERT_EQ(stored, writable);
    if (stored) it->second.word = word;
  }

  std::mt19937 random_;
  Ref<platform::FakeAddressSpace> as_ = MakeRef<platform::FakeAddressSpace>();
  std::unique_ptr<platform::FakeContext> context_ = as_->NewFakeContext();
  Ref<MemoryManager> mm_ = MemoryManager::Create(as_, {}).value();
  std::map<uint64_t, ModelPage> pages_;
};

class MemoryManagerRandomTest : public testing::TestWithParam<unsigned> {};

TEST_P(MemoryManagerRandomTest, AgreesWithTheModel) {
  Model model(GetParam());
  for (int i = 0; i < 400; i++) {
    SCOPED_TRACE(i);
    ASSERT_NO_FATAL_FAILURE(model.Step());
    ASSERT_NO_FATAL_FAILURE(model.Check());
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, MemoryManagerRandomTest, testing::Range(1u, 21u));

}  // namespace
}  // namespace sandboxd::mm
