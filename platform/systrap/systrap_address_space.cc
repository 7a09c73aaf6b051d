#include "platform/systrap/systrap_address_space.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "platform/base/log.h"
#include "platform/host/fd_socket.h"
#include "platform/stub/host_result.h"
#include "platform/systrap/systrap_context.h"

namespace sandboxd::platform::systrap {
namespace {

using stub::Command;

// Threads that are kept for the next ones.
constexpr size_t kMaxIdle = 8;

void KillAndReap(pid_t pid) {
  kill(pid, SIGKILL);
  while (waitpid(pid, nullptr, __WALL) < 0 && errno == EINTR) {
  }
}

}  // namespace

Result<SharedSlots> SharedSlots::Create(uint64_t extra) {
  const uint64_t size = stub::kSlotsSize + extra;
  UniqueFd fd = TRY(WrapFd(memfd_create("stub-slots", MFD_CLOEXEC)));
  if (ftruncate(fd.get(), static_cast<off_t>(size)) != 0) return FromHostErrno(errno);
  void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd.get(), 0);
  if (at == MAP_FAILED) return FromHostErrno(errno);
  return SharedSlots(std::move(fd), static_cast<stub::SharedContext*>(at), size);
}

SharedSlots::SharedSlots(SharedSlots&& other) noexcept
    : fd_(std::move(other.fd_)), slots_(std::exchange(other.slots_, nullptr)), size_(other.size_) {}

SharedSlots::~SharedSlots() {
  if (slots_ != nullptr) munmap(slots_, size_);
}

SystrapAddressSpace::SystrapAddressSpace(pid_t leader, uint64_t slot, SharedSlots slots,
                                         const stub::Layout& layout, stub::Graveyard& graveyard,
                                         uint64_t max_threads)
    : AddressSpace(leader), layout_(layout), graveyard_(graveyard), slots_(std::move(slots)) {
  slots_.CloseFd();
  used_slots_.resize(std::max(max_threads, slot + 1));
  used_slots_[slot] = true;
  parked_.push_back({leader, slot, {}});
}

SystrapAddressSpace::~SystrapAddressSpace() {
  // The whole group: what a hostile program has cloned behind our back is in it too. No context is
  // left, as each holds a reference, so nobody else waits for these.
  graveyard_.Bury(host_pid_);
}

std::unique_ptr<SystrapContext> SystrapAddressSpace::MakeContext(stub::SharedContext& shared,
                                                                 pid_t tid, uint64_t slot) {
  return std::make_unique<SystrapContext>(Ref<SystrapAddressSpace>(this), shared, tid, slot);
}

Result<SharedSlots> SystrapAddressSpace::MakeSlotsForCopy(uint64_t) {
  return SharedSlots::Create();
}

Result<void> SystrapAddressSpace::PrepareSlot(uint64_t) { return Ok(); }

Ref<AddressSpace> SystrapAddressSpace::MakeCopy(pid_t leader, uint64_t slot, SharedSlots slots) {
  return MakeRef<SystrapAddressSpace>(leader, slot, std::move(slots), layout_, graveyard_);
}

Result<void> SystrapAddressSpace::Map(Context& by, AddrRange range, int prot,
                                      const Backing& backing) {
  if (patcher_ == nullptr) return AddressSpace::Map(by, range, prot, backing);
  if (patcher_->HasTrampolines(range)) return Errno::kENOMEM;
  const bool is_text = backing.host_fd >= 0 && backing.sharing == Sharing::kPrivate &&
                       (prot & (PROT_EXEC | PROT_WRITE)) == PROT_EXEC;
  // What is there goes first, whether mapping succeeds or not.
  patcher_->Mapped(range, std::nullopt);
  TRY(AddressSpace::Map(by, range, prot, backing));
  if (is_text) patcher_->Mapped(range, prot);
  return Ok();
}

Result<void> SystrapAddressSpace::Unmap(Context& by, AddrRange range) {
  if (patcher_ == nullptr) return AddressSpace::Unmap(by, range);
  patcher_->Mapped(range, std::nullopt);
  for (const AddrRange& part : patcher_->WithoutTrampolines(range)) {
    TRY(AddressSpace::Unmap(by, part));
  }
  return Ok();
}

void SystrapAddressSpace::BeforeChange(Context& by, AddrRange range) {
  if (patcher_ == nullptr) return;
  patcher_->BeforeChange(static_cast<SystrapContext&>(by), range, alone());
}

Result<void> SystrapAddressSpace::Protect(Context& by, AddrRange range, int prot) {
  BeforeChange(by, range);
  return AddressSpace::Protect(by, range, prot);
}

