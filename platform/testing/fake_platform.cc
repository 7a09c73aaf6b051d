#include "platform/testing/fake_platform.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace sandboxd::platform {
namespace {

// The legacy area and the header: what XSAVE writes at least.
constexpr size_t kMinXstate = 576;

bool InApplication(AddrRange r) {
  return !r.empty() && r.start >= kApplicationStart && r.end <= kApplicationEnd &&
         IsPageAligned(r.start.value) && IsPageAligned(r.end.value);
}

}  // namespace

FakeAddressSpace::FakeAddressSpace() : AddressSpace(-1) {}

Result<void> FakeAddressSpace::BeginCall(const Context& by) {
  CHECK_MSG(&by.address_space() == this, "a context of another address space");
  if (dead_) return Errno::kESRCH;
  if (fail_next_) {
    Errno e = *fail_next_;
    fail_next_.reset();
    return e;
  }
  calls_++;
  return Ok();
}

Result<void> FakeAddressSpace::Map(Context& by, AddrRange range, int prot, const Backing& backing) {
  CHECK(InApplication(range));
  MutexLock lock(mutex_);
  TRY(BeginCall(by));
  Ref<File> file;
  if (backing.host_fd >= 0) {
    if (!IsPageAligned(backing.offset)) return Errno::kEINVAL;
    int copy = dup(backing.host_fd);
    if (copy < 0) return FromHostErrno(errno);
    file = MakeRef<File>(UniqueFd(copy));
  }
  for (uint64_t a = range.start.value; a < range.end.value; a += kPageSize) {
    Page page{prot, backing.sharing, nullptr, file, 0};
    if (file != nullptr) page.offset = backing.offset + (a - range.start.value);
    // A shared anonymous page exists from the start, so that a fork finds the same one.
    if (file == nullptr && backing.sharing == Sharing::kShared) page.contents = MakeRef<Contents>();
    pages_[a] = std::move(page);
  }
  return Ok();
}

Result<void> FakeAddressSpace::Unmap(Context& by, AddrRange range) {
  CHECK(InApplication(range));
  MutexLock lock(mutex_);
  TRY(BeginCall(by));
  pages_.erase(pages_.lower_bound(range.start.value), pages_.lower_bound(range.end.value));
  return Ok();
}

Result<void> FakeAddressSpace::Protect(Context& by, AddrRange range, int prot) {
  CHECK(InApplication(range));
  MutexLock lock(mutex_);
  TRY(BeginCall(by));
  // mprotect(2) stops at the first hole with ENOMEM, having changed what is before it.
  for (uint64_t a = range.start.value; a < range.end.value; a += kPageSize) {
    auto it = pages_.find(a);
    if (it == pages_.end()) return Errno::kENOMEM;
    it->second.prot = prot;
  }
  return Ok();
}

Result<void> FakeAddressSpace::Remap(Context& by, AddrRange from, AddrRange to, bool keep_source) {
  CHECK((from.empty() || InApplication(from)) && InApplication(to));
  MutexLock lock(mutex_);
  TRY(BeginCall(by));
  if (from == to) return Ok();
  if (from.empty()) return Duplicate(from.start, to);
  if (from.start == to.start) {
    auto behind = pages_.lower_bound(from.end.value);
    if (behind != pages_.end() && behind->first < to.end.value) return Errno::kENOMEM;
  }
  auto first = pages_.find(from.start.value);
  if (first == pages_.end()) return Errno::kEFAULT;
  std::map<uint64_t, Page> moved;
  Page pattern = first->second;
  for (uint64_t d = 0; d < from.length(); d += kPageSize) {
    auto it = pages_.find(from.start.value + d);
    if (it == pages_.end()) return Errno::kEFAULT;
    if (d < to.length()) moved[to.start.value + d] = it->second;
  }
  for (uint64_t d = from.length(); d < to.length(); d += kPageSize) {
    Page page{pattern.prot, pattern.sharing, nullptr, pattern.file, 0};
    if (pattern.file != nullptr) page.offset = pattern.offset + d;
    moved[to.start.value + d] = std::move(page);
  }
  for (uint64_t d = 0; d < from.length(); d += kPageSize) {
    auto it = pages_.find(from.start.value + d);
    if (!keep_source) {
      pages_.erase(it);
    } else if (it->second.sharing == Sharing::kPrivate) {
      it->second.contents.Reset();
    }
  }
  pages_.erase(pages_.lower_bound(to.start.value), pages_.lower_bound(to.end.value));
  pages_.merge(moved);
  return Ok();
}

