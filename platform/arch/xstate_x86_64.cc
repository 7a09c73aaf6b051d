#include "platform/arch/xstate_x86_64.h"

#include <cstring>

namespace sandboxd::arch {

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
