// MemoryManager: the memory map of one process (struct mm_struct). It holds the truth about what
// the application mapped; the platform's AddressSpace carries it out.
//
// Thread-safe. Methods that take `by` run host calls through the calling task's own context
// (platform/address_space.h).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernel/mm/mappable.h"
#include "kernel/mm/vma.h"
#include "kernel/mm/vma_set.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"
#include "platform/base/types.h"
#include "platform/platform.h"

namespace sandboxd::mm {

struct MmapRequest {
  UserAddr addr;        // hint, or the place with MAP_FIXED
  uint64_t length = 0;  // bytes, as the application said
  int prot = 0;
  int flags = 0;       // MAP_*
  Ref<Mappable> file;  // null with MAP_ANONYMOUS
  uint64_t offset = 0;
  int max_prot = 7;  // PROT_READ|WRITE|EXEC less what the file's open mode forbids
  const char* label = "";
};

// Linux's limit on mappings of one address space (vm.max_map_count).
inline constexpr size_t kMaxMapCount = 65530;
// Nothing is mapped below without CAP_SYS_RAWIO (vm.mmap_min_addr).
inline constexpr UserAddr kMmapMinAddr = platform::kApplicationStart;
// TASK_SIZE of x86-64 as programs know it: what lies between platform::kApplicationEnd and here is
// never given out.
inline constexpr UserAddr kTaskSize{0x7fff'ffff'f000};

// Limits that the caller reads from its rlimits at the call. Bytes.
struct MemoryLimits {
  uint64_t address_space = UINT64_MAX;  // RLIMIT_AS
  uint64_t data = UINT64_MAX;           // RLIMIT_DATA
  uint64_t stack = 8 << 20;             // RLIMIT_STACK
  uint64_t locked = UINT64_MAX;         // RLIMIT_MEMLOCK
};

// Where a word of application memory really is: equal keys, same memory, whichever process looks
// (futex(2)).
struct SharedKey {
  enum class Kind : uint8_t { kPrivate, kSharedAnon, kFile } kind = Kind::kPrivate;
  uint64_t a = 0, b = 0, offset = 0;  // private: the MemoryManager's id and the address
  auto operator<=>(const SharedKey&) const = default;
};

class MemoryManager final : public RefCounted, private platform::RoomKeeper {
 public:
  // An empty map over a fresh address space. `vdso` is listed as special mappings.
  static Result<Ref<MemoryManager>> Create(Ref<platform::AddressSpace> as,
                                           const platform::VdsoLayout& vdso);

  platform::AddressSpace& address_space() const { return *as_; }
  Ref<platform::AddressSpace> address_space_ref() const { return as_; }

  // The checks of mmap(2) that come before it looks at the file, for callers that have to open a
  // Mappable first: EINVAL, ENOMEM, EOVERFLOW, EPERM.
  static Result<void> CheckMmap(const MmapRequest& request);

  // mmap(2) and so on: checks in Linux's order, errnos as in the man pages.
  Result<UserAddr> Mmap(platform::Context& by, const MmapRequest& request,
                        const MemoryLimits& limits);
  Result<void> Munmap(platform::Context& by, UserAddr addr, uint64_t length);
  Result<void> Mprotect(platform::Context& by, UserAddr addr, uint64_t length, int prot);
  Result<UserAddr> Mremap(platform::Context& by, UserAddr old_addr, uint64_t old_len,
                          uint64_t new_len, int flags, UserAddr new_addr,
                          const MemoryLimits& limits);
  // brk(2): the new break, or the old one if the request can't be met.
  UserAddr Brk(platform::Context& by, UserAddr addr, const MemoryLimits& limits);
  Result<void> Madvise(platform::Context& by, UserAddr addr, uint64_t length, int advice);
  Result<void> Msync(platform::Context& by, UserAddr addr, uint64_t length, int flags);
  Result<void> Mincore(platform::Context& by, UserAddr addr, uint64_t length, Bytes vec);
  Result<void> Mlock(platform::Context& by, UserAddr addr, uint64_t length, int flags,
                     const MemoryLimits& limits);
  Result<void> Munlock(platform::Context& by, UserAddr addr, uint64_t length);
  Result<void> MlockAll(platform::Context& by, int flags, const MemoryLimits& limits);
  Result<void> MunlockAll(platform::Context& by);

  // Where a mapping of `length` bytes (whole pages) would go: at `hint` if that is free. ENOMEM.
  Result<UserAddr> FindRoom(UserAddr hint, uint64_t length) const;

  // For exec: where the heap begins, and the stack.
  void SetBrkStart(UserAddr start);
  // Places the stack, and with it where mmap starts to look for room (below the stack).
  Result<AddrRange> MapStack(platform::Context& by, const MemoryLimits& limits, bool executable,
                             bool randomize = true);

  // A copy for fork(2): forks the address space and the map. The child's mm has one parked thread.
  Result<Ref<MemoryManager>> Fork(platform::Context& by);

