#include "platform/address_space.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>

#include "platform/base/check.h"

namespace sandboxd::platform {
namespace {

// One process_vm transfer of at most this much: the host then pins few pages at a time.
constexpr size_t kMaxTransfer = size_t{1} << 30;

enum class Direction : uint8_t { kRead, kWrite };

// The host stops at the first page that it can't reach but may report less than it could have
// copied, when a single remote range covers a hole: it works page by page, so what it says is
// exact. It fails with EFAULT only if the first page is out of reach.
size_t Transfer(pid_t pid, Direction direction, uint64_t remote, std::byte* local, size_t size) {
  size_t done = 0;
  while (done < size) {
    iovec ours{local + done, std::min(size - done, kMaxTransfer)};
    iovec theirs{reinterpret_cast<void*>(remote + done), ours.iov_len};
    ssize_t n = direction == Direction::kRead ? process_vm_readv(pid, &ours, 1, &theirs, 1, 0)
                                              : process_vm_writev(pid, &ours, 1, &theirs, 1, 0);
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

// The part of [addr, addr + size) that an application may name.
size_t ClampToApplication(UserAddr addr, size_t size) {
  if (addr >= kApplicationEnd) return 0;
  return std::min<uint64_t>(size, kApplicationEnd - addr);
}

// The caller has validated what the application asked for; a mistake there must not reach our own
// region of the stub.
Result<void> CheckRange(AddrRange range) {
  const bool fine = range.start >= kApplicationStart && range.end <= kApplicationEnd &&
                    !range.empty() && IsPageAligned(range.start.value) &&
                    IsPageAligned(range.end.value);
  if (!fine) return Errno::kEINVAL;
  return Ok();
}

}  // namespace

Result<uint64_t> AddressSpace::HostCall(Context& by, long number, uint64_t a0, uint64_t a1,
                                        uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5) {
  const uint64_t args[6] = {a0, a1, a2, a3, a4, a5};
  return by.HostCall(number, args);
}

Result<void> AddressSpace::Map(Context& by, AddrRange range, int prot, const Backing& backing) {
  TRY(CheckRange(range));
  int flags = MAP_FIXED | (backing.sharing == Sharing::kShared ? MAP_SHARED : MAP_PRIVATE);
  if (backing.no_reserve) flags |= MAP_NORESERVE;
  if (backing.populate) flags |= MAP_POPULATE;
  if (backing.host_fd < 0) {
    TRY(HostCall(by, SYS_mmap, range.start.value, range.length(), static_cast<uint64_t>(prot),
                 static_cast<uint64_t>(flags | MAP_ANONYMOUS), ~uint64_t{0}, 0));
    return Ok();
  }
  return MapFd(by, range, prot, flags, backing);
}

Result<void> AddressSpace::Unmap(Context& by, AddrRange range) {
  TRY(CheckRange(range));
  TRY(HostCall(by, SYS_munmap, range.start.value, range.length()));
  return Ok();
}

Result<void> AddressSpace::Protect(Context& by, AddrRange range, int prot) {
  TRY(CheckRange(range));
  TRY(HostCall(by, SYS_mprotect, range.start.value, range.length(), static_cast<uint64_t>(prot)));
  return Ok();
}

Result<void> AddressSpace::Remap(Context& by, AddrRange from, AddrRange to, bool keep_source) {
  TRY(CheckRange(from.empty() ? AddrRange{from.start, from.start + kPageSize} : from));
  TRY(CheckRange(to));
  if (from == to) return Ok();
  uint64_t old_length = from.length();
  // Growing where it stands must not move it: the host's MREMAP_MAYMOVE is for a new place only.
  uint64_t flags = 0;
  if (from.start != to.start) {
    flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    // MREMAP_DONTUNMAP needs equal lengths and takes private anonymous memory (since Linux 5.13
    // any). An empty `from` makes a second mapping of the shared pages there, which stay.
    if (keep_source && old_length != 0) {
      if (old_length != to.length()) return Errno::kEINVAL;
      flags |= MREMAP_DONTUNMAP;
    }
  }
  TRY(HostCall(by, SYS_mremap, from.start.value, old_length, to.length(), flags, to.start.value));
  return Ok();
}

Result<void> AddressSpace::Advise(Context& by, AddrRange range, int advice) {
  TRY(CheckRange(range));
  TRY(HostCall(by, SYS_madvise, range.start.value, range.length(), static_cast<uint64_t>(advice)));
  return Ok();
}

size_t AddressSpace::CopyIn(UserAddr src, Bytes dst) {
  return Transfer(host_pid_, Direction::kRead, src.value, dst.data(),
                  ClampToApplication(src, dst.size()));
}

size_t AddressSpace::CopyOut(UserAddr dst, ConstBytes src) {
  return Transfer(host_pid_, Direction::kWrite, dst.value, const_cast<std::byte*>(src.data()),
                  ClampToApplication(dst, src.size()));
}

}  // namespace sandboxd::platform
