// Memory: mmap(2) and its family, brk(2), mlock(2), process_vm_readv(2), numa(7).
#include <linux/capability.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <vector>

#include "kernel/syscalls/families.h"
#include "kernel/task/access/ptrace_access.h"
#include "kernel/vfs/mount.h"

namespace sandboxd::syscalls {
namespace {

using mm::MemoryManager;
using mm::MmapRequest;

// RLIMIT_MEMLOCK does not bind a task with CAP_IPC_LOCK (mlock(2)).
mm::MemoryLimits LimitsOf(Task& t) {
  mm::MemoryLimits limits = t.memory_limits();
  if (t.credentials()->CapableInit(CAP_IPC_LOCK)) limits.locked = UINT64_MAX;
  return limits;
}

// What mmap(2) asks of the file behind `fd`.
Result<void> AttachFile(Task& t, FdNum fd, MmapRequest& r) {
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  if ((r.flags & MAP_HUGETLB) != 0) return Errno::kEINVAL;
  TRY(MemoryManager::CheckMmap(r));
  const int type = r.flags & MAP_TYPE;
  if (type != MAP_PRIVATE && type != MAP_SHARED && type != MAP_SHARED_VALIDATE) {
    return Errno::kEINVAL;
  }
  const bool shared = type != MAP_PRIVATE;
  if (shared && (r.prot & PROT_WRITE) != 0 && !file->writable()) return Errno::kEACCES;
  if (!file->readable()) return Errno::kEACCES;
  if (shared && !file->writable()) r.max_prot &= ~PROT_WRITE;
  if (file->path().mount != nullptr && (file->path().mount->flags() & vfs::kMountNoExec) != 0) {
    if ((r.prot & PROT_EXEC) != 0) return Errno::kEPERM;
    r.max_prot &= ~PROT_EXEC;
  }
  r.file = TRY(file->Mmap(t, r.prot, r.flags));
  if (r.file == nullptr) r.flags |= MAP_ANONYMOUS;  // /dev/zero
  return Ok();
}

Result<uint64_t> SysMmap(Task& t, UserAddr addr, uint64_t length, int32_t prot, int32_t flags,
                         FdNum fd, uint64_t offset) {
  if (!IsPageAligned(offset)) return Errno::kEINVAL;
  MmapRequest r;
  r.addr = addr;
  r.length = length;
  r.prot = prot;
  r.flags = flags;
  r.offset = offset;
  if ((flags & MAP_ANONYMOUS) == 0) TRY(AttachFile(t, fd, r));
  return TRY(t.mm()->Mmap(t.context(), r, LimitsOf(t))).value;
}

Result<void> SysMunmap(Task& t, UserAddr addr, uint64_t length) {
  return t.mm()->Munmap(t.context(), addr, length);
}

Result<void> SysMprotect(Task& t, UserAddr addr, uint64_t length, int32_t prot) {
  return t.mm()->Mprotect(t.context(), addr, length, prot);
}

Result<uint64_t> SysMremap(Task& t, UserAddr old_addr, uint64_t old_len, uint64_t new_len,
                           int32_t flags, UserAddr new_addr) {
  return TRY(t.mm()->Mremap(t.context(), old_addr, old_len, new_len, flags, new_addr, LimitsOf(t)))
      .value;
}

Result<uint64_t> SysBrk(Task& t, UserAddr addr) {
  return t.mm()->Brk(t.context(), addr, LimitsOf(t)).value;
}

Result<void> SysMadvise(Task& t, UserAddr addr, uint64_t length, int32_t advice) {
  return t.mm()->Madvise(t.context(), addr, length, advice);
}

Result<void> SysMsync(Task& t, UserAddr addr, uint64_t length, int32_t flags) {
  return t.mm()->Msync(t.context(), addr, length, flags);
}

Result<void> SysMincore(Task& t, UserAddr addr, uint64_t length, UserAddr vec) {
  if (!IsPageAligned(addr.value)) return Errno::kEINVAL;
  auto rounded = PageRoundUp(length);
  if (!rounded || addr > mm::kTaskSize || *rounded > mm::kTaskSize - addr) return Errno::kENOMEM;
  // A piece at a time, so that a program can't make us hold much.
  std::array<std::byte, 4096> bytes;
  for (uint64_t pages = *rounded / kPageSize; pages > 0;) {
    Bytes piece = Bytes(bytes).first(std::min<uint64_t>(pages, bytes.size()));
    TRY(t.mm()->Mincore(t.context(), addr, piece.size() * kPageSize, piece));
    TRY(t.memory().CopyOut(vec, piece));
    addr = addr + piece.size() * kPageSize;
    vec = vec + piece.size();
    pages -= piece.size();
  }
  return Ok();
}

Result<void> SysMlock(Task& t, UserAddr addr, uint64_t length) {
  return t.mm()->Mlock(t.context(), addr, length, 0, LimitsOf(t));
}
Result<void> SysMlock2(Task& t, UserAddr addr, uint64_t length, int32_t flags) {
  return t.mm()->Mlock(t.context(), addr, length, flags, LimitsOf(t));
}
Result<void> SysMunlock(Task& t, UserAddr addr, uint64_t length) {
  return t.mm()->Munlock(t.context(), addr, length);
}
Result<void> SysMlockall(Task& t, int32_t flags) {
  return t.mm()->MlockAll(t.context(), flags, LimitsOf(t));
}
Result<void> SysMunlockall(Task& t) { return t.mm()->MunlockAll(t.context()); }

// --- protection keys, as on a processor without them (pkeys(7)) ---

Result<void> SysPkeyMprotect(Task& t, UserAddr addr, uint64_t length, int32_t prot, int32_t key) {
  if (key != -1) return Errno::kEINVAL;
  return SysMprotect(t, addr, length, prot);
}
Result<uint64_t> SysPkeyAlloc(Task&, uint64_t flags, uint64_t rights) {
  constexpr uint64_t kRights = 3;  // PKEY_DISABLE_ACCESS | PKEY_DISABLE_WRITE
  if (flags != 0 || (rights & ~kRights) != 0) return Errno::kEINVAL;
  return Errno::kENOSPC;
}
Result<void> SysPkeyFree(Task&, int32_t) { return Errno::kEINVAL; }

// --- other processes' memory ---

enum class Way : uint8_t { kRead, kWrite };

// Moves bytes between the two until one of them ends; EFAULT only if nothing moved.
Result<uint64_t> Move(mm::IoSource& from, mm::IoSink& to) {
  std::vector<std::byte> buffer(std::min<size_t>({from.remaining(), to.remaining(), 64 << 10}));
  uint64_t moved = 0;
  while (from.remaining() > 0 && to.remaining() > 0) {
    size_t want = std::min({buffer.size(), from.remaining(), to.remaining()});
    auto got = from.Get(Bytes(buffer).first(want));
    if (!got.ok()) return moved > 0 ? Result<uint64_t>(moved) : got.error();
    auto put = to.Put(Bytes(buffer).first(*got));
    if (!put.ok()) return moved > 0 ? Result<uint64_t>(moved) : put.error();
    moved += *put;
    if (*put < want) break;
  }
  return moved;
}

Result<uint64_t> ProcessVm(Task& t, Way way, Tid pid, UserAddr local, uint64_t local_count,
                           UserAddr remote, uint64_t remote_count, uint64_t flags) {
  if (flags != 0) return Errno::kEINVAL;
  mm::UserMemory own = t.memory();
  auto own_iov = TRY(own.ReadIoVec(local, local_count));
  auto other_iov = TRY(own.ReadIoVec(remote, remote_count));
  Ref<Task> target;
  {
    MutexLock lock(t.kernel().tree_mutex());
    target = Ref<Task>(t.pid_ns()->FindTask(pid));
  }
  if (target == nullptr) return Errno::kESRCH;
  Ref<MemoryManager> mm = target->mm();
  if (mm == nullptr) return Errno::kESRCH;
  TRY(CheckPtraceAccess(t, *target, task::PtraceMode::kAttachReal));
  mm::UserMemory other(mm->address_space());
  if (way == Way::kRead) {
    mm::UserSource source(other, std::move(other_iov));
    mm::UserSink sink(own, std::move(own_iov));
    return Move(source, sink);
  }
  mm::UserSource source(own, std::move(own_iov));
  mm::UserSink sink(other, std::move(other_iov));
  return Move(source, sink);
}

Result<uint64_t> SysProcessVmReadv(Task& t, Tid pid, UserAddr local, uint64_t local_count,
                                   UserAddr remote, uint64_t remote_count, uint64_t flags) {
  return ProcessVm(t, Way::kRead, pid, local, local_count, remote, remote_count, flags);
}
Result<uint64_t> SysProcessVmWritev(Task& t, Tid pid, UserAddr local, uint64_t local_count,
                                    UserAddr remote, uint64_t remote_count, uint64_t flags) {
  return ProcessVm(t, Way::kWrite, pid, local, local_count, remote, remote_count, flags);
}

// --- NUMA, as on a machine with one node ---

constexpr int kModeFlags = MPOL_MODE_FLAGS;
constexpr int kModes = 6;  // MPOL_DEFAULT to MPOL_PREFERRED_MANY

// The set of nodes that a policy names: bit 0 is the only node.
Result<uint64_t> ReadNodeMask(Task& t, UserAddr mask, uint64_t max_node) {
  if (mask.null() || max_node <= 1) return uint64_t{0};
  // A mask of more than a page is EINVAL (get_nodes).
  if (max_node - 1 > kPageSize * 8) return Errno::kEINVAL;
  uint64_t bits = max_node - 1;
  auto words = TRY(t.memory().ReadArray<uint64_t>(mask, (bits + 63) / 64));
  if (bits % 64 != 0) words.back() &= (uint64_t{1} << bits % 64) - 1;
  for (size_t i = 0; i < words.size(); i++) {
    if ((words[i] & ~uint64_t{i == 0 ? 1u : 0u}) != 0) return Errno::kEINVAL;
  }
  return words[0];
}

Result<void> CheckPolicy(Task& t, int32_t mode, UserAddr mask, uint64_t max_node) {
  const int policy = mode & ~kModeFlags;
  const int both = MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES;
  if (policy < 0 || policy >= kModes || (mode & both) == both) return Errno::kEINVAL;
  uint64_t nodes = TRY(ReadNodeMask(t, mask, max_node));
  const bool takes_none = policy == MPOL_DEFAULT || policy == MPOL_LOCAL;
  if (takes_none && nodes != 0) return Errno::kEINVAL;
  if (!takes_none && policy != MPOL_PREFERRED && nodes == 0) return Errno::kEINVAL;
  return Ok();
}

Result<void> SysSetMempolicy(Task& t, int32_t mode, UserAddr mask, uint64_t max_node) {
  return CheckPolicy(t, mode, mask, max_node);
}

Result<void> SysMbind(Task& t, UserAddr addr, uint64_t length, int32_t mode, UserAddr mask,
                      uint64_t max_node, uint32_t flags) {
  constexpr uint32_t kKnown = MPOL_MF_STRICT | MPOL_MF_MOVE | MPOL_MF_MOVE_ALL;
  if ((flags & ~kKnown) != 0) return Errno::kEINVAL;
  if ((flags & MPOL_MF_MOVE_ALL) != 0 && !t.credentials()->CapableInit(CAP_SYS_NICE)) {
    return Errno::kEPERM;
  }
  TRY(CheckPolicy(t, mode, mask, max_node));
  auto rounded = PageRoundUp(length);
  if (!IsPageAligned(addr.value) || !rounded || !CheckedAdd(addr.value, *rounded)) {
    return Errno::kEINVAL;
  }
  return Ok();
}

Result<void> SysGetMempolicy(Task& t, UserOut<int32_t> mode, UserAddr mask, uint64_t max_node,
                             UserAddr addr, uint64_t flags) {
  constexpr uint64_t kKnown = MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED;
  if ((flags & ~kKnown) != 0 || (!mask.null() && max_node < 1)) return Errno::kEINVAL;
  const bool allowed = (flags & MPOL_F_MEMS_ALLOWED) != 0;
  if (allowed && (flags & (MPOL_F_NODE | MPOL_F_ADDR)) != 0) return Errno::kEINVAL;
  if ((flags & MPOL_F_ADDR) != 0) {
    if (!t.mm()->KeyFor(addr).ok()) return Errno::kEFAULT;
  } else if (!addr.null()) {
    return Errno::kEINVAL;
  }
  if (!mode.null()) TRY(mode.Write(t, MPOL_DEFAULT));
  if (mask.null()) return Ok();
  std::vector<uint64_t> words((std::min<uint64_t>(max_node, kPageSize) + 63) / 64);
  words[0] = allowed ? 1 : 0;
  return t.memory().CopyOut(mask, std::as_bytes(std::span(words)));
}

constexpr Row kRows[] = {
    Full<SysMmap>(SYS_mmap, "mmap"),
    Full<SysMunmap>(SYS_munmap, "munmap"),
    Full<SysMprotect>(SYS_mprotect, "mprotect"),
    Full<SysMremap>(SYS_mremap, "mremap"),
    Full<SysBrk>(SYS_brk, "brk"),
    Partial<SysMadvise>(SYS_madvise, "madvise",
                        "MADV_HWPOISON, MADV_SOFT_OFFLINE and MADV_COLLAPSE give EINVAL"),
    Full<SysMsync>(SYS_msync, "msync"),
    Full<SysMincore>(SYS_mincore, "mincore"),
    Partial<SysMlock>(SYS_mlock, "mlock", "counted and made present; the host may still page out"),
    Partial<SysMlock2>(SYS_mlock2, "mlock2",
                       "counted and made present; the host may still page out"),
    Full<SysMunlock>(SYS_munlock, "munlock"),
    Partial<SysMlockall>(SYS_mlockall, "mlockall", "counted only"),
    Full<SysMunlockall>(SYS_munlockall, "munlockall"),
    Full<SysPkeyMprotect>(SYS_pkey_mprotect, "pkey_mprotect"),
    Full<SysPkeyAlloc>(SYS_pkey_alloc, "pkey_alloc"),
    Full<SysPkeyFree>(SYS_pkey_free, "pkey_free"),
    Full<SysProcessVmReadv>(SYS_process_vm_readv, "process_vm_readv"),
    Full<SysProcessVmWritev>(SYS_process_vm_writev, "process_vm_writev"),
    Partial<SysSetMempolicy>(SYS_set_mempolicy, "set_mempolicy",
                             "checked and of no effect: one node"),
    Partial<SysMbind>(SYS_mbind, "mbind", "checked and of no effect: one node"),
    Partial<SysGetMempolicy>(SYS_get_mempolicy, "get_mempolicy", "always MPOL_DEFAULT"),
    Refused(SYS_membarrier, "membarrier", Errno::kENOSYS, "as without CONFIG_MEMBARRIER"),
    Refused(SYS_migrate_pages, "migrate_pages", Errno::kENOSYS, "as without CONFIG_MIGRATION"),
    Refused(SYS_move_pages, "move_pages", Errno::kENOSYS, "as without CONFIG_MIGRATION"),
    Refused(SYS_set_mempolicy_home_node, "set_mempolicy_home_node", Errno::kENOSYS,
            "as without CONFIG_NUMA"),
    Refused(SYS_remap_file_pages, "remap_file_pages", Errno::kENOSYS,
            "deprecated in Linux 3.16; use several mmaps"),
};

}  // namespace

std::span<const Row> MmRows() { return kRows; }

}  // namespace sandboxd::syscalls
