#include "daemon/sandbox/state_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "daemon/error/fault_point.h"
#include "daemon/log/log.h"

namespace sandboxd::daemon {
namespace {

constexpr char kRecord[] = "state.pb";
constexpr char kTemporary[] = "state.pb.new";
constexpr char kDeleting[] = ".deleting.";
constexpr uint32_t kVersion = 1;

Outcome<UniqueFd> OpenDirectory(int at, const std::string& name) {
  UniqueFd fd(::openat(at, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid()) return StorageError("cannot open " + name, errno);
  return fd;
}

Outcome<void> WriteAll(int fd, const std::string& bytes) {
  if (int e = FaultPoint("state.write")) return StorageError("cannot write the state", e);
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return StorageError("cannot write the state", errno);
    done += static_cast<size_t>(n);
  }
  return {};
}

StateStore::Loaded LoadRecord(int folder, const std::string& id) {
  StateStore::Loaded loaded;
  loaded.id = id;
  UniqueFd fd(::openat(folder, kRecord, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid()) {
    loaded.problem = ErrnoText("it has no state.pb", errno);
    return loaded;
  }
  state::SandboxRecord record;
  if (!record.ParseFromFileDescriptor(fd.get()) || record.sandbox().id() != id) {
    loaded.problem = "its state.pb is damaged";
  } else if (record.version() != kVersion) {
    loaded.problem = "its state.pb has version " + std::to_string(record.version());
  } else {
    loaded.record = std::move(record);
  }
  return loaded;
}

}  // namespace

Outcome<std::unique_ptr<StateStore>> StateStore::Open(const std::string& path) {
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return StorageError("cannot make the state folder " + path, errno);
  }
  UniqueFd top(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!top.valid()) return StorageError("cannot open the state folder " + path, errno);
  UniqueFd lock(::openat(top.get(), "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock.valid()) return StorageError("cannot open " + path + "/lock", errno);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return Error(v1::ERROR_REASON_STATE_STORAGE_FAILED,
                 "the state folder " + path + " is in use by another sandboxd");
  }
  if (::mkdirat(top.get(), "sandboxes", 0700) != 0 && errno != EEXIST) {
    return StorageError("cannot make " + path + "/sandboxes", errno);
  }
  UniqueFd sandboxes = TRY(OpenDirectory(top.get(), "sandboxes"));
  return std::unique_ptr<StateStore>(new StateStore(path, std::move(lock), std::move(sandboxes)));
}

std::vector<StateStore::Loaded> StateStore::LoadAll() {
  std::vector<Loaded> all;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path_ + "/sandboxes", error)) {
    const std::string name = entry.path().filename();
    if (name.rfind(kDeleting, 0) == 0) {
      std::error_code ignored;
      std::filesystem::remove_all(entry.path(), ignored);
      continue;
    }
    auto folder = OpenDirectory(sandboxes_.get(), name);
    if (!folder.ok()) {
      DAEMON_LOG(kWarning) << "state folder: " << folder.error().message();
      continue;
    }
    all.push_back(LoadRecord(folder->get(), name));
  }
  if (error) DAEMON_LOG(kError) << "cannot list the state folder: " << error.message();
  return all;
}

Outcome<UniqueFd> StateStore::CreateFolder(const std::string& id) {
  if (int e = FaultPoint("state.folder")) return StorageError("cannot make a state folder", e);
  // A folder of this name belongs to nobody: the caller has looked in its table.
  TRY(Remove(id));
  if (::mkdirat(sandboxes_.get(), id.c_str(), 0700) != 0) {
    return StorageError("cannot make " + FolderPath(id), errno);
  }
  auto folder = OpenFolder(id);
  if (!folder.ok() || ::mkdirat(folder->get(), "io", 0700) != 0) {
    const int e = errno;
    (void)Remove(id);
    return StorageError("cannot make " + FolderPath(id) + "/io", e);
  }
  return folder;
}

Outcome<UniqueFd> StateStore::OpenFolder(const std::string& id) {
  return OpenDirectory(sandboxes_.get(), id);
}

Outcome<void> StateStore::Save(const std::string& id, const state::SandboxRecord& record,
                               Durability durability) {
  state::SandboxRecord versioned = record;
  versioned.set_version(kVersion);
  UniqueFd folder = TRY(OpenFolder(id));
  UniqueFd fd(::openat(folder.get(), kTemporary,
                       O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return StorageError("cannot write the state of " + id, errno);
  auto write = [&]() -> Outcome<void> {
    TRY(WriteAll(fd.get(), versioned.SerializeAsString()));
    if (durability == Durability::kHostCrash && ::fsync(fd.get()) != 0) {
      return StorageError("cannot write the state of " + id, errno);
    }
    if (::renameat(folder.get(), kTemporary, folder.get(), kRecord) != 0) {
      return StorageError("cannot replace the state of " + id, errno);
    }
    if (durability == Durability::kHostCrash && ::fsync(folder.get()) != 0) {
      return StorageError("cannot write the state of " + id, errno);
    }
    return {};
  };
  auto written = write();
  if (!written.ok()) ::unlinkat(folder.get(), kTemporary, 0);
  return written;
}

Outcome<void> StateStore::Remove(const std::string& id) {
  // Renamed first: a removal that is cut short leaves nothing under the name.
  static std::atomic<uint64_t> counter{0};
  const std::string doomed = kDeleting + id + "." + std::to_string(::getpid()) + "." +
                             std::to_string(counter.fetch_add(1, std::memory_order_relaxed));
  if (::renameat(sandboxes_.get(), id.c_str(), sandboxes_.get(), doomed.c_str()) != 0) {
    if (errno == ENOENT) return {};
    return StorageError("cannot remove " + FolderPath(id), errno);
  }
  std::error_code error;
  std::filesystem::remove_all(path_ + "/sandboxes/" + doomed, error);
  if (error) return StorageError("cannot remove " + FolderPath(id), error.value());
  return {};
}

}  // namespace sandboxd::daemon
