#include "gofer/server/lockdown.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "platform/base/format.h"
#include "platform/base/log.h"

// sys/mount.h and linux/mount.h can't be included together.
extern "C" int mount(const char*, const char*, const char*, unsigned long, const void*) noexcept;
extern "C" int umount2(const char*, int) noexcept;

namespace sandboxd::gofer {
namespace {

constexpr unsigned long kMsRec = 1 << 14, kMsPrivate = 1 << 18;  // MS_REC, MS_PRIVATE of mount(2)
constexpr int kMntDetach = 2;                                    // MNT_DETACH of umount2(2)

constexpr uint64_t kKeptCapabilities = 1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE |
                                       1u << CAP_DAC_READ_SEARCH | 1u << CAP_FOWNER |
                                       1u << CAP_FSETID | 1u << CAP_MKNOD;

Result<long> Checked(const char* what, long result) {
  if (result >= 0) return result;
  Errno error = LastError();
  LOG_ERROR("%s: %s", what, ErrnoMessage(error));
  return error;
}

Result<UniqueFd> HostFd(const char* what, long result) {
  return UniqueFd(static_cast<int>(TRY(Checked(what, result))));
}

Result<void> WriteFile(const char* path, const std::string& text) {
  UniqueFd file = TRY(HostFd(path, ::open(path, O_WRONLY | O_CLOEXEC)));
  TRY(Checked(path, ::write(file.get(), text.data(), text.size())));
  return Ok();
}

// A mount namespace of our own; for an ordinary user within a user namespace of our own, where
// only that user exists.
Result<void> EnterMountNamespace() {
  uid_t uid = ::geteuid();
  gid_t gid = ::getegid();
  if (::unshare(CLONE_NEWNS) != 0) {
    TRY(Checked("user namespace", ::unshare(CLONE_NEWUSER | CLONE_NEWNS)));
    TRY(WriteFile("/proc/self/setgroups", "deny"));
    TRY(WriteFile("/proc/self/uid_map", StrFormat("%u %u 1\n", uid, uid)));
    TRY(WriteFile("/proc/self/gid_map", StrFormat("%u %u 1\n", gid, gid)));
  }
  TRY(Checked("make mounts private", ::mount("none", "/", nullptr, kMsRec | kMsPrivate, nullptr)));
  return Ok();
}

// The path of an inherited descriptor, whose mount belongs to the namespace that we came from.
Result<std::string> PathOfInherited(int fd) {
  char path[PATH_MAX];
  std::string link = "/proc/self/fd/" + std::to_string(fd);
  long n = TRY(Checked("root descriptor", ::readlink(link.c_str(), path, sizeof(path))));
  return std::string(path, static_cast<size_t>(n));
}

Result<void> CheckSameFile(int fd, int inherited) {
  struct stat a, b;
  TRY(Checked("root descriptor", ::fstat(fd, &a)));
  TRY(Checked("root descriptor", ::fstat(inherited, &b)));
  if (a.st_dev == b.st_dev && a.st_ino == b.st_ino) return Ok();
  LOG_ERROR("descriptor %d can't be reached by its path any more", inherited);
  return Errno::kESTALE;
}

// A copy of the tree's mounts that is attached nowhere and exists as long as its descriptor.
Result<AttachPoint> DetachTree(const TreeOption& tree) {
  const int* inherited = std::get_if<int>(&tree.source);
  std::string path =
      inherited != nullptr ? TRY(PathOfInherited(*inherited)) : std::get<std::string>(tree.source);
  UniqueFd copy =
      TRY(HostFd(path.c_str(), ::syscall(SYS_open_tree, AT_FDCWD, path.c_str(),
                                         OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE)));
  if (inherited != nullptr) TRY(CheckSameFile(copy.get(), *inherited));
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  if (tree.access == Access::kReadOnly) attributes.attr_set |= MOUNT_ATTR_RDONLY;
  TRY(Checked("mount attributes",
              ::syscall(SYS_mount_setattr, copy.get(), "", AT_EMPTY_PATH | AT_RECURSIVE,
                        &attributes, sizeof(attributes))));
  return AttachPoint{std::move(copy), tree.access};
}

// Our descriptor table as a mount of its own, so that ".." does not lead to /proc.
Result<UniqueFd> DetachDescriptorTable() {
  return HostFd("/proc/self/fd", ::syscall(SYS_open_tree, AT_FDCWD, "/proc/self/fd",
                                           OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
}

Result<UniqueFd> EnterEmptyRoot() {
  UniqueFd context = TRY(HostFd("fsopen tmpfs", ::syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC)));
  int fs = context.get();
  TRY(Checked("tmpfs", ::syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "nr_inodes", "2", 0)));
  TRY(Checked("tmpfs", ::syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0)));
  UniqueFd root = TRY(HostFd("fsmount", ::syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC,
                                                  MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
                                                      MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)));
  TRY(Checked("move_mount",
              ::syscall(SYS_move_mount, root.get(), "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH)));
  TRY(Checked("enter the empty root", ::fchdir(root.get())));
  TRY(Checked("pivot_root", ::syscall(SYS_pivot_root, ".", ".")));
  // The old root is now mounted over the new one.
  TRY(Checked("unmount the old root", ::umount2(".", kMntDetach)));
  TRY(Checked("enter the empty root", ::chdir("/")));
  return root;
}

// 0 and 1 lead nowhere, 2 to the log; of the others only `keep` stay open.
Result<void> CloseOthers(std::vector<int> keep, int nowhere, int log_fd) {
  for (int fd : {0, 1}) {
    if (fd != log_fd) TRY(Checked("dup2", ::dup2(nowhere, fd)));
  }
  if (log_fd != 2) TRY(Checked("dup2", ::dup2(log_fd, 2)));
  keep.insert(keep.end(), {0, 1, 2, log_fd});
  std::ranges::sort(keep);
  unsigned next = 0;
  for (int fd : keep) {
    unsigned kept = static_cast<unsigned>(fd);
    if (kept > next) TRY(Checked("close_range", ::syscall(SYS_close_range, next, kept - 1, 0)));
    next = kept + 1;
  }
  TRY(Checked("close_range", ::syscall(SYS_close_range, next, ~0u, 0)));
  return Ok();
}

Result<void> DropCapabilities() {
  // Fails where the capability to do it is missing: then the bounding set has no effect either,
  // because of no_new_privs.
  for (unsigned capability = 0; capability < 64; ++capability) {
    if ((kKeptCapabilities >> capability & 1) == 0) ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  }
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  TRY(Checked("capget", ::syscall(SYS_capget, &header, data)));
  for (size_t i = 0; i < 2; ++i) {
    data[i].permitted &= static_cast<uint32_t>(kKeptCapabilities >> (32 * i));
    data[i].effective = data[i].permitted;
    data[i].inheritable = 0;
  }
  TRY(Checked("capset", ::syscall(SYS_capset, &header, data)));
  return Ok();
}

Result<void> SetLimits() {
  rlimit files;
  TRY(Checked("getrlimit", ::getrlimit(RLIMIT_NOFILE, &files)));
  files.rlim_cur = files.rlim_max;  // every fid is a descriptor
  TRY(Checked("setrlimit", ::setrlimit(RLIMIT_NOFILE, &files)));
  rlimit none{};
  TRY(Checked("setrlimit", ::setrlimit(RLIMIT_CORE, &none)));
  return Ok();
}

}  // namespace

Result<std::vector<AttachPoint>> Lockdown(const Options& options) {
  TRY(SetLimits());
  TRY(EnterMountNamespace());
  std::vector<AttachPoint> points;
  std::vector<int> keep;
  for (const TreeOption& tree : options.trees) {
    points.push_back(TRY(DetachTree(tree)));
    keep.push_back(points.back().root.get());
    keep.push_back(tree.socket_fd);
  }
  UniqueFd descriptors = TRY(DetachDescriptorTable());
  keep.push_back(descriptors.get());
  {
    UniqueFd empty = TRY(EnterEmptyRoot());
    TRY(CloseOthers(keep, empty.get(), options.log_fd));
    // CloseOthers has closed it.
    empty.Release();
  }
  TRY(Checked("enter the descriptor table", ::fchdir(descriptors.get())));
  ::umask(0);  // modes come from the client as they are
  TRY(Checked("no_new_privs", ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)));
  TRY(DropCapabilities());
  TRY(Checked("dumpable", ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)));
  return points;
}

}  // namespace sandboxd::gofer
