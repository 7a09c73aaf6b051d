// Applications that try to keep out of reach, or to leave the ways that a program may go.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <fstream>
#include <string>
#include <thread>

#include "platform/testing/conformance.h"

namespace sandboxd::platform {
namespace {

class HostileConformanceTest : public ConformanceTest {
 protected:
  // Where in the stub's own code these bytes are, as a hostile program would find it; 0: nowhere.
  uint64_t FindInStub(ConstBytes bytes) {
    std::ifstream maps("/proc/" + std::to_string(as().host_pid()) + "/maps");
    std::string line;
    while (std::getline(maps, line)) {
      const uint64_t start = std::stoull(line, nullptr, 16);
      const bool ours = start >= kApplicationEnd.value && line.find(" r-xp ") != std::string::npos;
      if (!ours || line.find("[v") != std::string::npos) continue;
      std::vector<std::byte> page(4 * kPageSize);
      iovec to{page.data(), page.size()};
      iovec from{reinterpret_cast<void*>(start), page.size()};
      const ssize_t n = process_vm_readv(as().host_pid(), &to, 1, &from, 1, 0);
      if (n <= 0) continue;
      auto end = page.begin() + n;
      auto at = std::search(page.begin(), end, bytes.begin(), bytes.end());
      if (at != end) return start + static_cast<uint64_t>(at - page.begin());
    }
    return 0;
  }
};
INSTANTIATE_CONFORMANCE(HostileConformanceTest);

// mov $15,%eax; syscall: the host's rt_sigreturn
constexpr std::array<std::byte, 7> kSigreturn = {std::byte{0xb8}, std::byte{15}, std::byte{0},
                                                 std::byte{0},    std::byte{0},  std::byte{0x0f},
                                                 std::byte{0x05}};
GUEST_CODE(SigreturnJump, "jmp *%rbx\n .balign 64\n 1: incl (%rsi)\n jmp 1b");

// A frame of the host's own that blocks all signals, also the one that interrupts the stub.
TEST_P(HostileConformanceTest, WhoBlocksInterruptsCanBeEnded) {
  const uint64_t at = FindInStub(kSigreturn);
  if (at == 0) GTEST_SKIP() << "this platform's stubs have no such instruction";
  LoadCode(kSigreturnJump);
  std::array<uint64_t, 120> frame{};
  constexpr size_t kRegisters = 5, kRsi = kRegisters + 9, kRsp = kRegisters + 15;
  constexpr size_t kRip = kRegisters + 16, kFlags = kRegisters + 17, kSegments = kRegisters + 18;
  constexpr size_t kMask = 37;
  frame[0] = 6;  // the frame has a stack segment
  frame[kRsi] = kData.value;
  frame[kRsp] = kStack.value;
  frame[kRip] = kCode.value + 64;
  frame[kFlags] = 0x202;
  frame[kSegments] = 0x33 | uint64_t{0x2b} << 48;
  frame[kMask] = ~uint64_t{0};
  const UserAddr place = kData + 1024;
  ASSERT_EQ(as().CopyOut(place, AsBytes(frame)), sizeof(frame));
  regs_.rbx = at;
  regs_.rsp = place.value;
  std::atomic<bool> returned{false};
  std::thread killer([&] {
    // Until it loops, or has stopped for another reason.
    uint32_t count = 0;
    while (count == 0 && !returned) (void)as().CopyIn(kData, AsWritableBytes(count));
    if (!returned) context_->InterruptToEnd();
  });
  Stop stop = Run();
  returned = true;
  killer.join();
  // Elsewhere than on systrap the program can't get there, or it is a call like any other.
  EXPECT_NE(stop.kind, Stop::Kind::kInterrupt);
}

// 32-bit code: lretq to the segment in which the host would run it.
GUEST_CODE(FarCall,
           "lea 1f(%rip), %rax\n push $0x23\n push %rax\n lretq\n"
           "1: .byte 0xb8, 20, 0, 0, 0\n int $0x80\n ud2");
TEST_P(HostileConformanceTest, ThirtyTwoBitCodeMakesNoCalls) {
  LoadCode(kFarCall);
  Stop stop = Run();
  // A kernel without 32-bit support has no such segment, or refuses the call.
  ASSERT_EQ(stop.kind, Stop::Kind::kFault);
  EXPECT_EQ(stop.fault.signo, SIGSEGV);
}

GUEST_CODE(FromData, "mov $39, %eax\n syscall");
TEST_P(HostileConformanceTest, CallsFromDataPagesAreCalls) {
  LoadCode(kFromData);
  std::array<std::byte, 7> code;
  ASSERT_EQ(as().CopyIn(kCode, code), code.size());
  Map(kDataPage, PROT_READ | PROT_WRITE | PROT_EXEC);
  ASSERT_EQ(as().CopyOut(kData, code), code.size());
  for (int i = 0; i < 20; i++) {
    regs_.rip = kData.value;
    ASSERT_EQ(RunToSyscall(), static_cast<uint64_t>(SYS_getpid));
    EXPECT_EQ(regs_.rip, kData.value + 7);
  }
}

}  // namespace
}  // namespace sandboxd::platform
