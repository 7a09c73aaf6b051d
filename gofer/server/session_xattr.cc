// Extended attributes. A file's own name never appears in a host call here: the path is that of our
// descriptor (SelfFds).
#include <linux/limits.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cstring>

#include "gofer/server/session.h"

namespace sandboxd::gofer {
namespace {

Result<void> CheckXattrName(const std::string& name) {
  if (name.empty() || name.size() > XATTR_NAME_MAX) return Errno::kERANGE;
  if (name.find('\0') != name.npos) return Errno::kEINVAL;
  return Ok();
}

// Calls `get(buffer, size)` into `data`, or only for the size. Returns the size.
template <typename Get>
Result<uint32_t> Fetch(Get get, uint32_t size, uint32_t limit, std::vector<std::byte>& data) {
  // Never more than is allowed at all: the client chose `size`.
  data.resize(std::min(size, limit));
  ssize_t n = get(data.data(), data.size());
  if (n < 0) return LastError();
  data.resize(std::min(data.size(), static_cast<size_t>(n)));
  return static_cast<uint32_t>(n);
}

}  // namespace

Result<Rxattrwalk> Session::Handle(const Txattrwalk& request) {
  Ref<Node> node = TRY(fids_.GetNode(request.fid));
  if (request.newfid != request.fid) TRY(fids_.CheckFree(request.newfid));
  std::string path = PathOf(*node);
  auto get = [&](void* to, size_t size) {
    return request.name.empty() ? ::listxattr(path.c_str(), static_cast<char*>(to), size)
                                : ::getxattr(path.c_str(), request.name.c_str(), to, size);
  };
  if (!request.name.empty()) TRY(CheckXattrName(request.name));
  if (xattr_fids_ >= kMaxXattrFids) return Errno::kEMFILE;
  auto xattr = std::make_unique<XattrIo>(xattr_fids_);
  xattr->name = request.name;
  uint32_t size = TRY(Fetch(get, XATTR_SIZE_MAX, XATTR_SIZE_MAX, xattr->value));
  fids_.Set(request.newfid, Fid{.node = std::move(node), .xattr = std::move(xattr)});
  return Rxattrwalk{size};
}

Result<Rxattrcreate> Session::Handle(const Txattrcreate& request) {
  TRY(CheckWritable());
  Fid* fid = TRY(fids_.Get(request.fid));
  TRY(CheckXattrName(request.name));
  if (fid->open.valid() || fid->xattr) return Errno::kEINVAL;
  if (request.size > XATTR_SIZE_MAX) return Errno::kE2BIG;
  if (xattr_fids_ >= kMaxXattrFids) return Errno::kEMFILE;
  fid->xattr = std::make_unique<XattrIo>(xattr_fids_);
  fid->xattr->name = request.name;
  fid->xattr->writing = true;
  fid->xattr->size = request.size;
  fid->xattr->flags = request.flags;
  return Rxattrcreate{};
}

// Linux's v9fs removes an attribute by creating it with size 0.
Result<void> Session::FinishXattr(const Fid& fid) const {
  if (!fid.xattr || !fid.xattr->writing) return Ok();
  const XattrIo& xattr = *fid.xattr;
  std::string path = PathOf(*fid.node);
  if (xattr.value.size() != xattr.size) return Errno::kEIO;
  if (xattr.size == 0) return CheckHost(::removexattr(path.c_str(), xattr.name.c_str()));
  return CheckHost(::setxattr(path.c_str(), xattr.name.c_str(), xattr.value.data(),
                              xattr.value.size(), static_cast<int>(xattr.flags)));
}

Result<Rgetxattr> Session::Handle(const Tgetxattr& request) {
  Ref<Node> node = TRY(fids_.GetNode(request.fid));
  TRY(CheckXattrName(request.name));
  std::string path = PathOf(*node);
  auto get = [&](void* to, size_t size) {
    return ::getxattr(path.c_str(), request.name.c_str(), to, size);
  };
  uint32_t size = TRY(Fetch(get, request.size, msize_ - kIoHeaderSize, data_));
  return Rgetxattr{.size = size, .value = {data_}};
}

Result<Rsetxattr> Session::Handle(const Tsetxattr& request) {
  TRY(CheckWritable());
  Ref<Node> node = TRY(fids_.GetNode(request.fid));
  TRY(CheckXattrName(request.name));
  ConstBytes value = request.value.bytes;
  TRY(CheckHost(::setxattr(PathOf(*node).c_str(), request.name.c_str(), value.data(), value.size(),
                           static_cast<int>(request.flags))));
  return Rsetxattr{};
}

Result<Rlistxattr> Session::Handle(const Tlistxattr& request) {
  Ref<Node> node = TRY(fids_.GetNode(request.fid));
  std::string path = PathOf(*node);
  auto list = [&](void* to, size_t size) {
    return ::listxattr(path.c_str(), static_cast<char*>(to), size);
  };
  uint32_t size = TRY(Fetch(list, request.size, msize_ - kIoHeaderSize, data_));
  return Rlistxattr{.size = size, .names = {data_}};
}

Result<Rremovexattr> Session::Handle(const Tremovexattr& request) {
  TRY(CheckWritable());
  Ref<Node> node = TRY(fids_.GetNode(request.fid));
  TRY(CheckXattrName(request.name));
  TRY(CheckHost(::removexattr(PathOf(*node).c_str(), request.name.c_str())));
  return Rremovexattr{};
}

}  // namespace sandboxd::gofer
