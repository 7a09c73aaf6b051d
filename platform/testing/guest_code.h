// Code for applications, in tests of platforms.
#pragma once

#include <cstddef>

#include "platform/base/types.h"

// Code for the application, as assembly: GUEST_CODE(Name, "instructions"). Position-independent. It
// stays data in the test binary.
#define GUEST_CODE(name, text)                                                            \
  extern "C" const char guest_##name##_begin[], guest_##name##_end[];                     \
  asm(".pushsection .rodata\n.globl guest_" #name "_begin\nguest_" #name "_begin:\n" text \
      "\n.globl guest_" #name "_end\nguest_" #name "_end:\n.popsection\n");               \
  [[maybe_unused]] const ConstBytes k##name = AsBytesOf(guest_##name##_begin, guest_##name##_end)

namespace sandboxd::platform {

inline ConstBytes AsBytesOf(const char* begin, const char* end) {
  return {reinterpret_cast<const std::byte*>(begin), static_cast<size_t>(end - begin)};
}

}  // namespace sandboxd::platform
