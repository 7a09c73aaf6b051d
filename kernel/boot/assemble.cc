#include "kernel/boot/assemble.h"

#include "kernel/boot/memory_files.h"
#include "kernel/boot/proc_options.h"
#include "kernel/fs/dev/dev.h"
#include "kernel/fs/mqueue/mqueue.h"
#include "kernel/fs/pipe/pipe.h"
#include "kernel/fs/proc/proc_fs.h"
#include "kernel/fs/pts/devpts.h"
#include "kernel/fs/sys/sys_fs.h"
#include "kernel/fs/tmpfs/tmpfs.h"
#include "kernel/syscalls/table.h"
#include "kernel/task/job_control.h"
#include "kernel/vfs/vfs.h"

namespace sandboxd::boot {
namespace {

// File systems that look at tasks, or send them signals.
void RegisterTaskFilesystems(task::Kernel& kernel) {
  vfs::Vfs& vfs = kernel.vfs();
  pts::JobControl* jobs = kernel.Attach(std::make_unique<task::TerminalJobs>(kernel));
  vfs.RegisterFilesystem(std::make_unique<pts::DevPtsType>(jobs, &kernel.timers()));
  pts::RegisterTerminalDevices(vfs, jobs);
  vfs.RegisterFilesystem(proc::MakeProcFilesystem(kernel, SandboxProcOptions(kernel.network())));
  vfs.RegisterFilesystem(sysfs::MakeSysFilesystem(kernel.cpu_count()));
}

}  // namespace

std::unique_ptr<task::Kernel> Assemble(std::unique_ptr<platform::Platform> platform, bool strace) {
  auto vfs = std::make_unique<vfs::Vfs>();
  vfs->RegisterFilesystem(std::make_unique<tmpfs::TmpfsType>(SandboxMemoryFiles()));
  vfs->RegisterFilesystem(std::make_unique<dev::DevtmpfsType>(SandboxMemoryFiles()));
  vfs->RegisterFilesystem(std::make_unique<mqueue::MqueueType>(*vfs, SandboxMemoryFiles()));
  vfs->SetFifoOpener(&pipe::OpenFifo);
  vfs->SetMemfdOpener(tmpfs::MakeMemfdOpener(*vfs, SandboxMemoryFiles()));
  dev::RegisterMemoryDevices(*vfs);
  task::Kernel::Parts parts;
  parts.platform = std::move(platform);
  parts.syscalls = syscalls::MakeDispatcher({strace});
  parts.vfs = std::move(vfs);
  auto kernel = std::make_unique<task::Kernel>(std::move(parts));
  RegisterTaskFilesystems(*kernel);
  return kernel;
}

}  // namespace sandboxd::boot
