#include "kernel/mm/random.h"

#include <sys/random.h>

#include "platform/base/check.h"
#include "platform/base/checked_math.h"

namespace sandboxd::mm {

void RandomBytes(void* out, unsigned size) {
  // At most 256 bytes never come up short and are never interrupted (getrandom(2)).
  CHECK(size <= 256);
  CHECK(getrandom(out, size, 0) == static_cast<ssize_t>(size));
}

uint64_t RandomPageOffset(uint64_t bound) {
  if (bound < kPageSize) return 0;
  uint64_t r = 0;
  RandomBytes(&r, sizeof(r));
  return r % (bound / kPageSize) * kPageSize;
}

}  // namespace sandboxd::mm
