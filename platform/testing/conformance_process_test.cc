// Several address spaces and threads: fork, threads, death, and that nothing is left behind.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "platform/base/unique_fd.h"
#include "platform/testing/conformance.h"

namespace sandboxd::platform {
namespace {

class ProcessConformanceTest : public ConformanceTest {};
INSTANTIATE_CONFORMANCE(ProcessConformanceTest);

constexpr AddrRange kShared = Pages(UserAddr(0x700000), 1);

GUEST_CODE(Add, "1: addl %r12d, (%rbx)\n syscall\n jmp 1b");
GUEST_CODE(Busy, "1: incl (%rbx)\n jmp 1b");

TEST_P(ProcessConformanceTest, ForkCopiesPrivateAndSharesSharedMemory) {
  LoadCode(kAdd);
  Map(kShared, PROT_READ | PROT_WRITE, {.sharing = Sharing::kShared});
  Poke(kData, 10);
  auto child = MUST(as().Fork(*context_));
  auto child_context = MUST(child->NewContext());
  arch::Registers child_regs = regs_;
  child_regs.rbx = kData.value;
  child_regs.r12 = 5;
  RunToSyscall(*child_context, child_regs);
  EXPECT_EQ(Peek(*child, kData), 15u);
  EXPECT_EQ(Peek(kData), 10u);
  Poke(kShared.start, 3);
  EXPECT_EQ(Peek(*child, kShared.start), 3u);
  child_regs.rbx = kShared.start.value;
  RunToSyscall(*child_context, child_regs);
  EXPECT_EQ(Peek(kShared.start), 8u);
}

TEST_P(ProcessConformanceTest, ForkedSpacesMapFilesByThemselves) {
  UniqueFd file = MUST(WrapFd(memfd_create("f", MFD_CLOEXEC)));
  ASSERT_EQ(ftruncate(file.get(), kPageSize), 0);
  const Backing backing{.host_fd = file.get(), .sharing = Sharing::kShared};
  Map(kShared, PROT_READ | PROT_WRITE, backing);  // the parent has its channel
  auto child = MUST(as().Fork(*context_));
  auto child_context = MUST(child->NewContext());
  const AddrRange other = Pages(UserAddr(0x800000), 1);
  ASSERT_TRUE(child->Map(*child_context, other, PROT_READ | PROT_WRITE, backing).ok());
  auto grandchild = MUST(child->Fork(*child_context));
  auto grandchild_context = MUST(grandchild->NewContext());
  ASSERT_TRUE(
      grandchild->Map(*grandchild_context, kDataPage, PROT_READ | PROT_WRITE, backing).ok());
  Poke(*grandchild, kData, 4);
  EXPECT_EQ(Peek(*child, other.start), 4u);
  EXPECT_EQ(Peek(kShared.start), 4u);
  Map(kDataPage, PROT_READ | PROT_WRITE, backing);
  EXPECT_EQ(Peek(kData), 4u);
}

GUEST_CODE(LoadVector, "movdqu (%rbx), %xmm3\n syscall\n movdqu %xmm3, (%rbx)\n syscall");
TEST_P(ProcessConformanceTest, ForkAndThreadsInheritVectorState) {
  LoadCode(kLoadVector);
  regs_.rbx = kData.value;
  Poke(kData, 0x4711);
  RunToSyscall();
  Poke(kData, 0);
  auto child = MUST(as().Fork(*context_));
  auto child_context = MUST(child->NewContext());
  arch::Registers child_regs = regs_;
  RunToSyscall(*child_context, child_regs);
  EXPECT_EQ(Peek(*child, kData), 0x4711u);

  ASSERT_TRUE(as().PrepareThread(*context_).ok());
  auto thread_context = MUST(as().NewContext());
  arch::Registers thread_regs = regs_;
  RunToSyscall(*thread_context, thread_regs);
  EXPECT_EQ(Peek(kData), 0x4711u);
}

TEST_P(ProcessConformanceTest, ContextsAreAsManyAsThreadsWerePrepared) {
  EXPECT_TRUE(as().NewContext().Is(Errno::kEAGAIN));
  ASSERT_TRUE(as().PrepareThread(*context_).ok());
  auto second = as().NewContext();
  EXPECT_TRUE(second.ok());
  EXPECT_TRUE(as().NewContext().Is(Errno::kEAGAIN));
}

// Threads on host threads of their own, at the same time, on the same memory.
TEST_P(ProcessConformanceTest, ThreadsRunTogether) {
  LoadCode(kAdd);
  constexpr int kThreads = 6;
  constexpr int kRounds = 100;
  for (int i = 0; i < kThreads; i++) ASSERT_TRUE(as().PrepareThread(*context_).ok());
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; i++) {
    threads.emplace_back([&, i] {
      auto context = MUST(as().NewContext());
      arch::Registers regs = arch::InitialRegisters(kCode.value, kStack.value);
      regs.rbx = kData.value + static_cast<uint64_t>(i) * 4;
      regs.r12 = 1;
      const AddrRange own = Pages(UserAddr(0x1000000 + static_cast<uint64_t>(i) * 0x10000), 1);
      for (int n = 0; n < kRounds; n++) {
        RunToSyscall(*context, regs);
        EXPECT_TRUE(as().Map(*context, own, PROT_READ | PROT_WRITE, {}).ok());
        Poke(own.start, 1);
        EXPECT_EQ(Peek(own.start), 1u);
      }
    });
  }
  for (std::thread& t : threads) t.join();
  for (int i = 0; i < kThreads; i++) {
    EXPECT_EQ(Peek(kData + static_cast<uint64_t>(i) * 4), static_cast<uint32_t>(kRounds));
  }
}

// The first thread of a program may end before the others.
TEST_P(ProcessConformanceTest, MemoryOutlivesTheFirstThread) {
  LoadCode(kAdd);
  ASSERT_TRUE(as().PrepareThread(*context_).ok());
  auto second = MUST(as().NewContext());
  context_.reset();
  Poke(kData, 1);
  regs_.rbx = kData.value;
  regs_.r12 = 1;
  RunToSyscall(*second, regs_);
  EXPECT_EQ(Peek(kData), 2u);
  auto child = MUST(as().Fork(*second));
  auto child_context = MUST(child->NewContext());
  RunToSyscall(*child_context, regs_);
  EXPECT_EQ(Peek(*child, kData), 3u);
}

TEST_P(ProcessConformanceTest, KillEndsARunningThread) {
  LoadCode(kBusy);
  regs_.rbx = kData.value;
  std::thread killer([&] {
    while (Peek(kData) == 0) std::this_thread::yield();
    as().Kill();
  });
  EXPECT_EQ(Run().kind, Stop::Kind::kDead);
  killer.join();
  EXPECT_EQ(Run().kind, Stop::Kind::kDead);
  as().Kill();
  EXPECT_TRUE(as().Map(*context_, kDataPage, PROT_READ, {}).Is(Errno::kESRCH));
  EXPECT_FALSE(as().Fork(*context_).ok());
}

// As the host's out-of-memory killer would.
TEST_P(ProcessConformanceTest, DeathFromOutsideIsReported) {
  LoadCode(kAdd);
  regs_.rbx = kData.value;
  RunToSyscall();
  ASSERT_TRUE(as().PrepareThread(*context_).ok());
  auto second = MUST(as().NewContext());
  ASSERT_EQ(kill(as().host_pid(), SIGKILL), 0);
  EXPECT_EQ(Run().kind, Stop::Kind::kDead);
}

TEST_P(ProcessConformanceTest, OtherSignalsFromOutsideAreNotSeen) {
  LoadCode(kAdd);
  regs_.rbx = kData.value;
  for (int signo : {SIGTERM, SIGSEGV, SIGTRAP, SIGUSR1, SIGCHLD, SIGINT, SIGCONT}) {
    ASSERT_EQ(kill(as().host_pid(), signo), 0);
    RunToSyscall();
    ASSERT_TRUE(as().Advise(*context_, kDataPage, MADV_WILLNEED).ok());
  }
}

TEST_P(ProcessConformanceTest, SpacesAreSeparate) {
  constexpr int kSpaces = 30;
  LoadCode(kAdd);
  std::vector<Ref<AddressSpace>> spaces;
  std::vector<std::unique_ptr<Context>> contexts;
  for (uint32_t i = 0; i < kSpaces; i++) {
    spaces.push_back(MUST(platform().NewAddressSpace()));
    contexts.push_back(MUST(spaces.back()->NewContext()));
    ASSERT_TRUE(spaces[i]->Map(*contexts[i], kDataPage, PROT_READ | PROT_WRITE, {}).ok());
    Poke(*spaces[i], kData, i);
  }
  for (uint32_t i = 0; i < kSpaces; i++) EXPECT_EQ(Peek(*spaces[i], kData), i);
}

TEST_P(ProcessConformanceTest, SpacesAreMadeOnAnyThread) {
  LoadCode(kAdd);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++) {
    threads.emplace_back([&] {
      for (int n = 0; n < 10; n++) {
        auto space = MUST(platform().NewAddressSpace());
        auto context = MUST(space->NewContext());
        EXPECT_TRUE(space->Map(*context, kDataPage, PROT_READ | PROT_WRITE, {}).ok());
      }
    });
  }
  for (std::thread& t : threads) t.join();
}

