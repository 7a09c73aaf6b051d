#include "kernel/boot/proc_options.h"

#include "kernel/fs/pts/terminal.h"
#include "kernel/net/proc_net.h"
#include "kernel/task/namespace_objects.h"
#include "kernel/task/task.h"
#include "kernel/vfs/attr.h"

namespace sandboxd::boot {
namespace {
constexpr uint32_t kSlaveMajor = 136;  // /dev/pts/N (pts(4))
}  // namespace

proc::ProcOptions SandboxProcOptions(net::Network& network) {
  proc::ProcOptions options;
  options.terminal_device = [](const RefCounted& terminal) {
    // What sessions hold as their terminal is a pts::Terminal (kernel/task/thread_group.h).
    uint32_t index = static_cast<const pts::Terminal&>(terminal).index();
    return vfs::DeviceNumber{kSlaveMajor, index}.Encode();
  };
  for (const std::string& name : net::ProcNetFiles()) {
    options.net_files[name] = [&network, name](vfs::Caller& c) -> Result<std::string> {
      auto* task = static_cast<task::Task*>(c.task());
      return net::ProcNetText(task == nullptr ? network : task->net_ns()->network(), name);
    };
  }
  return options;
}

}  // namespace sandboxd::boot
