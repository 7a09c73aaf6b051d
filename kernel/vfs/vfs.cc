#include "kernel/vfs/vfs.h"

#include <sys/stat.h>

#include <atomic>
#include <map>

#include "kernel/vfs/anon_fs.h"

namespace sandboxd::vfs {

struct Vfs::Registries {
  // Filled before the first task, read without a lock.
  std::map<std::string, std::unique_ptr<FilesystemType>, std::less<>> filesystems;
  std::map<std::pair<uint32_t, int>, DeviceOpener> char_devices;
  FifoOpener fifo_opener;
  MemfdOpener memfd_opener;
  Ref<vfs::Mount> anonymous;
};

Vfs::Vfs() : registries_(std::make_unique<Registries>()) {
  registries_->anonymous =
      MakeRef<vfs::Mount>(MakeRef<AnonSuperblock>(), Ref<Dentry>(), kMountNoSuid, "none");
}

Vfs::~Vfs() = default;

void Vfs::RegisterFilesystem(std::unique_ptr<FilesystemType> type) {
  std::string name(type->name());
  registries_->filesystems[name] = std::move(type);
}

FilesystemType* Vfs::FindFilesystem(std::string_view name) const {
  auto it = registries_->filesystems.find(name);
  return it == registries_->filesystems.end() ? nullptr : it->second.get();
}

std::vector<const FilesystemType*> Vfs::filesystems() const {
  std::vector<const FilesystemType*> all;
  for (const auto& [name, type] : registries_->filesystems) all.push_back(type.get());
  return all;
}

void Vfs::RegisterCharDevice(uint32_t major, int minor, DeviceOpener opener) {
  registries_->char_devices[{major, minor}] = std::move(opener);
}

Result<Ref<File>> Vfs::OpenCharDevice(Caller& c, const Path& path, DeviceNumber dev,
                                      int flags) const {
  const auto& devices = registries_->char_devices;
  auto it = devices.find({dev.major, static_cast<int>(dev.minor)});
  if (it == devices.end()) it = devices.find({dev.major, -1});
  if (it == devices.end()) return Errno::kENXIO;
  return it->second(c, path, dev, flags);
}

void Vfs::SetFifoOpener(FifoOpener opener) { registries_->fifo_opener = std::move(opener); }

Result<Ref<File>> Vfs::OpenFifo(Caller& c, const Path& path, int flags) const {
  if (!registries_->fifo_opener) return Errno::kENXIO;
  return registries_->fifo_opener(c, path, flags);
}

void Vfs::SetMemfdOpener(MemfdOpener opener) { registries_->memfd_opener = std::move(opener); }

Result<Ref<File>> Vfs::OpenMemfd(Caller& c, std::string_view name,
                                 const MemfdRequest& request) const {
  if (!registries_->memfd_opener) return Errno::kENOSYS;
  return registries_->memfd_opener(c, name, request);
}

Result<Ref<vfs::Mount>> Vfs::NewMount(Ref<Superblock> superblock, uint32_t flags,
                                      std::string source) {
  return MakeRef<vfs::Mount>(std::move(superblock), Ref<Dentry>(), flags, std::move(source));
}

Path Vfs::AnonymousPath(std::string_view name, uint32_t mode) {
  const Ref<vfs::Mount>& mount = registries_->anonymous;
  auto& superblock = static_cast<AnonSuperblock&>(*mount->superblock());
  return Path(mount, Dentry::MakeRoot(superblock.NewInode(mode), std::string(name)));
}

namespace {

// Null `root`: the top of everything.
std::string PathText(const Path& path, const Path* root) {
  std::string text;
  bool deleted = path.dentry != path.mount->root() && path.dentry->deleted();
  bool reached_root = root == nullptr;
  Path at = path;
  while (root == nullptr || !(at == *root)) {
    if (at.dentry == at.mount->root()) {
      Path place = at.mount->place();
      if (!place) break;
      at = std::move(place);
      continue;
    }
    Ref<Dentry> up = at.dentry->parent();
    std::string name = at.dentry->name();
    // A dentry of its own, as the internal file system makes them: no tree above.
    if (up == nullptr) return deleted ? name + " (deleted)" : name;
    text.insert(0, "/" + name);
    at.dentry = std::move(up);
  }
  if (root != nullptr) reached_root = at == *root;
  if (text.empty()) text = "/";
  if (!reached_root) text.insert(0, "(unreachable)");
  if (deleted) text += " (deleted)";
  return text;
}

}  // namespace

std::string Vfs::PathString(const Path& path, const Path& root) const {
  return PathText(path, &root);
}

std::string FullPathString(const Path& path) { return PathText(path, nullptr); }

}  // namespace sandboxd::vfs
