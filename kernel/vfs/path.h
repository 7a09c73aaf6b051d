// Path: a place in the tree of mounts: a dentry as seen through a mount (struct path).
#pragma once

#include "platform/base/ref.h"

namespace sandboxd::vfs {

class Mount;
class Dentry;

// Cheap to copy (two references). Both set, or neither.
struct Path {
  Ref<Mount> mount;
  Ref<Dentry> dentry;

  Path();
  Path(Ref<Mount> m, Ref<Dentry> d);
  Path(const Path&);
  Path(Path&&) noexcept;
  Path& operator=(const Path&);
  Path& operator=(Path&&) noexcept;
  ~Path();
  explicit operator bool() const { return dentry.get() != nullptr; }
  bool operator==(const Path& o) const {
    return mount == o.mount.get() && dentry == o.dentry.get();
  }
};

}  // namespace sandboxd::vfs