Result<void> FakeAddressSpace::Duplicate(UserAddr from, AddrRange to) {
  std::map<uint64_t, Page> copies;
  for (uint64_t d = 0; d < to.length(); d += kPageSize) {
    auto it = pages_.find(from.value + d);
    if (it == pages_.end() || it->second.sharing != Sharing::kShared) return Errno::kEINVAL;
    copies[to.start.value + d] = it->second;
  }
  pages_.erase(pages_.lower_bound(to.start.value), pages_.lower_bound(to.end.value));
  pages_.merge(copies);
  return Ok();
}

Result<void> FakeAddressSpace::Advise(Context& by, AddrRange range, int advice) {
  CHECK(InApplication(range));
  MutexLock lock(mutex_);
  TRY(BeginCall(by));
  if (advice != MADV_DONTNEED) return Ok();
  for (auto it = pages_.lower_bound(range.start.value);
       it != pages_.end() && it->first < range.end.value; ++it) {
    if (it->second.sharing == Sharing::kPrivate) it->second.contents.Reset();
  }
  return Ok();
}

Result<void> FakeAddressSpace::Mincore(Context& by, AddrRange range, Bytes vec) {
  CHECK(InApplication(range));
  MutexLock lock(mutex_);
  TRY(BeginCall(by));
  size_t i = 0;
  for (uint64_t a = range.start.value; a < range.end.value && i < vec.size(); a += kPageSize) {
    auto it = pages_.find(a);
    if (it == pages_.end()) return Errno::kENOMEM;
    vec[i++] = std::byte(it->second.contents != nullptr);
  }
  return Ok();
}

Result<Ref<AddressSpace>> FakeAddressSpace::Fork(Context& by) {
  auto child = MakeRef<FakeAddressSpace>();
  MutexLock lock(mutex_);
  TRY(BeginCall(by));
  // A page of contents that two address spaces hold is copied by the first write, unless shared.
  // The child is known to nobody yet, so that its pages need no lock.
  [&]() NO_THREAD_SAFETY_ANALYSIS { child->pages_ = pages_; }();
  return Ref<AddressSpace>(std::move(child));
}

Result<void> FakeAddressSpace::PrepareThread(Context& by) {
  MutexLock lock(mutex_);
  TRY(BeginCall(by));
  parked_++;
  return Ok();
}

Result<std::unique_ptr<Context>> FakeAddressSpace::NewContext() {
  {
    MutexLock lock(mutex_);
    if (parked_ == 0) return Errno::kEAGAIN;
    parked_--;
  }
  return std::unique_ptr<Context>(new FakeContext(Ref<FakeAddressSpace>(this)));
}

std::unique_ptr<FakeContext> FakeAddressSpace::NewFakeContext() {
  {
    MutexLock lock(mutex_);
    if (parked_ > 0) parked_--;
  }
  return std::make_unique<FakeContext>(Ref<FakeAddressSpace>(this));
}

