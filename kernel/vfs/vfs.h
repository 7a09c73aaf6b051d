// Vfs: the verbs of the file system calls, on paths. Each checks syntax, permissions and mount
// flags in Linux's order and then asks the file system. One instance per sandbox; stateless but for
// its registries. Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/vfs/caller.h"
#include "kernel/vfs/file.h"
#include "kernel/vfs/inode.h"
#include "kernel/vfs/mount.h"
#include "kernel/vfs/path.h"

namespace sandboxd::vfs {

class Walker;

// Where a walk starts and how it treats its last component.
struct At {
  // The folder that relative paths start from; empty: the caller's cwd. Set for dirfd arguments.
  Path start;
  bool follow_last = true;         // follow a symlink at the end
  bool allow_empty = false;        // AT_EMPTY_PATH: "" names `start` itself
  uint64_t resolve = 0;            // RESOLVE_* of openat2(2)
  bool require_directory = false;  // O_DIRECTORY, or a trailing slash
};

struct OpenRequest {
  int flags = 0;      // O_*
  uint32_t mode = 0;  // permissions for O_CREAT
};

class Vfs {
 public:
  Vfs();
  ~Vfs();

  // --- registries, filled by kernel/boot before the first task ---
  void RegisterFilesystem(std::unique_ptr<FilesystemType> type);
  FilesystemType* FindFilesystem(std::string_view name) const;
  std::vector<const FilesystemType*> filesystems() const;
  using DeviceOpener =
      std::function<Result<Ref<File>>(Caller&, const Path&, DeviceNumber, int flags)>;
  // `minor` -1: all minors of `major`. Block devices: ENXIO always.
  void RegisterCharDevice(uint32_t major, int minor, DeviceOpener opener);
  Result<Ref<File>> OpenCharDevice(Caller& c, const Path& path, DeviceNumber dev,
                                   int flags) const;  // ENXIO
  using FifoOpener = std::function<Result<Ref<File>>(Caller&, const Path&, int flags)>;
  void SetFifoOpener(FifoOpener opener);
  Result<Ref<File>> OpenFifo(Caller& c, const Path& path, int flags) const;

  // memfd_create(2): a file open for reading and writing.
  struct MemfdRequest {
    bool allow_sealing = false;
    bool executable = true;
  };
  using MemfdOpener =
      std::function<Result<Ref<File>>(Caller&, std::string_view name, const MemfdRequest&)>;
  void SetMemfdOpener(MemfdOpener opener);
  Result<Ref<File>> OpenMemfd(Caller& c, std::string_view name,
                              const MemfdRequest& request) const;  // ENOSYS

  // --- walking ---
  // ENOENT, ENOTDIR, ELOOP (40 links), ENAMETOOLONG, EACCES.
  Result<Path> Resolve(Caller& c, std::string_view path, const At& at = {}) const;
  // The folder that holds the last component, and that component ("." and ".." included, "" for the
  // root itself; trailing slashes noted).
  struct Parent {
    Path dir;
    std::string name;
    bool trailing_slash = false;
  };
  Result<Parent> ResolveParent(Caller& c, std::string_view path, const At& at = {}) const;

  // --- files ---
  Result<Ref<File>> Open(Caller& c, std::string_view path, const At& at,
                         const OpenRequest& request);
  // Opens what is already resolved (exec, /proc/self/fd/N). Permission is checked.
  Result<Ref<File>> OpenPath(Caller& c, const Path& path, int flags);
  Result<void> Mkdir(Caller& c, std::string_view path, const At& at, uint32_t mode);
  Result<void> Mknod(Caller& c, std::string_view path, const At& at, uint32_t mode,
                     DeviceNumber dev);
  // As Mknod, and gives the new place (AF_UNIX bind).
  Result<Path> MknodAt(Caller& c, std::string_view path, const At& at, uint32_t mode,
                       DeviceNumber dev);
  Result<void> Symlink(Caller& c, std::string_view target, std::string_view path, const At& at);
  Result<void> Link(Caller& c, std::string_view old_path, const At& old_at,
                    std::string_view new_path, const At& new_at);
  Result<void> Unlink(Caller& c, std::string_view path, const At& at);
  Result<void> Rmdir(Caller& c, std::string_view path, const At& at);
  Result<void> Rename(Caller& c, std::string_view old_path, const At& old_at,
                      std::string_view new_path, const At& new_at, unsigned flags);
  Result<std::string> ReadLink(Caller& c, std::string_view path, const At& at);

  // --- attributes, on a resolved path ---
  Result<Attr> Stat(Caller& c, const Path& path);
  Result<void> Chmod(Caller& c, const Path& path, uint32_t mode);
  // nullopt: leave (the -1 of chown(2)).
  Result<void> Chown(Caller& c, const Path& path, std::optional<KUid> uid, std::optional<KGid> gid);
  Result<void> Truncate(Caller& c, const Path& path, int64_t size);
  struct TimeUpdate {
    enum class Kind : uint8_t { kOmit, kNow, kSet } kind = Kind::kNow;
    Time time;
  };
  Result<void> SetTimes(Caller& c, const Path& path, const TimeUpdate& atime,
                        const TimeUpdate& mtime);
  // access(2): `mask` of R_OK W_OK X_OK, with `creds` (the real ids, or the effective with
  // AT_EACCESS).
  Result<void> Access(Caller& c, const Path& path, int mask, const creds::Credentials& creds);
  Result<std::string> GetXattr(Caller& c, const Path& path, std::string_view name);
  Result<void> SetXattr(Caller& c, const Path& path, std::string_view name, std::string_view value,
                        int flags);
  Result<void> RemoveXattr(Caller& c, const Path& path, std::string_view name);
  Result<std::vector<std::string>> ListXattr(Caller& c, const Path& path);
  Result<FsStat> StatFs(const Path& path);

  // --- mounts ---
  // The namespace is found through the caller's root.
  Result<void> Mount(Caller& c, MountNamespace& ns, std::string_view source, const Path& where,
                     std::string_view type, unsigned long flags, std::string_view options);
  // A file system of kernel/boot's own (the gofer's root): no permission checks.
  Result<Ref<vfs::Mount>> NewMount(Ref<Superblock> superblock, uint32_t flags, std::string source);

  // getcwd(2), /proc/PID/fd, maps: the path as seen from `root`; "(unreachable)/x" if outside, "
  // (deleted)" appended if so.
  std::string PathString(const Path& path, const Path& root) const;

  // The internal file system for pipes, sockets, eventfds…: a path whose dentry has that name and
  // an inode of that mode.
  Path AnonymousPath(std::string_view name, uint32_t mode);

 private:
  Result<Ref<File>> OpenOrCreate(Caller& c, std::string_view path, const At& at, int flags,
                                 uint32_t mode);
  // EAGAIN: the name exists by now.
  Result<Path> CreateForOpen(Caller& c, const Walker& walker, uint32_t mode);
  struct Registries;
  std::unique_ptr<Registries> registries_;
};

}  // namespace sandboxd::vfs
