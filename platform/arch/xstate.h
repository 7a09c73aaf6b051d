// Vector state of the architecture that is being built for.
#pragma once

#if defined(__x86_64__)
#include "platform/arch/xstate_x86_64.h"
#else
#error "platform/arch has no vector state for this architecture"
#endif
