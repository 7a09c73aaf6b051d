// The first part of the template's life: the copy of the kernel process turns into a stub.
#pragma once

#include <array>

#include "platform/stub/layout.h"
#include "platform/stub/machine.h"

namespace sandboxd::platform::stub {

struct BecomeTemplateArgs {
  int socket = -1;
  VdsoLayout from;                      // where the host has put the vdso
  std::array<AddrRange, 4> vvar_parts;  // the mappings that from.vvar consists of; the rest empty
  Layout layout;                        // what to build
  // Kind::kMachine: /dev/kvm, and what machines are made from.
  int kvm_fd = -1;
  const MachineState* machine = nullptr;
};

// Runs in the new process. On failure it sends the number of the step that failed and exits.
[[noreturn]] void BecomeTemplate(const BecomeTemplateArgs& args);

}  // namespace sandboxd::platform::stub
