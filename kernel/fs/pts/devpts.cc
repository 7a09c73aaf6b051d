#include "kernel/fs/pts/devpts.h"

#include <dirent.h>
#include <linux/magic.h>
#include <sys/stat.h>

#include <charconv>

#include "kernel/fs/pts/terminal_files.h"
#include "kernel/vfs/caller.h"
#include "kernel/vfs/mount.h"
#include "platform/base/format.h"

namespace sandboxd::pts {
namespace {

constexpr vfs::DeviceNumber kTtyDevice{5, 0};
constexpr vfs::DeviceNumber kPtmxDevice{5, 2};
constexpr uint32_t kSlaveMajor = 136;
constexpr uint64_t kRootIno = 1, kPtmxIno = 2, kFirstSlaveIno = 3;

// An inode whose attributes are all there is to it.
class PtsInode : public vfs::Inode {
 public:
  Result<vfs::Attr> GetAttr() override {
    MutexLock lock(mutex_);
    return attr_;
  }
  Result<void> SetAttr(const vfs::SetAttr& set) override {
    MutexLock lock(mutex_);
    if (set.mode) attr_.mode = type() | (*set.mode & 07777);
    if (set.uid) attr_.uid = *set.uid;
    if (set.gid) attr_.gid = *set.gid;
    if (set.atime) attr_.atime = *set.atime;
    if (set.mtime) attr_.mtime = *set.mtime;
    attr_.ctime = vfs::Time::NowCoarse();
    return Ok();
  }

 protected:
  PtsInode(vfs::Superblock& superblock, uint64_t ino, uint32_t mode, vfs::DeviceNumber rdev,
           vfs::KUid uid, vfs::KGid gid)
      : Inode(superblock, ino, mode) {
    attr_.ino = ino;
    attr_.mode = mode;
    attr_.nlink = S_ISDIR(mode) ? 2 : 1;
    attr_.rdev = rdev;
    attr_.uid = uid;
    attr_.gid = gid;
    attr_.blksize = 1024;
    attr_.atime = attr_.mtime = attr_.ctime = vfs::Time::NowCoarse();
  }

 private:
  mutable Mutex mutex_{LockRank::kInode};
  vfs::Attr attr_ GUARDED_BY(mutex_);
};

class DirectoryFile final : public vfs::File {
 public:
  DirectoryFile(vfs::Path path, int flags) : File(std::move(path), flags) {}
  bool seekable() const override { return true; }

  // Offsets: 0 ".", 1 "..", 2 ptmx, 3 + N for slave N.
  Result<void> ReadDir(vfs::Caller&, const vfs::DirSink& sink) override {
    auto& devpts = static_cast<DevPts&>(inode()->superblock());
    MutexLock lock(position_mutex_);
    auto offer = [&](std::string_view name, uint64_t ino, uint8_t type, int64_t offset) {
      if (position() > offset) return true;
      if (!sink({name, ino, type, offset + 1})) return false;
      position_.store(offset + 1, std::memory_order_relaxed);
      return true;
    };
    if (!offer(".", kRootIno, DT_DIR, 0) || !offer("..", kRootIno, DT_DIR, 1) ||
        !offer("ptmx", kPtmxIno, DT_CHR, 2)) {
      return Ok();
    }
    for (uint32_t index : devpts.List()) {
      if (!offer(std::to_string(index), kFirstSlaveIno + index, DT_CHR, 3 + int64_t{index})) break;
    }
    return Ok();
  }
};

class RootDirectory final : public PtsInode {
 public:
  explicit RootDirectory(DevPts& devpts)
      : PtsInode(devpts, kRootIno, S_IFDIR | 0755, {}, creds::kRootUid, creds::kRootGid),
        devpts_(devpts) {}
  Result<Ref<vfs::Inode>> Lookup(std::string_view name) override {
    Ref<vfs::Inode> found = devpts_.Find(name);
    if (found == nullptr) return Errno::kENOENT;
    return found;
  }
  bool IsVolatile(std::string_view name) const override { return name != "ptmx"; }
  Result<Ref<vfs::File>> Open(vfs::Caller&, const vfs::Path& path, int flags) override {
    return Ref<vfs::File>(MakeRef<DirectoryFile>(path, flags));
  }

