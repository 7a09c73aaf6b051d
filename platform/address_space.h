// AddressSpace: the memory of one application process, which is the memory of one host process, the
// stub.
//
// Anonymous memory is anonymous memory of the stub, a file mapping is a host mapping of the file's
// descriptor, fork is a host fork. The caller (kernel/mm) keeps the truth about what is mapped
// where; this class carries it out.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>

#include "platform/base/ref.h"
#include "platform/base/result.h"
#include "platform/base/types.h"
#include "platform/context.h"

namespace sandboxd::platform {

// Where applications may map. The stub's own code and data, and the vdso, lie above.
inline constexpr UserAddr kApplicationStart{0x10000};
inline constexpr UserAddr kApplicationEnd{0x7fff'0000'0000};

enum class Sharing : uint8_t { kPrivate, kShared };

// What the pages of a mapping hold.
struct Backing {
  int host_fd = -1;     // -1: anonymous, zero-filled
  uint64_t offset = 0;  // bytes, page-aligned
  Sharing sharing = Sharing::kPrivate;
  bool no_reserve = false;  // MAP_NORESERVE
  bool populate = false;    // MAP_POPULATE
};

// Gives a platform room for pages of its own among the application's, near to code of the
// application's (kernel/mm implements it).
class RoomKeeper {
 public:
  // A free page of which at least a part lies in `window`. From now on, and in copies of the
  // address space, nothing can be mapped there, and unmapping spares it. Any thread that holds no
  // lock of rank kMm or above. ENOMEM.
  virtual Result<UserAddr> Reserve(AddrRange window) = 0;

 protected:
  ~RoomKeeper() = default;
};

// Methods that take `by` run host calls on that context's stub thread: call them on the thread that
// owns `by`, which is bound to this address space. Ranges are page-aligned and inside
// [kApplicationStart, kApplicationEnd). Different contexts may call at the same time; ordering
// overlapping changes is the caller's business (kernel/mm holds its lock).
class AddressSpace : public RefCounted {
 public:
  // Replaces whatever is mapped in `range` (MAP_FIXED). `prot` is PROT_*.
  virtual Result<void> Map(Context& by, AddrRange range, int prot, const Backing& backing);
  virtual Result<void> Unmap(Context& by, AddrRange range);
  virtual Result<void> Protect(Context& by, AddrRange range, int prot);
  // Moves the pages of `from` to `to` (mremap with MREMAP_MAYMOVE|MREMAP_FIXED), growing or
  // shrinking them to its length. What was at `to` is replaced. With `keep_source`
  // (MREMAP_DONTUNMAP) `from` stays mapped. An empty `from` makes a second mapping of the shared
  // pages that begin there. ENOMEM if `to` only grows `from` and there is no room; EFAULT if `from`
  // is not one mapping to the host.
  virtual Result<void> Remap(Context& by, AddrRange from, AddrRange to, bool keep_source);
  // madvise(2); the host decides. Only advice that concerns this address space alone.
  virtual Result<void> Advise(Context& by, AddrRange range, int advice);
  // mincore(2) of the host: one byte a page into `vec`.
  virtual Result<void> Mincore(Context& by, AddrRange range, Bytes vec) = 0;

  // A copy (copy-on-write) with one thread in it, parked, which starts with `by`'s vector state.
  virtual Result<Ref<AddressSpace>> Fork(Context& by) = 0;
  // Parks one more thread in this address space for the next NewContext; it starts with `by`'s
  // vector state.
  virtual Result<void> PrepareThread(Context& by) = 0;
  // Takes a parked thread: a fresh address space and a fork have one. The calling host thread owns
  // the Context. EAGAIN if none is parked.
  virtual Result<std::unique_ptr<Context>> NewContext() = 0;

  // From any thread, without stopping anybody: the number of bytes copied before the first that
  // can't be. Respects the protections of the application's mappings.
  virtual size_t CopyIn(UserAddr src, Bytes dst);
  virtual size_t CopyOut(UserAddr dst, ConstBytes src);

  // Before application code runs; the keeper stays as long as it does.
  void set_room_keeper(RoomKeeper* keeper) { room_keeper_ = keeper; }
  RoomKeeper* room_keeper() const { return room_keeper_; }

  // The stub's process id in our pid namespace. For /proc figures (rss, cpu time) and tests.
  pid_t host_pid() const { return host_pid_; }

  // Kills the stub; every Switch in it returns kDead. Any thread; idempotent.
  virtual void Kill() = 0;

 protected:
  explicit AddressSpace(pid_t host_pid) : host_pid_(host_pid) {}
  // The part of Map that donates `backing.host_fd` to the stub and maps it there; `flags` are
  // mmap's.
  virtual Result<void> MapFd(Context& by, AddrRange range, int prot, int flags,
                             const Backing& backing) = 0;

  static Result<uint64_t> HostCall(Context& by, long number, uint64_t a0 = 0, uint64_t a1 = 0,
                                   uint64_t a2 = 0, uint64_t a3 = 0, uint64_t a4 = 0,
                                   uint64_t a5 = 0);

  pid_t host_pid_;

 private:
  RoomKeeper* room_keeper_ = nullptr;
};

}  // namespace sandboxd::platform
