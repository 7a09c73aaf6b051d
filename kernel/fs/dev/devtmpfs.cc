#include <sys/stat.h>

#include "kernel/fs/dev/dev.h"
#include "kernel/fs/tmpfs/tmpfs.h"

namespace sandboxd::dev {

namespace {

struct Node {
  const char* name;
  uint32_t major, minor;
  uint32_t mode;
  uint32_t gid;
};
constexpr uint32_t kTtyGroup = 5;
constexpr Node kNodes[] = {
    {"null", 1, 3, 0666, 0},
    {"zero", 1, 5, 0666, 0},
    {"full", 1, 7, 0666, 0},
    {"random", 1, 8, 0666, 0},
    {"urandom", 1, 9, 0666, 0},
    {"tty", 5, 0, 0666, kTtyGroup},
    {"console", 5, 1, 0620, kTtyGroup},
};
constexpr const char* kLinks[][2] = {
    {"ptmx", "pts/ptmx"},          {"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"},
    {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"},
};
constexpr struct {
  const char* name;
  uint32_t mode;
} kFolders[] = {{"pts", 0755}, {"shm", 01777}, {"mqueue", 01777}};

Result<void> Populate(vfs::Inode& root) {
  for (const Node& n : kNodes) {
    vfs::NewNode node{S_IFCHR | n.mode, creds::kRootUid, creds::KGid(n.gid), {n.major, n.minor}};
    TRY(root.Create(n.name, node));
  }
  for (const auto& [name, target] : kLinks) {
    TRY(root.Symlink(name, target, {S_IFLNK | 0777, creds::kRootUid, creds::kRootGid, {}}));
  }
  for (const auto& folder : kFolders) {
    TRY(root.Mkdir(folder.name, {S_IFDIR | folder.mode, creds::kRootUid, creds::kRootGid, {}}));
  }
  return Ok();
}

Result<Ref<vfs::Superblock>> Create(tmpfs::MemoryFiles& memory, std::string_view options) {
  tmpfs::Options defaults;
  defaults.mode = 0755;
  tmpfs::Options parsed = TRY(tmpfs::ParseOptions(options, defaults));
  auto superblock = MakeRef<tmpfs::TmpfsSuperblock>("devtmpfs", parsed, memory);
  TRY(Populate(*superblock->RootInode()));
  return Ref<vfs::Superblock>(std::move(superblock));
}

}  // namespace

Result<Ref<vfs::Superblock>> DevtmpfsType::Mount(vfs::Caller&, std::string_view,
                                                 std::string_view options) {
  return Create(memory_, options);
}

Result<Ref<vfs::Superblock>> CreateDevtmpfs(tmpfs::MemoryFiles& memory) {
  return Create(memory, "");
}

}  // namespace sandboxd::dev
