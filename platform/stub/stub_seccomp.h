// What a stub process may ask of the host.
#pragma once

#include "platform/host/seccomp_list.h"
#include "platform/stub/layout.h"

namespace sandboxd::platform::stub {

host::SeccompList StubSeccompList(Kind kind);

// Loads that list for calls made from the stub's own code at `code`; a call from anywhere else
// becomes SIGSYS. For stubs that run free.
Result<void> LoadFreeFilter(uint64_t code);

}  // namespace sandboxd::platform::stub
