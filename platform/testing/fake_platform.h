// A platform for unit tests: an address space is a table of pages in this process, nothing runs.
//
//   auto as = MakeRef<FakeAddressSpace>();
//   auto context = as->NewFakeContext();
//   as->Map(*context, range, PROT_READ | PROT_WRITE, {});
//   context->CopyOut(addr, bytes);
//
// It honours protections, file backings (through pread and pwrite on a duplicate of the
// descriptor), sharing and fork as the real platforms do. Thread-safe like them.
#pragma once

#include <sys/types.h>

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "platform/base/mutex.h"
#include "platform/base/unique_fd.h"
#include "platform/platform.h"

namespace sandboxd::platform {

class FakeContext;

class FakeAddressSpace final : public AddressSpace {
 public:
  FakeAddressSpace();

  Result<void> Map(Context& by, AddrRange range, int prot, const Backing& backing) override;
  Result<void> Unmap(Context& by, AddrRange range) override;
  Result<void> Protect(Context& by, AddrRange range, int prot) override;
  Result<void> Remap(Context& by, AddrRange from, AddrRange to, bool keep_source) override;
  Result<void> Advise(Context& by, AddrRange range, int advice) override;
  Result<void> Mincore(Context& by, AddrRange range, Bytes vec) override;
  Result<Ref<AddressSpace>> Fork(Context& by) override;
  Result<void> PrepareThread(Context& by) override;
  Result<std::unique_ptr<Context>> NewContext() override;
  size_t CopyIn(UserAddr src, Bytes dst) override;
  size_t CopyOut(UserAddr dst, ConstBytes src) override;
  void Kill() override;

  // NewContext() with its real type; makes a thread if none is parked.
  std::unique_ptr<FakeContext> NewFakeContext();

  // What tests look at.
  int ProtectionOf(UserAddr addr) const;  // -1: nothing is mapped there
  size_t mapped_pages() const;
  int calls() const;  // Map, Unmap, Protect, Remap and Advise so far
  bool dead() const;
  void FailNextCall(Errno e);  // the next of those calls changes nothing and returns this

 private:
  friend class FakeContext;

  using PageBytes = std::array<std::byte, kPageSize>;
  struct Contents final : public RefCounted {
    PageBytes bytes{};
  };
  struct File final : public RefCounted {
    explicit File(UniqueFd f) : fd(std::move(f)) {}
    UniqueFd fd;
  };
  struct Page {
    int prot = 0;
    Sharing sharing = Sharing::kPrivate;
    Ref<Contents> contents;  // null: the file's page, or a private page not yet touched
    Ref<File> file;          // null: anonymous
    uint64_t offset = 0;
  };
  enum class Access : uint8_t { kRead, kWrite };

  ~FakeAddressSpace() override = default;
  Result<void> MapFd(Context& by, AddrRange range, int prot, int flags,
                     const Backing& backing) override;
  Result<void> BeginCall(const Context& by) REQUIRES(mutex_);
  Result<void> Duplicate(UserAddr from, AddrRange to) REQUIRES(mutex_);
  size_t Copy(UserAddr at, std::byte* ours, size_t size, Access access) REQUIRES(mutex_);
  bool CopyInPage(Page& page, size_t offset, std::byte* ours, size_t size, Access access);

  mutable Mutex mutex_{LockRank::kAddressSpace};
  std::map<uint64_t, Page> pages_ GUARDED_BY(mutex_);  // by page address
  int parked_ GUARDED_BY(mutex_) = 1;
  int calls_ GUARDED_BY(mutex_) = 0;
  bool dead_ GUARDED_BY(mutex_) = false;
  std::optional<Errno> fail_next_ GUARDED_BY(mutex_);
  std::vector<FakeContext*> contexts_ GUARDED_BY(mutex_);  // each removes itself when it goes
};

// Switch() runs the next scripted step. With no step left it waits for Interrupt(), Kill() or
// another step.
class FakeContext final : public Context {
 public:
  using Step = std::function<Stop(arch::Registers&, StepMode)>;

  explicit FakeContext(Ref<FakeAddressSpace> as);
  ~FakeContext() override;

  void AddStep(Step step);
  // A step that makes a system call.
  void AddSyscall(uint64_t number, std::array<uint64_t, 6> args = {});

  Stop Switch(arch::Registers& regs, StepMode step) override;
  void Interrupt() override;
  Result<std::vector<std::byte>> GetFpState() override;
  Result<void> SetFpState(ConstBytes xstate) override;
  Result<void> ResetFpState() override;
  size_t CopyIn(UserAddr src, Bytes dst) override;
  size_t CopyOut(UserAddr dst, ConstBytes src) override;
  Result<uint32_t> Load32(UserAddr addr) override;
  Result<uint32_t> CompareExchange32(UserAddr addr, uint32_t expected, uint32_t desired) override;

 private:
  friend class FakeAddressSpace;
  Result<uint64_t> HostCall(long number, const uint64_t (&args)[6]) override;
  FakeAddressSpace& fake() const;
  void BeKilled();

  mutable Mutex mutex_{LockRank::kContext};
  CondVar changed_;
  std::deque<Step> steps_ GUARDED_BY(mutex_);
  bool interrupted_ GUARDED_BY(mutex_) = false;
  bool killed_ GUARDED_BY(mutex_) = false;
  std::vector<std::byte> fp_state_;
};

class FakePlatform final : public Platform {
 public:
  std::string_view name() const override { return "fake"; }
  Result<Ref<AddressSpace>> NewAddressSpace() override;
  VdsoLayout vdso() const override { return {}; }
  std::vector<HostSyscall> HostSyscalls() const override { return {}; }
};

}  // namespace sandboxd::platform