Result<void> SystrapAddressSpace::Remap(Context& by, AddrRange from, AddrRange to,
                                        bool keep_source) {
  if (patcher_ != nullptr && patcher_->HasTrampolines(to)) return Errno::kENOMEM;
  BeforeChange(by, from);
  BeforeChange(by, to);
  return AddressSpace::Remap(by, from, to, keep_source);
}

Result<void> SystrapAddressSpace::Advise(Context& by, AddrRange range, int advice) {
  BeforeChange(by, range);
  return AddressSpace::Advise(by, range, advice);
}

size_t SystrapAddressSpace::CopyIn(UserAddr src, Bytes dst) {
  const size_t done = AddressSpace::CopyIn(src, dst);
  if (patcher_ != nullptr) patcher_->Repair(src, dst.first(done));
  return done;
}

Result<void> SystrapAddressSpace::MapFd(Context& by, AddrRange range, int prot, int flags,
                                        const Backing& backing) {
  MutexLock lock(mutex_);
  TRY(EnsureSocket(by));
  const std::byte payload[1] = {};
  TRY(host::SendFds(socket_.get(), payload, {&backing.host_fd, 1}));
  const uint64_t raw = TRY(static_cast<SystrapContext&>(by).Op(
      Command::kMapFd, {range.start.value, range.length(), static_cast<uint64_t>(prot),
                        static_cast<uint64_t>(flags), backing.offset}));
  TRY(stub::HostResult(raw));
  return Ok();
}

// The stub makes the pair and we take one end out of it.
Result<void> SystrapAddressSpace::EnsureSocket(Context& by) {
  if (socket_.valid()) return Ok();
  auto& context = static_cast<SystrapContext&>(by);
  const uint64_t pair_at = layout_.scratch() + SANDBOXD_STUB_REPLY;
  TRY(HostCall(by, SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
               pair_at));
  int pair[2];
  if (!context.ReadStub(pair_at, AsWritableBytes(pair))) return Errno::kESRCH;
  UniqueFd process = TRY(WrapFd(static_cast<int>(syscall(SYS_pidfd_open, host_pid_, 0))));
  UniqueFd ours =
      TRY(WrapFd(static_cast<int>(syscall(SYS_pidfd_getfd, process.get(), pair[1], 0))));
  TRY(HostCall(by, SYS_close, static_cast<uint64_t>(pair[1])));
  socket_ = std::move(ours);
  return Ok();
}

Result<void> SystrapAddressSpace::Mincore(Context& by, AddrRange range, Bytes vec) {
  MutexLock lock(mutex_);
  uint64_t at = range.start.value;
  while (at < range.end.value && !vec.empty()) {
    const uint64_t pages =
        std::min<uint64_t>({(range.end.value - at) / kPageSize, kPageSize, vec.size()});
    TRY(HostCall(by, SYS_mincore, at, pages * kPageSize, layout_.vector()));
    if (!static_cast<SystrapContext&>(by).ReadStub(layout_.vector(), vec.first(pages))) {
      return Errno::kESRCH;
    }
    vec = vec.subspan(pages);
    at += pages * kPageSize;
  }
  return Ok();
}

// A stub that lies about the number of its child could make us take somebody else's for it. A
// child of this address space is known by its process group, which only we can change.
Result<pid_t> SystrapAddressSpace::CheckNewProcess(Result<uint64_t> reported) {
  const uint64_t raw = TRY(stub::HostResult(TRY(std::move(reported))));
  const auto pid = static_cast<pid_t>(raw);
  const bool known =
      pid == host_pid_ || std::find(others_.begin(), others_.end(), pid) != others_.end();
  if (pid <= 0 || known || getpgid(pid) != host_pid_) {
    if (!killed_) LOG_WARNING("systrap: stub %d reports a child that isn't its own", host_pid_);
    KillLocked();
    return Errno::kESRCH;
  }
  return pid;
}