bool FakeAddressSpace::CopyInPage(Page& page, size_t offset, std::byte* ours, size_t size,
                                  Access access) {
  const int needed = access == Access::kRead ? PROT_READ : PROT_WRITE;
  // As on x86: what can be written or executed can be read.
  const int readable = PROT_READ | PROT_WRITE | PROT_EXEC;
  if ((page.prot & (access == Access::kRead ? readable : needed)) == 0) return false;
  if (page.file != nullptr && page.contents == nullptr) {
    struct stat st;
    if (fstat(page.file->fd.get(), &st) != 0) return false;
    if (page.offset >= static_cast<uint64_t>(st.st_size)) return false;  // SIGBUS on a real host
    const int fd = page.file->fd.get();
    const off_t at = static_cast<off_t>(page.offset + offset);
    if (page.sharing == Sharing::kShared && access == Access::kWrite) {
      // What lies behind the end of the file in its last page is lost, as on a real host.
      size_t keep = std::min<uint64_t>(size, std::max<int64_t>(st.st_size - at, 0));
      return pwrite(fd, ours, keep, at) == static_cast<ssize_t>(keep);
    }
    PageBytes bytes{};
    if (pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(page.offset)) < 0) return false;
    if (access == Access::kRead) {
      std::memcpy(ours, bytes.data() + offset, size);
      return true;
    }
    page.contents = MakeRef<Contents>();
    page.contents->bytes = bytes;
  }
  if (page.contents == nullptr) page.contents = MakeRef<Contents>();
  if (access == Access::kRead) {
    std::memcpy(ours, page.contents->bytes.data() + offset, size);
    return true;
  }
  if (page.sharing == Sharing::kPrivate && page.contents->ref_count_hint() > 1) {
    auto copy = MakeRef<Contents>();
    copy->bytes = page.contents->bytes;
    page.contents = std::move(copy);
  }
  std::memcpy(page.contents->bytes.data() + offset, ours, size);
  return true;
}

size_t FakeAddressSpace::Copy(UserAddr at, std::byte* ours, size_t size, Access access) {
  size_t done = 0;
  while (!dead_ && done < size) {
    if (at.value > ~uint64_t{0} - done) break;
    uint64_t a = at.value + done;
    auto it = pages_.find(PageRoundDown(a));
    if (it == pages_.end()) break;
    size_t offset = a - PageRoundDown(a);
    size_t n = std::min(size - done, kPageSize - offset);
    if (!CopyInPage(it->second, offset, ours + done, n, access)) break;
    done += n;
  }
  return done;
}

size_t FakeAddressSpace::CopyIn(UserAddr src, Bytes dst) {
  MutexLock lock(mutex_);
  return Copy(src, dst.data(), dst.size(), Access::kRead);
}

size_t FakeAddressSpace::CopyOut(UserAddr dst, ConstBytes src) {
  MutexLock lock(mutex_);
  return Copy(dst, const_cast<std::byte*>(src.data()), src.size(), Access::kWrite);
}

void FakeAddressSpace::Kill() {
  MutexLock lock(mutex_);
  dead_ = true;
  for (FakeContext* c : contexts_) c->BeKilled();
}

Result<void> FakeAddressSpace::MapFd(Context&, AddrRange, int, int, const Backing&) {
  return Errno::kENOSYS;
}

int FakeAddressSpace::ProtectionOf(UserAddr addr) const {
  MutexLock lock(mutex_);
  auto it = pages_.find(PageRoundDown(addr.value));
  return it == pages_.end() ? -1 : it->second.prot;
}
size_t FakeAddressSpace::mapped_pages() const {
  MutexLock lock(mutex_);
  return pages_.size();
}
int FakeAddressSpace::calls() const {
  MutexLock lock(mutex_);
  return calls_;
}
bool FakeAddressSpace::dead() const {
  MutexLock lock(mutex_);
  return dead_;
}
void FakeAddressSpace::FailNextCall(Errno e) {
  MutexLock lock(mutex_);
  fail_next_ = e;
}

FakeContext::FakeContext(Ref<FakeAddressSpace> as) : Context(as), fp_state_(kMinXstate) {
  MutexLock lock(as->mutex_);
  as->contexts_.push_back(this);
}

