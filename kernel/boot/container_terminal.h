// The terminal of a process that the control channel starts with `terminal`: a pair of the
// container's devpts whose master side belongs to the stdio relay.
#pragma once

#include <memory>

#include "kernel/boot/kernel_caller.h"
#include "kernel/boot/stdio_relay.h"
#include "kernel/vfs/vfs.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"

namespace sandboxd::boot {

struct ContainerTerminal {
  Ref<RefCounted> terminal;  // a pts::Terminal, as task::ProcessRequest takes it
  Ref<vfs::File> slave;      // open for reading and writing
  // The master side in both directions. The terminal is hung up when both are gone.
  std::unique_ptr<RelayEnd> input, output;
};

// In the devpts that is mounted on /dev/pts of `caller`'s root; ENODEV if it is none. The slave
// belongs to `uid`. 0 rows or columns: 24, 80.
Result<ContainerTerminal> MakeContainerTerminal(vfs::Vfs& vfs, KernelCaller& caller, vfs::KUid uid,
                                                uint32_t rows, uint32_t cols);
void ResizeContainerTerminal(RefCounted& terminal, uint32_t rows, uint32_t cols);

}  // namespace sandboxd::boot
