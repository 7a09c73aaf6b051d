// Caller: what the vfs needs to know of the task that calls it. Task implements it; unit tests use
// a simple one.
#pragma once

#include "kernel/creds/credentials.h"
#include "kernel/mm/user_memory.h"
#include "kernel/vfs/path.h"
#include "kernel/wait/wait_queue.h"
#include "platform/base/types.h"

namespace sandboxd::vfs {

class FdTable;
class MountNamespace;

class Caller {
 public:
  virtual creds::CredRef credentials() const = 0;
  virtual Path root() const = 0;
  virtual Path cwd() const = 0;
  virtual Ref<MountNamespace> mount_namespace() const = 0;
  virtual uint32_t umask() const = 0;
  // The caller's own fd table (for /proc/self/fd, AT_EMPTY_PATH …).
  virtual FdTable& files() = 0;
  virtual mm::UserMemory memory() const = 0;
  virtual wait::Blocker& blocker() = 0;
  // RLIMIT_FSIZE in bytes; a write past it sends SIGXFSZ through the next call.
  virtual uint64_t file_size_limit() const = 0;
  virtual void SendSignalToSelf(int signo) = 0;
  // Process id in the sandbox's initial pid namespace (lock owners, F_GETLK, SIGIO).
  virtual int32_t process_id() const = 0;
  // Opaque identity of the task itself, for file systems above this floor (proc's "self"). Null in
  // unit tests.
  virtual void* task() { return nullptr; }

 protected:
  ~Caller() = default;
};

}  // namespace sandboxd::vfs
