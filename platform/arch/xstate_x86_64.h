// The XSAVE area in its standard format (Intel SDM volume 1, 13.4): a legacy area of 512 bytes
// (that of FXSAVE), a header of 64, and the extended components at offsets that CPUID tells.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "platform/base/result.h"
#include "platform/base/types.h"

namespace sandboxd::arch {

inline constexpr size_t kFxsaveSize = 512;
inline constexpr size_t kXstateHeaderSize = 64;
inline constexpr size_t kMinXstateSize = kFxsaveSize + kXstateHeaderSize;

inline constexpr size_t kXstateFcwOffset = 0;     // uint16: x87 control word
inline constexpr size_t kXstateMxcsrOffset = 24;  // uint32
inline constexpr size_t kXstateMxcsrMaskOffset = 28;
// In the header, relative to the start of the area: which components are present; which format.
inline constexpr size_t kXstateBvOffset = 512;
inline constexpr size_t kXcompBvOffset = 520;

inline constexpr uint64_t kXfeatureX87 = 1;
inline constexpr uint64_t kXfeatureSse = 2;

inline constexpr uint16_t kInitialFcw = 0x37f;
inline constexpr uint32_t kInitialMxcsr = 0x1f80;

// What this processor and its host kernel offer to user code.
struct XstateLayout {
  uint64_t features = 0;    // XCR0, without components that a program must ask for (AMX tiles)
  size_t size = 0;          // of an area that holds all of them
  uint32_t mxcsr_mask = 0;  // the bits of MXCSR that may be set
  std::array<size_t, 64> component_end{};  // by component; 0 where there is none

  // Of an area with the components in `features`.
  size_t SizeOf(uint64_t features) const;
};
const XstateLayout& HostXstate();

// Whether the processor would load this area; EINVAL if not: bits of MXCSR that it doesn't have,
// components that it doesn't have, the compacted format, or reserved bytes. At least
// kMinXstateSize.
Result<void> CheckXstate(ConstBytes area);

// The state after execve(2): every component in its initial configuration.
std::array<std::byte, kMinXstateSize> InitialXstate();

}  // namespace sandboxd::arch