// A context that is never run, a thread that is never taken, a space that is never used.
TEST_P(ProcessConformanceTest, NothingIsLeftBehind) {
  UniqueFd file = MUST(WrapFd(memfd_create("f", MFD_CLOEXEC)));
  ASSERT_EQ(ftruncate(file.get(), kPageSize), 0);
  Map(kShared, PROT_READ, {.host_fd = file.get()});
  LoadCode(kAdd);
  regs_.rbx = kData.value;
  RunToSyscall();
  const int children = CountChildren();
  const int fds = CountOpenFds();
  for (int i = 0; i < 200; i++) {
    auto child = MUST(as().Fork(*context_));
    if (i % 5 == 0) continue;
    auto context = MUST(child->NewContext());
    if (i % 5 == 1) continue;
    if (i % 5 == 2) {
      ASSERT_TRUE(child->Map(*context, kShared, PROT_READ, {.host_fd = file.get()}).ok());
    }
    if (i % 5 == 3) {
      ASSERT_TRUE(child->PrepareThread(*context).ok());
      ASSERT_TRUE(child->PrepareThread(*context).ok());
      auto second = MUST(child->NewContext());
      context.reset();
    }
    if (context == nullptr) continue;
    arch::Registers regs = regs_;
    RunToSyscall(*context, regs);
  }
  // A platform may put off reaping the last few.
  constexpr int kUnreaped = 8;
  EXPECT_LE(CountChildren(), children + kUnreaped);
  EXPECT_EQ(CountOpenFds(), fds);
}