  // EFAULT if nothing is mapped there.
  Result<SharedKey> KeyFor(UserAddr addr) const;
  // All mappings, by address.
  std::vector<Vma> Snapshot() const;

  // What a host SIGSEGV on `addr` should be told to the program: SEGV_MAPERR or SEGV_ACCERR, from
  // our own map.
  int FaultCode(UserAddr addr) const;

  // Bytes inside one page, whatever its protection: for debuggers (ptrace(2)). What is private can
  // be written though the application may not; false if that can't be had.
  bool ForceRead(platform::Context& by, UserAddr from, Bytes to);
  bool ForceWrite(platform::Context& by, UserAddr to, ConstBytes from);

  struct Usage {
    uint64_t total_bytes = 0, data_bytes = 0, stack_bytes = 0, exec_bytes = 0, locked_bytes = 0,
             peak_bytes = 0;
  };
  Usage usage() const;

  // What exec recorded and prctl(PR_SET_MM) may change; read by /proc.
  struct Layout {
    UserAddr start_code, end_code, start_data, end_data, start_brk, brk, start_stack;
    UserAddr arg_start, arg_end, env_start, env_end;
    std::vector<uint64_t> auxv;
  };
  Layout layout() const;
  void set_layout(const Layout& layout);

  // The program's file, for /proc/PID/exe (a vfs::File; opaque here).
  Ref<RefCounted> executable() const;
  void set_executable(Ref<RefCounted> file);

  // prctl(PR_SET_DUMPABLE).
  int dumpable() const;
  void set_dumpable(int value);

  uint64_t id() const { return id_; }

 private:
  template <typename T, typename... Args>
  friend Ref<T> sandboxd::MakeRef(Args&&...);
  explicit MemoryManager(Ref<platform::AddressSpace> as);
  ~MemoryManager() override;

  Result<UserAddr> Reserve(AddrRange window) override;
  // The lowest page of the platform's in `range`, or null.
  const UserAddr* ReservedIn(AddrRange range) const REQUIRES(mutex_);
  // As VmaSet's, but none of the platform's pages is in it.
  std::optional<UserAddr> FindTopDown(uint64_t length, UserAddr low, UserAddr high) const
      REQUIRES(mutex_);
  std::optional<UserAddr> FindBottomUp(uint64_t length, UserAddr low, UserAddr high) const
      REQUIRES(mutex_);

  Result<UserAddr> ChoosePlace(const MmapRequest& request, uint64_t length) const REQUIRES(mutex_);
  Result<void> CheckRoom(uint64_t more, bool is_data, const MemoryLimits& limits) const
      REQUIRES(mutex_);
  // Takes `range` out of the map and the address space; what was there goes to `dropped`, which the
  // caller destroys after the lock.
  Result<void> UnmapLocked(platform::Context& by, AddrRange range, std::vector<Vma>& dropped)
      REQUIRES(mutex_);
  Result<void> MapLocked(platform::Context& by, Vma vma, const HostRange& host, bool populate,
                         std::vector<Vma>& dropped) REQUIRES(mutex_);
  void NotePeak() REQUIRES(mutex_);

  struct Move;  // an mremap under way
  Result<void> CheckResize(const Move& move, const MemoryLimits& limits) const REQUIRES(mutex_);
  Result<UserAddr> MoveTo(platform::Context& by, const Move& move, UserAddr to,
                          std::vector<Vma>& dropped) REQUIRES(mutex_);
  Result<void> GrowInPlace(platform::Context& by, const Move& move) REQUIRES(mutex_);
  Result<void> RemapPages(platform::Context& by, AddrRange from, AddrRange to, bool keep_source)
      REQUIRES(mutex_);

  Result<void> AdvisePiece(platform::Context& by, const Vma& vma, AddrRange part, int advice)
      REQUIRES(mutex_);
  void SetLocked(AddrRange range, bool locked) REQUIRES(mutex_);
  // Runs `access` while the page of `at` has the protection `more` besides its own.
  bool WithProtection(platform::Context& by, UserAddr at, int more,
                      const std::function<bool()>& access);

  const Ref<platform::AddressSpace> as_;
  const uint64_t id_;
  mutable Mutex mutex_{LockRank::kMm};
  // Host calls of the owning context are made with mutex_ held: they touch only the stub, never
  // another lock (exception to "no lock across Switch", stated here).
  VmaSet vmas_ GUARDED_BY(mutex_);
  // The platform's own pages, ascending. To the application they are addresses that it can't have.
  std::vector<UserAddr> reserved_ GUARDED_BY(mutex_);
  Layout layout_ GUARDED_BY(mutex_);
  UserAddr mmap_base_ GUARDED_BY(mutex_);  // new mappings are placed below
  uint64_t peak_bytes_ GUARDED_BY(mutex_) = 0;
  bool lock_future_ GUARDED_BY(mutex_) = false;  // mlockall(MCL_FUTURE)
  int dumpable_ GUARDED_BY(mutex_) = 1;
  Ref<RefCounted> executable_ GUARDED_BY(mutex_);
};

}  // namespace sandboxd::mm
