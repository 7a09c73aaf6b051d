// Guest-physical memory: which addresses hold what.
#pragma once

#include <cstdint>

#include "platform/stub/region_stub.h"

namespace sandboxd::platform::kvm {

// [0, SANDBOXD_STUB_TABLES_SIZE): the stub's `tables`, in chunks, each a memory slot.
inline constexpr uint64_t kTablesChunk = uint64_t{16} << 20;
static_assert(SANDBOXD_STUB_TABLES_SIZE % kTablesChunk == 0);
inline constexpr uint64_t kVdsoPhysical = uint64_t{1} << 30;
inline constexpr uint64_t kHolePhysical = uint64_t{2} << 30;
// From here on windows of the application's memory, in the order in which they are first used.
// Above the addresses below 4 GiB that x86 has other uses for.
inline constexpr uint64_t kWindowsPhysical = uint64_t{4} << 30;
inline constexpr uint64_t kWindowSize = uint64_t{64} << 20;

}  // namespace sandboxd::platform::kvm