// Without those of its own virtual machine.
int HostFdsOf(pid_t pid) {
  int n = 0;
  for (auto& e : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    const std::string target = std::filesystem::read_symlink(e.path());
    if (target != "/dev/kvm" && target.rfind("anon_inode:kvm-v", 0) != 0) n++;
  }
  return n;
}

TEST_P(ProcessConformanceTest, StubsHoldNothingButTheirChannel) {
  UniqueFd file = MUST(WrapFd(memfd_create("f", MFD_CLOEXEC)));
  ASSERT_EQ(ftruncate(file.get(), kPageSize), 0);
  EXPECT_LE(HostFdsOf(as().host_pid()), 1);
  Map(kShared, PROT_READ, {.host_fd = file.get()});
  EXPECT_LE(HostFdsOf(as().host_pid()), 1);
  auto child = MUST(as().Fork(*context_));
  auto context = MUST(child->NewContext());
  EXPECT_LE(HostFdsOf(child->host_pid()), 1);

  std::ifstream status("/proc/" + std::to_string(child->host_pid()) + "/status");
  std::string key, value;
  const std::map<std::string, std::string> kExpected = {{"NoNewPrivs:", "1"},
                                                        {"Seccomp:", "2"},
                                                        {"CapEff:", "0000000000000000"},
                                                        {"CapPrm:", "0000000000000000"}};
  int checked = 0;
  while (status >> key) {
    std::getline(status, value);
    value.erase(0, value.find_first_not_of(" \t"));
    auto wanted = kExpected.find(key);
    if (wanted == kExpected.end()) continue;
    EXPECT_EQ(value, wanted->second) << key;
    checked++;
  }
  EXPECT_EQ(checked, 4);
}

// All that the host has mapped there is our own region and what we asked for.
TEST_P(ProcessConformanceTest, StubsContainNothingOfOurMemory) {
  std::ifstream maps("/proc/" + std::to_string(as().host_pid()) + "/maps");
  std::string line;
  while (std::getline(maps, line)) {
    const uint64_t start = std::stoull(line, nullptr, 16);
    EXPECT_TRUE(start == kData.value || start >= kApplicationEnd.value) << line;
    EXPECT_EQ(line.find(".so"), std::string::npos) << line;
    EXPECT_EQ(line.find("[stack]"), std::string::npos) << line;
    EXPECT_EQ(line.find("conformance"), std::string::npos) << line;
  }
}

