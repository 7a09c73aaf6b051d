// Random numbers for address space layout randomisation.
#pragma once

#include <cstdint>

namespace sandboxd::mm {

// A random multiple of the page size below `bound` (bytes); 0 if `bound` is less than a page.
uint64_t RandomPageOffset(uint64_t bound);
// From the host's getrandom(2).
void RandomBytes(void* out, unsigned size);

}  // namespace sandboxd::mm
