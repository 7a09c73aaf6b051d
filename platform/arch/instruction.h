// Instructions of the architecture that is being built for.
#pragma once

#if defined(__x86_64__)
#include "platform/arch/instruction_x86_64.h"
#else
#error "platform/arch has no instructions for this architecture"
#endif