// A program may look for our code and use its `syscall` instructions: they are its own calls.
GUEST_CODE(Jump, "jmp *%rbx");
TEST_P(ProcessConformanceTest, TheStubsOwnSyscallInstructionsServeTheApplicationNothing) {
  LoadCode(kJump);
  const uint64_t vdso = platform().vdso().vdso.start.value;
  if (vdso == 0) GTEST_SKIP() << "the host has no vdso to tell where the region is";
  // Find such an instruction below the vdso, as a hostile program would by reading.
  std::ifstream maps("/proc/" + std::to_string(as().host_pid()) + "/maps");
  std::string line;
  uint64_t at = 0;
  while (at == 0 && std::getline(maps, line)) {
    const uint64_t start = std::stoull(line, nullptr, 16);
    const bool code = line.find(" r-xp ") != std::string::npos;
    if (start < kApplicationEnd.value || start >= vdso || !code) continue;
    std::vector<unsigned char> page(kPageSize);
    iovec ours{page.data(), page.size()};
    iovec theirs{reinterpret_cast<void*>(start), page.size()};
    ASSERT_EQ(process_vm_readv(as().host_pid(), &ours, 1, &theirs, 1, 0),
              static_cast<ssize_t>(page.size()));
    for (size_t i = 0; i + 1 < page.size() && at == 0; i++) {
      if (page[i] == 0x0f && page[i + 1] == 0x05) at = start + i;
    }
  }
  ASSERT_NE(at, 0u);
  regs_.rbx = at;
  regs_.rax = SYS_getppid;
  Stop stop = Run();
  // Taken for a call of the application's, or its end, or out of its reach; but never a call of the
  // host's.
  if (stop.kind == Stop::Kind::kSyscall) {
    EXPECT_EQ(regs_.syscall_number(), static_cast<uint64_t>(SYS_getppid));
    EXPECT_EQ(regs_.rip, at + 2);
  } else if (stop.kind == Stop::Kind::kFault) {
    EXPECT_EQ(stop.fault.signo, SIGSEGV);
    EXPECT_EQ(regs_.rip, at);
  } else {
    EXPECT_EQ(stop.kind, Stop::Kind::kDead);
  }
}

// All that a program can reach of what is ours in its address space: it may break itself, and
// nobody else, and can still be killed.
GUEST_CODE(Scribble,
           "mov %rdi, %r12\n mov %rcx, %r13\n"
           "rep stosb\n incl (%rbx)\n"
           "1: mov %r12, %rdi\n mov %r13, %rcx\n rep stosb\n jmp 1b");
TEST_P(ProcessConformanceTest, OverwritingOurMemoryHarmsTheProgramAlone) {
  auto other = MUST(platform().NewAddressSpace());
  auto other_context = MUST(other->NewContext());
  std::ifstream maps("/proc/" + std::to_string(as().host_pid()) + "/maps");
  std::string line;
  std::vector<uint64_t> ours;
  while (std::getline(maps, line)) {
    const uint64_t start = std::stoull(line, nullptr, 16);
    if (start >= kApplicationEnd.value && line.find(" rw-") != std::string::npos) {
      ours.push_back(start);
    }
  }
  ASSERT_FALSE(ours.empty());
  for (uint64_t target : ours) {
    for (uint64_t byte : {0x00, 0xff, 0x55}) {
      as_ = MUST(platform().NewAddressSpace());
      context_ = MUST(as_->NewContext());
      Map(kDataPage, PROT_READ | PROT_WRITE);
      LoadCode(kScribble);
      regs_.rdi = target;
      regs_.rcx = kPageSize;
      regs_.rax = byte;
      regs_.rbx = kData.value;
      std::thread killer([&] {
        uint32_t done = 0;
        while (done == 0 && as().CopyIn(kData, AsWritableBytes(done)) == sizeof(done)) {
          std::this_thread::yield();
        }
        context_->Interrupt();
        as().Kill();
      });
      for (Stop stop = Run(); stop.kind != Stop::Kind::kDead; stop = Run()) {
        // Out of its reach: then the killer need not wait for it.
        if (stop.kind == Stop::Kind::kFault && stop.fault.addr.value == target) Poke(kData, 1);
      }
      killer.join();
    }
  }
  EXPECT_TRUE(other->Map(*other_context, kDataPage, PROT_READ | PROT_WRITE, {}).ok());
  Poke(*other, kData, 1);
  EXPECT_EQ(Peek(*other, kData), 1u);
}

}  // namespace
}  // namespace sandboxd::platform