FakeContext::~FakeContext() {
  MutexLock lock(fake().mutex_);
  std::erase(fake().contexts_, this);
}

FakeAddressSpace& FakeContext::fake() const {
  return static_cast<FakeAddressSpace&>(address_space());
}

void FakeContext::AddStep(Step step) {
  MutexLock lock(mutex_);
  steps_.push_back(std::move(step));
  changed_.NotifyAll();
}

void FakeContext::AddSyscall(uint64_t number, std::array<uint64_t, 6> args) {
  AddStep([number, args](arch::Registers& regs, StepMode) {
    regs.orig_rax = number;
    regs.rax = static_cast<uint64_t>(-ENOSYS);
    regs.rdi = args[0];
    regs.rsi = args[1];
    regs.rdx = args[2];
    regs.r10 = args[3];
    regs.r8 = args[4];
    regs.r9 = args[5];
    regs.rip += arch::Registers::kSyscallInstructionSize;
    regs.rcx = regs.rip;
    regs.r11 = regs.eflags;
    return Stop{Stop::Kind::kSyscall, {}};
  });
}

Stop FakeContext::Switch(arch::Registers& regs, StepMode mode) {
  Step step;
  {
    MutexLock lock(mutex_);
    while (!killed_ && !interrupted_ && steps_.empty()) changed_.Wait(mutex_);
    if (killed_) return {Stop::Kind::kDead, {}};
    if (std::exchange(interrupted_, false)) return {Stop::Kind::kInterrupt, {}};
    step = std::move(steps_.front());
    steps_.pop_front();
  }
  return step(regs, mode);
}

void FakeContext::Interrupt() {
  MutexLock lock(mutex_);
  interrupted_ = true;
  changed_.NotifyAll();
}

void FakeContext::BeKilled() {
  MutexLock lock(mutex_);
  killed_ = true;
  changed_.NotifyAll();
}

Result<std::vector<std::byte>> FakeContext::GetFpState() { return fp_state_; }
Result<void> FakeContext::SetFpState(ConstBytes xstate) {
  if (xstate.size() < kMinXstate) return Errno::kEINVAL;
  fp_state_.assign(xstate.begin(), xstate.end());
  return Ok();
}
Result<void> FakeContext::ResetFpState() {
  fp_state_.assign(kMinXstate, std::byte{0});
  return Ok();
}

size_t FakeContext::CopyIn(UserAddr src, Bytes dst) { return fake().CopyIn(src, dst); }
size_t FakeContext::CopyOut(UserAddr dst, ConstBytes src) { return fake().CopyOut(dst, src); }

Result<uint32_t> FakeContext::Load32(UserAddr addr) {
  uint32_t word = 0;
  if (CopyIn(addr, AsWritableBytes(word)) != sizeof(word)) return Errno::kEFAULT;
  return word;
}

Result<uint32_t> FakeContext::CompareExchange32(UserAddr addr, uint32_t expected,
                                                uint32_t desired) {
  MutexLock lock(fake().mutex_);
  uint32_t word = 0;
  auto* ours = reinterpret_cast<std::byte*>(&word);
  if (fake().Copy(addr, ours, sizeof(word), FakeAddressSpace::Access::kRead) != sizeof(word)) {
    return Errno::kEFAULT;
  }
  // The processor's cmpxchg needs write access even if it doesn't store.
  uint32_t result = word == expected ? desired : word;
  ours = reinterpret_cast<std::byte*>(&result);
  if (fake().Copy(addr, ours, sizeof(result), FakeAddressSpace::Access::kWrite) != sizeof(result)) {
    return Errno::kEFAULT;
  }
  return word;
}

Result<uint64_t> FakeContext::HostCall(long, const uint64_t (&)[6]) { return Errno::kENOSYS; }

Result<Ref<AddressSpace>> FakePlatform::NewAddressSpace() {
  return Ref<AddressSpace>(MakeRef<FakeAddressSpace>());
}

}  // namespace sandboxd::platform