 private:
  DevPts& devpts_;  // holds us
};

class PtmxInode final : public PtsInode {
 public:
  PtmxInode(DevPts& devpts, uint32_t mode)
      : PtsInode(devpts, kPtmxIno, S_IFCHR | mode, kPtmxDevice, creds::kRootUid, creds::kRootGid) {}
  Result<Ref<vfs::File>> Open(vfs::Caller& c, const vfs::Path& path, int flags) override {
    Ref<vfs::Dentry> root = path.dentry->parent();
    if (root == nullptr) return Errno::kENODEV;  // ptmx alone, bound somewhere else
    return MasterFile::Open(c, path, flags, vfs::Path(path.mount, std::move(root)));
  }
};

std::optional<uint32_t> ParseNumber(std::string_view text, int base) {
  uint32_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

bool ApplyOption(std::string_view key, std::string_view value, DevPtsOptions& o) {
  if (key == "newinstance" || key == "rw" || key == "ro") return value.empty();
  auto number = ParseNumber(value, key.ends_with("mode") ? 8 : 10);
  if (!number.has_value()) return false;
  if (key == "uid") {
    o.uid = vfs::KUid(*number);
  } else if (key == "gid") {
    o.gid = vfs::KGid(*number);
  } else if (key == "mode") {
    o.mode = *number & 0777;
  } else if (key == "ptmxmode") {
    o.ptmx_mode = *number & 0777;
  } else if (key == "max") {
    if (*number > o.max) return false;
    o.max = *number;
  } else {
    return false;
  }
  return true;
}

}  // namespace

class SlaveInode final : public PtsInode {
 public:
  SlaveInode(DevPts& devpts, Ref<Terminal> terminal, uint32_t mode, vfs::KUid uid, vfs::KGid gid)
      : PtsInode(devpts, kFirstSlaveIno + terminal->index(), S_IFCHR | mode,
                 {kSlaveMajor, terminal->index()}, uid, gid),
        devpts_(devpts),
        terminal_(std::move(terminal)) {}
  Result<Ref<vfs::File>> Open(vfs::Caller& c, const vfs::Path& path, int flags) override {
    return SlaveFile::Open(c, path, flags, terminal_, devpts_.job_control());
  }

