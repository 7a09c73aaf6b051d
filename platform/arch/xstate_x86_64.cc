#include "platform/arch/xstate_x86_64.h"

#include <cpuid.h>

#include <algorithm>
#include <cstring>

namespace sandboxd::arch {
namespace {

// Intel SDM volume 1, 13.2: CPUID leaf 0Dh enumerates the components.
constexpr uint32_t kXsaveLeaf = 0xd;
constexpr uint64_t kXfeatureTileData = uint64_t{1} << 18;
// What a processor supports that leaves MXCSR_MASK zero (SDM volume 1, 11.6.6).
constexpr uint32_t kDefaultMxcsrMask = 0xffbf;

uint64_t ReadXcr0() {
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

uint32_t ReadMxcsrMask() {
  alignas(16) std::array<std::byte, kFxsaveSize> area{};
  asm volatile("fxsave %0" : "=m"(area));
  uint32_t mask;
  std::memcpy(&mask, area.data() + kXstateMxcsrMaskOffset, sizeof(mask));
  return mask != 0 ? mask : kDefaultMxcsrMask;
}

XstateLayout DetectLayout() {
  XstateLayout layout;
  layout.mxcsr_mask = ReadMxcsrMask();
  layout.features = kXfeatureX87 | kXfeatureSse;
  uint32_t a, b, c, d;
  const bool has_xsave = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_OSXSAVE) != 0;
  if (has_xsave) layout.features = ReadXcr0() & ~kXfeatureTileData;
  for (unsigned i = 2; i < 63; i++) {
    if ((layout.features >> i & 1) == 0) continue;
    __cpuid_count(kXsaveLeaf, i, a, b, c, d);
    layout.component_end[i] = size_t{a} + b;
  }
  layout.size = layout.SizeOf(layout.features);
  return layout;
}

}  // namespace

size_t XstateLayout::SizeOf(uint64_t wanted) const {
  size_t end = kMinXstateSize;
  for (size_t i = 0; i < component_end.size(); i++) {
    if ((wanted >> i & 1) != 0) end = std::max(end, component_end[i]);
  }
  return end;
}

const XstateLayout& HostXstate() {
  static const XstateLayout layout = DetectLayout();
  return layout;
}

Result<void> CheckXstate(ConstBytes area) {
  if (area.size() < kMinXstateSize) return Errno::kEINVAL;
  uint32_t mxcsr;
  std::memcpy(&mxcsr, area.data() + kXstateMxcsrOffset, sizeof(mxcsr));
  if ((mxcsr & ~HostXstate().mxcsr_mask) != 0) return Errno::kEINVAL;
  uint64_t present;
  std::memcpy(&present, area.data() + kXstateBvOffset, sizeof(present));
  if ((present & ~HostXstate().features) != 0) return Errno::kEINVAL;
  if (HostXstate().SizeOf(present) > area.size()) return Errno::kEINVAL;
  const ConstBytes reserved = area.subspan(kXcompBvOffset, kMinXstateSize - kXcompBvOffset);
  for (std::byte b : reserved) {
    if (b != std::byte{0}) return Errno::kEINVAL;
  }
  return Ok();
}

std::array<std::byte, kMinXstateSize> InitialXstate() {
  std::array<std::byte, kMinXstateSize> state{};
  std::memcpy(state.data() + kXstateFcwOffset, &kInitialFcw, sizeof(kInitialFcw));
  std::memcpy(state.data() + kXstateMxcsrOffset, &kInitialMxcsr, sizeof(kInitialMxcsr));
  // Marked as present and zero: a host that reads MXCSR only then must find it.
  const uint64_t present = kXfeatureX87 | kXfeatureSse;
  std::memcpy(state.data() + kXstateBvOffset, &present, sizeof(present));
  return state;
}

}  // namespace sandboxd::arch
