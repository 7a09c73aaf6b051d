#include "kernel/boot/proc_options.h"

#include "kernel/fs/pts/terminal.h"
#include "kernel/vfs/attr.h"

namespace sandboxd::boot {
namespace {
constexpr uint32_t kSlaveMajor = 136;  // /dev/pts/N (pts(4))
}  // namespace

proc::ProcOptions SandboxProcOptions() {
  proc::ProcOptions options;
  options.terminal_device = [](const RefCounted& terminal) {
    // What sessions hold as their terminal is a pts::Terminal (kernel/task/thread_group.h).
    uint32_t index = static_cast<const pts::Terminal&>(terminal).index();
    return vfs::DeviceNumber{kSlaveMajor, index}.Encode();
  };
  return options;
}

}  // namespace sandboxd::boot
