// What a stub process may ask of the host.
#pragma once

#include "platform/host/seccomp_list.h"

namespace sandboxd::platform::stub {

host::SeccompList StubSeccompList();

}  // namespace sandboxd::platform::stub
