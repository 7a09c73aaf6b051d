// xattr(7): the twelve calls that get, set, list and remove extended attributes.
#include <sys/xattr.h>

#include "kernel/syscalls/families.h"
#include "kernel/syscalls/paths.h"

namespace sandboxd::syscalls {
namespace {

constexpr size_t kNameMax = 255;      // XATTR_NAME_MAX
constexpr uint64_t kSizeMax = 65536;  // XATTR_SIZE_MAX, XATTR_LIST_MAX

// Where the file comes from: a path with or without following, or a descriptor.
Result<vfs::Path> Following(Task& t, UserPath p) {
  return ResolveUserPath(t, kCwd, p, Follow::kYes);
}
Result<vfs::Path> NoFollow(Task& t, UserPath p) { return ResolveUserPath(t, kCwd, p, Follow::kNo); }
Result<vfs::Path> OfFd(Task& t, FdNum fd) { return TRY(t.files().GetForIo(fd))->path(); }

// "ERANGE: the name is too long", or empty.
Result<std::string> ReadName(Task& t, UserCStr name) {
  Result<std::string> text = t.memory().ReadCString(name, kNameMax + 1);
  if (text.Is(Errno::kENAMETOOLONG)) return Errno::kERANGE;
  std::string value = TRY(std::move(text));
  if (value.empty()) return Errno::kERANGE;
  return value;
}

Result<void> Set(Task& t, const Result<vfs::Path>& place, UserCStr name, UserAddr value,
                 uint64_t size, int32_t flags) {
  if ((flags & ~(XATTR_CREATE | XATTR_REPLACE)) != 0) return Errno::kEINVAL;
  std::string key = TRY(ReadName(t, name));
  if (size > kSizeMax) return Errno::kE2BIG;
  std::string bytes(size, '\0');
  TRY(t.memory().CopyIn(value, std::as_writable_bytes(std::span(bytes))));
  if (!place.ok()) return place.error();
  return t.kernel().vfs().SetXattr(t, *place, key, bytes, flags);
}

// A size of 0 asks for the size.
Result<uint64_t> PutOut(Task& t, std::string_view bytes, UserAddr out, uint64_t size) {
  if (size == 0) return uint64_t{bytes.size()};
  if (bytes.size() > size) return Errno::kERANGE;
  TRY(t.memory().CopyOut(out, std::as_bytes(std::span(bytes))));
  return uint64_t{bytes.size()};
}

Result<uint64_t> Get(Task& t, const vfs::Path& place, UserCStr name, UserAddr out, uint64_t size) {
  std::string key = TRY(ReadName(t, name));
  return PutOut(t, TRY(t.kernel().vfs().GetXattr(t, place, key)), out, size);
}

Result<uint64_t> List(Task& t, const vfs::Path& place, UserAddr out, uint64_t size) {
  std::string all;
  for (const std::string& name : TRY(t.kernel().vfs().ListXattr(t, place))) {
    all += name;
    all += '\0';
  }
  if (all.size() > kSizeMax) return Errno::kE2BIG;
  return PutOut(t, all, out, size);
}

Result<void> Remove(Task& t, const vfs::Path& place, UserCStr name) {
  return t.kernel().vfs().RemoveXattr(t, place, TRY(ReadName(t, name)));
}

Result<void> SysSetxattr(Task& t, UserPath p, UserCStr name, UserAddr value, uint64_t size,
                         int32_t flags) {
  return Set(t, Following(t, p), name, value, size, flags);
}
Result<void> SysLsetxattr(Task& t, UserPath p, UserCStr name, UserAddr value, uint64_t size,
                          int32_t flags) {
  return Set(t, NoFollow(t, p), name, value, size, flags);
}
Result<void> SysFsetxattr(Task& t, FdNum fd, UserCStr name, UserAddr value, uint64_t size,
                          int32_t flags) {
  vfs::Path place = TRY(OfFd(t, fd));
  return Set(t, place, name, value, size, flags);
}
Result<uint64_t> SysGetxattr(Task& t, UserPath p, UserCStr name, UserAddr out, uint64_t size) {
  return Get(t, TRY(Following(t, p)), name, out, size);
}
Result<uint64_t> SysLgetxattr(Task& t, UserPath p, UserCStr name, UserAddr out, uint64_t size) {
  return Get(t, TRY(NoFollow(t, p)), name, out, size);
}
Result<uint64_t> SysFgetxattr(Task& t, FdNum fd, UserCStr name, UserAddr out, uint64_t size) {
  return Get(t, TRY(OfFd(t, fd)), name, out, size);
}
Result<uint64_t> SysListxattr(Task& t, UserPath p, UserAddr out, uint64_t size) {
  return List(t, TRY(Following(t, p)), out, size);
}
Result<uint64_t> SysLlistxattr(Task& t, UserPath p, UserAddr out, uint64_t size) {
  return List(t, TRY(NoFollow(t, p)), out, size);
}
Result<uint64_t> SysFlistxattr(Task& t, FdNum fd, UserAddr out, uint64_t size) {
  return List(t, TRY(OfFd(t, fd)), out, size);
}
Result<void> SysRemovexattr(Task& t, UserPath p, UserCStr name) {
  return Remove(t, TRY(Following(t, p)), name);
}
Result<void> SysLremovexattr(Task& t, UserPath p, UserCStr name) {
  return Remove(t, TRY(NoFollow(t, p)), name);
}
Result<void> SysFremovexattr(Task& t, FdNum fd, UserCStr name) {
  return Remove(t, TRY(OfFd(t, fd)), name);
}

constexpr Row kRows[] = {
    Full<SysSetxattr>(SYS_setxattr, "setxattr"),
    Full<SysLsetxattr>(SYS_lsetxattr, "lsetxattr"),
    Full<SysFsetxattr>(SYS_fsetxattr, "fsetxattr"),
    Full<SysGetxattr>(SYS_getxattr, "getxattr"),
    Full<SysLgetxattr>(SYS_lgetxattr, "lgetxattr"),
    Full<SysFgetxattr>(SYS_fgetxattr, "fgetxattr"),
    Full<SysListxattr>(SYS_listxattr, "listxattr"),
    Full<SysLlistxattr>(SYS_llistxattr, "llistxattr"),
    Full<SysFlistxattr>(SYS_flistxattr, "flistxattr"),
    Full<SysRemovexattr>(SYS_removexattr, "removexattr"),
    Full<SysLremovexattr>(SYS_lremovexattr, "lremovexattr"),
    Full<SysFremovexattr>(SYS_fremovexattr, "fremovexattr"),
};

}  // namespace

std::span<const Row> XattrRows() { return kRows; }

}  // namespace sandboxd::syscalls
