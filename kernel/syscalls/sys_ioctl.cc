// ioctl(2): what every file answers; the rest is the file's own.
#include <fcntl.h>
#include <sys/ioctl.h>

#include "kernel/net/interface_ioctl.h"
#include "kernel/net/network.h"
#include "kernel/syscalls/families.h"
#include "kernel/task/namespace_objects.h"
#include "kernel/vfs/inode.h"

namespace sandboxd::syscalls {
namespace {

Result<void> SetFlag(Task& t, vfs::File& file, UserAddr arg, int flag) {
  int32_t on = TRY(t.memory().Read<int32_t>(arg));
  return file.SetStatusFlags(on != 0 ? file.flags() | flag : file.flags() & ~flag);
}

Result<void> RegularUnread(Task& t, vfs::File& file, UserAddr arg) {
  int64_t size = static_cast<int64_t>(TRY(file.GetAttr()).size);
  return t.memory().Write(arg, static_cast<int32_t>(size - file.position()));
}

Result<uint64_t> SysIoctl(Task& t, FdNum fd, uint32_t command, uint64_t arg) {
  Ref<vfs::File> file = TRY(t.files().GetForIo(fd));
  UserAddr addr(arg);
  switch (command) {
    case FIOCLEX:
      TRY(t.files().SetCloexec(fd, true));
      return uint64_t{0};
    case FIONCLEX:
      TRY(t.files().SetCloexec(fd, false));
      return uint64_t{0};
    case FIONBIO:
      TRY(SetFlag(t, *file, addr, O_NONBLOCK));
      return uint64_t{0};
    case FIOASYNC:
      TRY(SetFlag(t, *file, addr, O_ASYNC));
      return uint64_t{0};
    case FIOQSIZE: {
      if (!file->inode()->IsRegular() && !file->inode()->IsDirectory()) return Errno::kENOTTY;
      int64_t size = static_cast<int64_t>(TRY(file->GetAttr()).size);
      TRY(t.memory().Write(addr, size));
      return uint64_t{0};
    }
    case FIONREAD:
      if (!file->inode()->IsRegular()) break;
      TRY(RegularUnread(t, *file, addr));
      return uint64_t{0};
    default:
      break;
  }
  Result<uint64_t> own = file->Ioctl(t, command, arg);
  if (own.Is(Errno::kENOTTY) && vfs::FileAs<net::Socket>(*file) != nullptr) {
    return net::InterfaceIoctl(t.net_ns()->network().stack(), t, command, arg);
  }
  return own;
}

constexpr Row kRows[] = {
    Partial<SysIoctl>(SYS_ioctl, "ioctl", "FIOASYNC sends no SIGIO; commands are each file's own"),
};

}  // namespace

std::span<const Row> IoctlRows() { return kRows; }

}  // namespace sandboxd::syscalls
