// The frame of a signal handler, for the architecture that is being built for.
#pragma once

#if defined(__x86_64__)
#include "platform/arch/signal_frame_x86_64.h"
#else
#error "platform/arch has no signal frames for this architecture"
#endif