 private:
  DevPts& devpts_;  // outlives its inodes
  const Ref<Terminal> terminal_;
};

DevPts::DevPts(const DevPtsOptions& options, JobControl* jobs, time::TimerService* timers)
    : options_(options),
      jobs_(jobs),
      timers_(timers),
      pool_(MakeRef<IndexPool>(options.max)),
      root_(MakeRef<RootDirectory>(*this)),
      ptmx_(MakeRef<PtmxInode>(*this, options.ptmx_mode)) {}

DevPts::~DevPts() = default;

DevPts* DevPts::Of(vfs::Inode& inode) {
  vfs::Superblock& superblock = inode.superblock();
  if (superblock.type_name() != kTypeName) return nullptr;
  return static_cast<DevPts*>(&superblock);
}

Result<vfs::FsStat> DevPts::StatFs() {
  vfs::FsStat s;
  s.type = DEVPTS_SUPER_MAGIC;
  return s;
}

std::string DevPts::OptionsString() const {
  std::string text;
  if (options_.uid) text += StrFormat("uid=%u,", options_.uid->value);
  if (options_.gid) text += StrFormat("gid=%u,", options_.gid->value);
  return text + StrFormat("mode=%03o,ptmxmode=%03o", options_.mode, options_.ptmx_mode);
}

Result<Ref<Terminal>> DevPts::NewTerminal(vfs::KUid uid, vfs::KGid gid) {
  Ref<Terminal> terminal = TRY(Terminal::Create(pool_, jobs_, timers_));
  auto inode = MakeRef<SlaveInode>(*this, terminal, options_.mode, options_.uid.value_or(uid),
                                   options_.gid.value_or(gid));
  MutexLock lock(mutex_);
  slaves_[terminal->index()] = std::move(inode);
  return terminal;
}

void DevPts::CloseTerminal(Terminal& terminal) {
  Ref<SlaveInode> gone;
  {
    MutexLock lock(mutex_);
    auto found = slaves_.find(terminal.index());
    if (found != slaves_.end()) {
      gone = std::move(found->second);
      slaves_.erase(found);
    }
  }
  terminal.MasterClose();
}

Ref<vfs::Inode> DevPts::Find(std::string_view name) {
  if (name == "ptmx") return ptmx_;
  auto index = ParseNumber(name, 10);
  if (!index.has_value() || std::to_string(*index) != name) return nullptr;
  MutexLock lock(mutex_);
  auto found = slaves_.find(*index);
  if (found == slaves_.end()) return nullptr;
  return Ref<vfs::Inode>(found->second);
}

std::vector<uint32_t> DevPts::List() const {
  std::vector<uint32_t> indices;
  MutexLock lock(mutex_);
  for (const auto& [index, inode] : slaves_) indices.push_back(index);
  return indices;
}

Result<DevPtsOptions> ParseOptions(std::string_view text) {
  DevPtsOptions o;
  while (!text.empty()) {
    std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    if (item.empty()) continue;
    size_t equals = item.find('=');
    std::string_view value =
        equals == std::string_view::npos ? std::string_view() : item.substr(equals + 1);
    if (!ApplyOption(item.substr(0, equals), value, o)) return Errno::kEINVAL;
  }
  return o;
}

Result<Ref<vfs::Superblock>> DevPtsType::Mount(vfs::Caller&, std::string_view,
                                               std::string_view options) {
  return Ref<vfs::Superblock>(MakeRef<DevPts>(TRY(ParseOptions(options)), jobs_, timers_));
}

void RegisterTerminalDevices(vfs::Vfs& vfs, JobControl* jobs) {
  vfs.RegisterCharDevice(kTtyDevice.major, static_cast<int>(kTtyDevice.minor),
                         [jobs](vfs::Caller& c, const vfs::Path& path, vfs::DeviceNumber,
                                int flags) -> Result<Ref<vfs::File>> {
                           Ref<Terminal> terminal =
                               jobs != nullptr ? jobs->ControllingTerminal(c) : nullptr;
                           if (terminal == nullptr) return Errno::kENXIO;
                           return SlaveFile::Open(c, path, flags, std::move(terminal), nullptr);
                         });
  vfs.RegisterCharDevice(
      kPtmxDevice.major, static_cast<int>(kPtmxDevice.minor),
      [](vfs::Caller& c, const vfs::Path& path, vfs::DeviceNumber,
         int flags) -> Result<Ref<vfs::File>> {
        if (DevPts::Of(*path.dentry->inode()) != nullptr) {
          return path.dentry->inode()->Open(c, path, flags);
        }
        Ref<vfs::Dentry> parent = path.dentry->parent();
        if (parent == nullptr) return Errno::kENODEV;
        Ref<vfs::Dentry> pts = TRY(parent->Lookup("pts"));
        if (pts->inode() == nullptr) return Errno::kENODEV;
        vfs::Path root = c.mount_namespace()->CrossDown(vfs::Path(path.mount, std::move(pts)));
        if (DevPts::Of(*root.dentry->inode()) == nullptr) return Errno::kENODEV;
        return MasterFile::Open(c, path, flags, std::move(root));
      });
}

}  // namespace sandboxd::pts
