#include "platform/kvm/machine_settings.h"

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>

#include "platform/arch/xstate.h"

namespace sandboxd::platform::kvm {
namespace {

constexpr int kApiVersion = 12;  // the only one there has been since Linux 2.6.22
constexpr long kNeededSync = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS;

struct Capability {
  int number;
  int at_least;
  const char* missing;
};
constexpr Capability kNeeded[] = {
    {KVM_CAP_USER_MEMORY, 1, "the host's KVM has no memory slots (KVM_CAP_USER_MEMORY)"},
    {KVM_CAP_SYNC_MMU, 1,
     "the host's KVM doesn't follow changes of the monitor's memory (KVM_CAP_SYNC_MMU)"},
    {KVM_CAP_IMMEDIATE_EXIT, 1,
     "the host's KVM can't be interrupted reliably (KVM_CAP_IMMEDIATE_EXIT; Linux 4.13)"},
    {KVM_CAP_XSAVE, 1, "the host's KVM doesn't give vector registers (KVM_CAP_XSAVE)"},
    {KVM_CAP_XCRS, 1, "the host's KVM can't set XCR0 (KVM_CAP_XCRS)"},
    {KVM_CAP_EXT_CPUID, 1, "the host's KVM can't say what it supports (KVM_CAP_EXT_CPUID)"},
    {KVM_CAP_NR_MEMSLOTS, 256, "the host's KVM has too few memory slots (KVM_CAP_NR_MEMSLOTS)"},
};

int Extension(int kvm_fd, int number) {
  return ioctl(kvm_fd, KVM_CHECK_EXTENSION, static_cast<unsigned long>(number));
}

constexpr uint32_t kFeatureLeaf = 7, kXstateLeaf = 0xd, kAddressLeaf = 0x8000'0008;
// Leaf 7, edx: AMX, whose state a program must ask the host for. Nobody does that in a machine.
constexpr uint32_t kAmx = 1U << 22 | 1U << 24 | 1U << 25;
constexpr uint64_t kAmxState = uint64_t{3} << 17;

bool IsHypervisorLeaf(uint32_t leaf) { return leaf >= 0x4000'0000 && leaf < 0x4001'0000; }

}  // namespace

Availability CheckCapabilities(int kvm_fd) {
  if (ioctl(kvm_fd, KVM_GET_API_VERSION, 0) != kApiVersion) {
    return {false, "/dev/kvm doesn't speak the stable KVM interface (version 12)"};
  }
  for (const Capability& c : kNeeded) {
    if (Extension(kvm_fd, c.number) < c.at_least) return {false, c.missing};
  }
  if ((Extension(kvm_fd, KVM_CAP_SYNC_REGS) & kNeededSync) != kNeededSync) {
    return {false, "the host's KVM doesn't share registers (KVM_CAP_SYNC_REGS; Linux 4.17)"};
  }
  const int run_size = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
  if (run_size <= 0 || run_size > SANDBOXD_STUB_RUN_SIZE) {
    return {false, "the host's KVM shares more memory for each processor than we have room for"};
  }
  if (arch::HostXstate().size > stub::kXsaveSize) {
    return {false, "this processor's vector registers are larger than KVM_GET_XSAVE gives"};
  }
  return {true, ""};
}

Result<std::unique_ptr<MachineSettings>> ReadMachineSettings(int kvm_fd) {
  auto settings = std::make_unique<MachineSettings>();
  stub::MachineState& state = settings->state;
  state.cpuid.count = stub::kMaxCpuid;
  if (ioctl(kvm_fd, stub::kGetSupportedCpuidRequest, &state.cpuid) != 0)
    return FromHostErrno(errno);

  uint64_t xstate = arch::kXfeatureX87 | arch::kXfeatureSse;
  unsigned physical_bits = 36;  // of any processor with a 64-bit mode
  for (uint32_t i = 0; i < state.cpuid.count;) {
    kvm_cpuid_entry2& e = state.cpuid.entries[i];
    const bool amx_leaf = e.function == 0x1d || e.function == 0x1e;
    const bool amx_state = e.function == kXstateLeaf && (e.index == 17 || e.index == 18);
    // An application sees what it would see without us: the processor.
    if (IsHypervisorLeaf(e.function) || amx_leaf || amx_state) {
      std::copy(&e + 1, state.cpuid.entries + state.cpuid.count, &e);
      state.cpuid.count--;
      continue;
    }
    if (e.function == kFeatureLeaf && e.index == 0) e.edx &= ~kAmx;
    if (e.function == kXstateLeaf && e.index == 0) {
      e.eax &= static_cast<uint32_t>(~kAmxState);
      xstate = uint64_t{e.edx} << 32 | e.eax;
    }
    if (e.function == kAddressLeaf) physical_bits = e.eax & 0xff;
    i++;
  }
  state.xcr0 = xstate & arch::HostXstate().features;
  state.xstate_size = static_cast<uint32_t>(arch::HostXstate().SizeOf(state.xcr0));
  state.run_size = static_cast<uint32_t>(ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0));
  state.tsc_offset = Extension(kvm_fd, KVM_CAP_VCPU_ATTRIBUTES) > 0;

  MachineLimits& limits = settings->limits;
  const int processors = Extension(kvm_fd, KVM_CAP_MAX_VCPUS);
  limits.threads =
      std::clamp<uint64_t>(static_cast<uint64_t>(std::max(processors, 1)), 1, stub::kMaxSlots);
  const int slots = Extension(kvm_fd, KVM_CAP_NR_MEMSLOTS);
  limits.memory_slots =
      std::min<uint64_t>(static_cast<uint64_t>(slots), std::size(stub::SlotList{}.slots));
  limits.physical_end = uint64_t{1} << std::min(physical_bits, 51U);
  return settings;
}

}  // namespace sandboxd::platform::kvm