Result<Ref<AddressSpace>> SystrapAddressSpace::Fork(Context& by) {
  auto& context = static_cast<SystrapContext&>(by);
  SharedSlots slots = TRY(MakeSlotsForCopy(context.slot()));
  // Under the lock, so that the copy has no donated descriptor that another thread is mapping.
  MutexLock lock(mutex_);
  TRY(EnsureSocket(by));
  const std::byte payload[1] = {};
  const int fd = slots.fd();
  TRY(host::SendFds(socket_.get(), payload, {&fd, 1}));
  Result<pid_t> forked = Errno::kESRCH;
  auto fork = [&]() NO_THREAD_SAFETY_ANALYSIS {  // mutex_ is held
    forked = CheckNewProcess(context.Op(Command::kFork, {}));
    return forked.ok();
  };
  std::unique_ptr<Patcher> patches;
  if (patcher_ != nullptr) {
    patches = patcher_->CopyDuring(fork);
  } else {
    fork();
  }
  const pid_t child = TRY(forked);
  if (setpgid(child, child) != 0) {
    const int error = errno;
    KillAndReap(child);
    return FromHostErrno(error);
  }
  Ref<AddressSpace> copy = MakeCopy(child, context.slot(), std::move(slots));
  if (patches != nullptr) {
    static_cast<SystrapAddressSpace&>(*copy).EnablePatching(std::move(patches));
  }
  return copy;
}

Result<uint64_t> SystrapAddressSpace::TakeSlot() {
  for (uint64_t slot = 0; slot < used_slots_.size(); slot++) {
    if (used_slots_[slot]) continue;
    used_slots_[slot] = true;
    return slot;
  }
  return Errno::kEAGAIN;
}

Result<void> SystrapAddressSpace::PrepareThread(Context& by) {
  auto& context = static_cast<SystrapContext&>(by);
  std::vector<std::byte> vector_state = TRY(by.GetFpState());
  MutexLock lock(mutex_);
  if (killed_) return Errno::kESRCH;
  if (!idle_.empty()) {
    Parked again = std::move(idle_.back());
    idle_.pop_back();
    // What is true of the new thread isn't what was of the old one.
    std::memset(slots_[again.slot].answers, 0, sizeof(stub::SharedContext::answers));
    again.vector_state = std::move(vector_state);
    threads_.fetch_add(1, std::memory_order_acq_rel);
    parked_.push_back(std::move(again));
    return Ok();
  }
  const uint64_t slot = TRY(TakeSlot());
  std::memset(static_cast<void*>(&slots_[slot]), 0, offsetof(stub::SharedContext, buffer));
  Result<pid_t> tid = Errno::kENOMEM;
  threads_.fetch_add(1, std::memory_order_acq_rel);
  if (PrepareSlot(slot).ok()) tid = CheckNewProcess(context.Op(Command::kThread, {slot}));
  if (!tid.ok()) {
    threads_.fetch_sub(1, std::memory_order_acq_rel);
    used_slots_[slot] = false;
    return tid.error();
  }
  parked_.push_back({*tid, slot, std::move(vector_state)});
  others_.push_back(*tid);
  return Ok();
}

Result<std::unique_ptr<Context>> SystrapAddressSpace::NewContext() {
  Parked parked;
  {
    MutexLock lock(mutex_);
    if (killed_) return Errno::kESRCH;
    if (parked_.empty()) return Errno::kEAGAIN;
    parked = std::move(parked_.back());
    parked_.pop_back();
    contexts_++;
  }
  std::unique_ptr<SystrapContext> context =
      MakeContext(slots_[parked.slot], parked.tid, parked.slot);
  TRY(context->Start(parked.vector_state));
  return std::unique_ptr<Context>(std::move(context));
}

void SystrapAddressSpace::ReleaseThread(pid_t tid, uint64_t slot, bool dead) {
  MutexLock lock(mutex_);
  contexts_--;
  if (contexts_ == 0 && parked_.empty()) {
    // Nothing can run here any more. The destructor reaps.
    KillLocked();
    return;
  }
  if (patcher_ != nullptr && !dead && idle_.size() < kMaxIdle) {
    threads_.fetch_sub(1, std::memory_order_acq_rel);
    idle_.push_back({tid, slot, {}});
    return;
  }
  // The leader's process is the one by whose number the memory is known: it waits for a turn that
  // doesn't come, to the end.
  if (tid == host_pid_) return;
  KillAndReap(tid);
  std::erase(others_, tid);
  threads_.fetch_sub(1, std::memory_order_acq_rel);
  used_slots_[slot] = false;
}

void SystrapAddressSpace::KillLocked() {
  // Release: pairs with the acquire of those who wait for a turn.
  killed_.store(true, std::memory_order_release);
  kill(-host_pid_, SIGKILL);
  for (uint64_t slot = 0; slot < used_slots_.size(); slot++) {
    if (used_slots_[slot]) Turns::Forsake(slots_[slot]);
  }
}

void SystrapAddressSpace::Kill() {
  MutexLock lock(mutex_);
  KillLocked();
}

}  // namespace sandboxd::platform::systrap
