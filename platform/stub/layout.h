// A stub's own region of memory (region_stub.h), as the kernel process knows it.
#pragma once

#include <cstdint>

#include "platform/platform.h"
#include "platform/stub/region_stub.h"

namespace sandboxd::platform::stub {

// The user part of the address space ends here (TASK_SIZE_MAX with four-level page tables).
inline constexpr uint64_t kUserEnd = 0x7fff'ffff'f000;

// How a stub's threads are driven.
enum class Kind : uint8_t {
  kTraced,   // from outside, by registers
  kFree,     // they run by themselves and take turns with a kernel thread
  kMachine,  // likewise, each a virtual processor of a machine that runs the application
};

struct Layout {
  Kind kind = Kind::kTraced;
  uint64_t base = 0;  // somewhere in [kApplicationEnd, kUserEnd); the same in all stubs
  VdsoLayout vdso;

  uint64_t code() const { return base + SANDBOXD_STUB_CODE; }
  uint64_t scratch() const { return base + SANDBOXD_STUB_SCRATCH; }
  uint64_t vector() const { return base + SANDBOXD_STUB_VECTOR; }
  uint64_t slots() const { return base + SANDBOXD_STUB_SLOTS; }
  uint64_t stacks() const { return base + SANDBOXD_STUB_STACKS; }
  uint64_t hole() const { return base + SANDBOXD_STUB_HOLE; }
  uint64_t tables() const { return base + SANDBOXD_STUB_TABLES; }
  uint64_t size() const {
    switch (kind) {
      case Kind::kTraced:
        return SANDBOXD_STUB_SMALL_SIZE;
      case Kind::kFree:
        return SANDBOXD_STUB_FULL_SIZE;
      case Kind::kMachine:
        break;
    }
    return SANDBOXD_STUB_VM_FULL_SIZE;
  }
  uint64_t end() const { return base + size(); }
};

}  // namespace sandboxd::platform::stub
