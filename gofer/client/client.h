// The gofer's client: files on the other side of a socket, by fids and host descriptors.
// gofer/protocol says what each request means. Thread-safe; every call is one round trip.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gofer/client/connection.h"
#include "gofer/protocol/messages.h"
#include "platform/base/mutex.h"
#include "platform/base/result.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::gofer {

class Client;

// The gofer's handle for a file. Released when destroyed, some time later and together with others
// (Client::FlushReleased). The client outlives it.
class FidHandle {
 public:
  FidHandle() = default;
  FidHandle(Client* client, uint32_t number) : client_(client), number_(number) {}
  FidHandle(FidHandle&& other) noexcept
      : client_(other.client_), number_(std::exchange(other.number_, kNoFid)) {}
  FidHandle& operator=(FidHandle&& other) noexcept {
    Reset();
    client_ = other.client_;
    number_ = std::exchange(other.number_, kNoFid);
    return *this;
  }
  ~FidHandle() { Reset(); }

  void Reset();
  bool valid() const { return number_ != kNoFid; }
  uint32_t number() const { return number_; }

 private:
  Client* client_ = nullptr;
  uint32_t number_ = kNoFid;
};

struct File {
  FidHandle fid;
  Stat stat;
};

struct OpenedFile {
  FidHandle fid;
  Stat stat;
  UniqueFd host;  // a regular file's host descriptor
};

// How far a walk got: `error` says what happened at names[files.size()], if anything did.
struct WalkResult {
  std::vector<File> files;
  std::optional<Errno> error;
};

struct NewFile {
  uint32_t mode = 0;  // with the S_IFMT bits
  uint32_t uid = kNoUid;
  uint32_t gid = kNoUid;
  uint64_t rdev = 0;        // S_IFCHR, S_IFBLK
  std::string_view target;  // S_IFLNK
  uint32_t flags = 0;       // S_IFREG: access mode, O_EXCL, O_TRUNC, O_TMPFILE
};

class Client {
 public:
  // Negotiates the version. EPROTONOSUPPORT if the server does not speak our extension.
  static Result<std::unique_ptr<Client>> Connect(UniqueFd socket);

  // The root of what the connection serves.
  Result<File> Attach();

  Result<File> Walk(const FidHandle& dir, std::string_view name);
  // Any number of names. Symlinks are not followed: a step through one is ENOTDIR or ELOOP.
  Result<WalkResult> Walk(const FidHandle& dir, const std::vector<std::string>& names);
  // Walks and opens a regular file.
  Result<OpenedFile> WalkOpen(const FidHandle& dir, const std::vector<std::string>& names,
                              uint32_t flags);
  // A host descriptor of its own for a regular file.
  Result<UniqueFd> Open(const FidHandle& file, uint32_t flags);
  // `host` of the result is set for a regular file.
  Result<OpenedFile> Make(const FidHandle& dir, std::string_view name, const NewFile& file);

  Result<Stat> GetStat(const FidHandle& file);
  // change.fid is ignored.
  Result<void> SetAttr(const FidHandle& file, Tsetattr change);
  Result<Rstatfs> StatFs(const FidHandle& file);
  Result<std::string> ReadLink(const FidHandle& file);
  Result<void> Fsync(const FidHandle& file);

  // Entries from `offset` on (0, or an entry's offset), "." and ".." among them; none at the end.
  Result<std::vector<DirEntry>> ReadDir(const FidHandle& dir, uint64_t offset);

  // The same, with the attributes of all but ".", ".." and what went away meanwhile.
  Result<std::vector<DirEntryStat>> ReadDirStat(const FidHandle& dir, uint64_t offset);

  Result<void> Link(const FidHandle& dir, std::string_view name, const FidHandle& file);
  // `flags` as renameat2(2).
  Result<void> Rename(const FidHandle& old_dir, std::string_view old_name, const FidHandle& new_dir,
                      std::string_view new_name, uint32_t flags);
  // `flags`: 0 or AT_REMOVEDIR.
  Result<void> Unlink(const FidHandle& dir, std::string_view name, uint32_t flags);

  Result<std::vector<std::byte>> GetXattr(const FidHandle& file, std::string_view name);
  Result<void> SetXattr(const FidHandle& file, std::string_view name, ConstBytes value,
                        uint32_t flags);
  // Names, each ended by a NUL.
  Result<std::vector<std::byte>> ListXattr(const FidHandle& file);
  Result<void> RemoveXattr(const FidHandle& file, std::string_view name);

  // Lets the gofer forget released fids now. Needed where it matters that a removed file's space is
  // given back, and in tests.
  void FlushReleased();

 private:
  friend class FidHandle;
  static constexpr size_t kReleaseBatch = 32;

  explicit Client(UniqueFd socket) : connection_(std::move(socket)) {}

  template <typename Response>
  struct Answer {
    Response message;  // its Blob, if any, points into reply.frame
    Reply reply;
  };
  template <typename Request, typename Response>
  Result<Answer<Response>> Call(const Request& request);

  template <typename Request, typename Response, typename Entry>
  Result<std::vector<Entry>> ReadEntries(const FidHandle& dir, uint64_t offset);

  FidHandle NewFid();
  void Release(uint32_t number);

  Connection connection_;
  uint32_t message_size_ = 0;

  Mutex fids_mutex_{LockRank::kLeaf};
  uint32_t next_fid_ GUARDED_BY(fids_mutex_) = 0;
  std::vector<uint32_t> free_ GUARDED_BY(fids_mutex_);
  std::vector<uint32_t> released_ GUARDED_BY(fids_mutex_);
};

}  // namespace sandboxd::gofer
