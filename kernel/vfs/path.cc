#include "kernel/vfs/path.h"

#include "kernel/vfs/mount.h"

namespace sandboxd::vfs {

Path::Path() = default;
Path::Path(Ref<Mount> m, Ref<Dentry> d) : mount(std::move(m)), dentry(std::move(d)) {}
Path::Path(const Path&) = default;
Path::Path(Path&&) noexcept = default;
Path& Path::operator=(const Path&) = default;
Path& Path::operator=(Path&&) noexcept = default;

// The dentry first: the mount keeps the file system that its inode belongs to.
Path::~Path() { dentry.Reset(); }

}  // namespace sandboxd::vfs
