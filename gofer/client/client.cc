#include "gofer/client/client.h"

#include <sys/stat.h>

#include "gofer/protocol/codec.h"
#include "platform/base/log.h"

namespace sandboxd::gofer {
namespace {

// The largest extended attribute value or list that Linux allows, XATTR_SIZE_MAX.
constexpr uint32_t kXattrSizeMax = 65536;

// What the gofer says went wrong. It is not trusted to stay within Linux's numbers.
Errno ErrorOf(uint32_t number) { return FromHostErrno(static_cast<int>(number)); }

}  // namespace

void FidHandle::Reset() {
  if (valid()) client_->Release(std::exchange(number_, kNoFid));
}

Result<std::unique_ptr<Client>> Client::Connect(UniqueFd socket) {
  std::unique_ptr<Client> client(new Client(std::move(socket)));
  // Large enough for the largest xattr; nothing else is large.
  auto answer = TRY(
      (client->Call<Tversion, Rversion>({.msize = kMaxMessageSize, .version = kVersionSandboxd})));
  if (answer.message.version != kVersionSandboxd) return Errno::kEPROTONOSUPPORT;
  if (answer.message.msize < kMinMessageSize || answer.message.msize > kMaxMessageSize) {
    return Errno::kEPROTO;
  }
  client->message_size_ = answer.message.msize;
  client->connection_.SetMessageSize(answer.message.msize);
  return client;
}

template <typename Request, typename Response>
Result<Client::Answer<Response>> Client::Call(const Request& request) {
  static_assert(Response::kType == ResponseTo(Request::kType));
  std::vector<std::byte> bytes;
  TRY(EncodeFrame(0, request, bytes));
  Answer<Response> answer;
  answer.reply = TRY(connection_.Exchange(std::move(bytes)));
  Frame frame = TRY(DecodeFrame(answer.reply.frame));
  if (frame.type == MessageType::kRlerror) {
    return ErrorOf(TRY(DecodeBody<Rlerror>(frame.body)).error);
  }
  if (frame.type != Response::kType) return Errno::kEPROTO;
  answer.message = TRY(DecodeBody<Response>(frame.body));
  return answer;
}

FidHandle Client::NewFid() {
  MutexLock lock(fids_mutex_);
  if (free_.empty()) return FidHandle(this, next_fid_++);
  uint32_t number = free_.back();
  free_.pop_back();
  return FidHandle(this, number);
}

void Client::Release(uint32_t number) {
  {
    MutexLock lock(fids_mutex_);
    released_.push_back(number);
    if (released_.size() < kReleaseBatch) return;
  }
  FlushReleased();
}

void Client::FlushReleased() {
  Tclunkmany request;
  {
    MutexLock lock(fids_mutex_);
    if (released_.empty()) return;
    request.fids.swap(released_);
  }
  std::vector<std::byte> bytes;
  // MUST: a batch is far below the 65535 elements of a list. On a broken connection the numbers
  // don't matter any more.
  MUST(EncodeFrame(0, request, bytes));
  if (!connection_.Post(std::move(bytes)).ok()) return;
  // The gofer handles requests in the order in which they were sent, so a number may be used again
  // as soon as its release has been.
  MutexLock lock(fids_mutex_);
  free_.insert(free_.end(), request.fids.begin(), request.fids.end());
}

Result<File> Client::Attach() {
  File root{.fid = NewFid()};
  TRY((Call<Tattach, Rattach>({.fid = root.fid.number()})));
  root.stat = TRY(GetStat(root.fid));
  return root;
}

Result<File> Client::Walk(const FidHandle& dir, std::string_view name) {
  WalkResult result = TRY(Walk(dir, std::vector<std::string>{std::string(name)}));
  if (result.error) return *result.error;
  return std::move(result.files[0]);
}

Result<WalkResult> Client::Walk(const FidHandle& dir, const std::vector<std::string>& names) {
  Twalkgetattr request{.fid = dir.number()};
  std::vector<FidHandle> fids;
  for (const std::string& name : names) {
    fids.push_back(NewFid());
    request.steps.push_back({.newfid = fids.back().number(), .name = name});
  }
  auto answer = TRY((Call<Twalkgetattr, Rwalkgetattr>(request)));
  const Rwalkgetattr& message = answer.message;
  bool complete = message.stats.size() == names.size();
  if (message.stats.size() > names.size() || complete != (message.error == 0)) {
    return Errno::kEPROTO;
  }
  WalkResult result;
  for (size_t i = 0; i < message.stats.size(); ++i) {
    result.files.push_back({std::move(fids[i]), message.stats[i]});
  }
  if (!complete) result.error = ErrorOf(message.error);
  return result;
}

Result<OpenedFile> Client::WalkOpen(const FidHandle& dir, const std::vector<std::string>& names,
                                    uint32_t flags) {
  OpenedFile file{.fid = NewFid()};
  auto answer = TRY((Call<Twalkopen, Rwalkopen>(
      {.fid = dir.number(), .newfid = file.fid.number(), .flags = flags, .names = names})));
  if (answer.message.error != 0) return ErrorOf(answer.message.error);
  if (names.empty() || answer.message.stats.size() != names.size()) return Errno::kEPROTO;
  if (!answer.reply.donated.valid()) return Errno::kEPROTO;
  file.stat = answer.message.stats.back();
  file.host = std::move(answer.reply.donated);
  return file;
}

Result<UniqueFd> Client::Open(const FidHandle& file, uint32_t flags) {
  auto answer = TRY((Call<Topenfd, Ropenfd>({.fid = file.number(), .flags = flags})));
  if (!answer.reply.donated.valid()) return Errno::kEPROTO;
  return std::move(answer.reply.donated);
}

Result<OpenedFile> Client::Make(const FidHandle& dir, std::string_view name, const NewFile& file) {
  OpenedFile made{.fid = NewFid()};
  auto answer = TRY((Call<Tmake, Rmake>({.dfid = dir.number(),
                                         .newfid = made.fid.number(),
                                         .name = std::string(name),
                                         .mode = file.mode,
                                         .uid = file.uid,
                                         .gid = file.gid,
                                         .rdev = file.rdev,
                                         .target = std::string(file.target),
                                         .flags = file.flags})));
  made.stat = answer.message.stat;
  made.host = std::move(answer.reply.donated);
  if (S_ISREG(file.mode) != made.host.valid()) return Errno::kEPROTO;
  return made;
}

Result<Stat> Client::GetStat(const FidHandle& file) {
  return TRY((Call<Tstat, Rstat>({file.number()}))).message.stat;
}

Result<void> Client::SetAttr(const FidHandle& file, Tsetattr change) {
  change.fid = file.number();
  TRY((Call<Tsetattr, Rsetattr>(change)));
  return Ok();
}

Result<Rstatfs> Client::StatFs(const FidHandle& file) {
  return TRY((Call<Tstatfs, Rstatfs>({file.number()}))).message;
}

Result<std::string> Client::ReadLink(const FidHandle& file) {
  return TRY((Call<Treadlink, Rreadlink>({file.number()}))).message.target;
}

Result<void> Client::Fsync(const FidHandle& file) {
  TRY((Call<Tfsync, Rfsync>({.fid = file.number()})));
  return Ok();
}

template <typename Request, typename Response, typename Entry>
Result<std::vector<Entry>> Client::ReadEntries(const FidHandle& dir, uint64_t offset) {
  uint32_t count = std::min(message_size_, kDefaultMessageSize) - kIoHeaderSize;
  Request request{.fid = dir.number(), .offset = offset, .count = count};
  auto answer = TRY((Call<Request, Response>(request)));
  std::vector<Entry> entries;
  Decoder decoder(answer.message.data.bytes);
  while (decoder.ok() && decoder.remaining() != 0) {
    Entry entry;
    decoder(entry);
    entries.push_back(std::move(entry));
  }
  if (!decoder.ok()) return Errno::kEPROTO;
  return entries;
}

Result<std::vector<DirEntry>> Client::ReadDir(const FidHandle& dir, uint64_t offset) {
  return ReadEntries<Treaddir, Rreaddir, DirEntry>(dir, offset);
}

Result<std::vector<DirEntryStat>> Client::ReadDirStat(const FidHandle& dir, uint64_t offset) {
  return ReadEntries<Treaddirstat, Rreaddirstat, DirEntryStat>(dir, offset);
}

Result<void> Client::Link(const FidHandle& dir, std::string_view name, const FidHandle& file) {
  TRY((
      Call<Tlink, Rlink>({.dfid = dir.number(), .fid = file.number(), .name = std::string(name)})));
  return Ok();
}

Result<void> Client::Rename(const FidHandle& old_dir, std::string_view old_name,
                            const FidHandle& new_dir, std::string_view new_name, uint32_t flags) {
  TRY((Call<Trename2, Rrename2>({.olddirfid = old_dir.number(),
                                 .oldname = std::string(old_name),
                                 .newdirfid = new_dir.number(),
                                 .newname = std::string(new_name),
                                 .flags = flags})));
  return Ok();
}

Result<void> Client::Unlink(const FidHandle& dir, std::string_view name, uint32_t flags) {
  TRY((Call<Tunlinkat, Runlinkat>(
      {.dirfid = dir.number(), .name = std::string(name), .flags = flags})));
  return Ok();
}

Result<std::vector<std::byte>> Client::GetXattr(const FidHandle& file, std::string_view name) {
  auto answer = TRY((Call<Tgetxattr, Rgetxattr>(
      {.fid = file.number(), .name = std::string(name), .size = kXattrSizeMax})));
  ConstBytes value = answer.message.value.bytes;
  return std::vector<std::byte>(value.begin(), value.end());
}

Result<void> Client::SetXattr(const FidHandle& file, std::string_view name, ConstBytes value,
                              uint32_t flags) {
  TRY((Call<Tsetxattr, Rsetxattr>(
      {.fid = file.number(), .name = std::string(name), .flags = flags, .value = {value}})));
  return Ok();
}

Result<std::vector<std::byte>> Client::ListXattr(const FidHandle& file) {
  auto answer = TRY((Call<Tlistxattr, Rlistxattr>({.fid = file.number(), .size = kXattrSizeMax})));
  ConstBytes names = answer.message.names.bytes;
  return std::vector<std::byte>(names.begin(), names.end());
}

Result<void> Client::RemoveXattr(const FidHandle& file, std::string_view name) {
  TRY((Call<Tremovexattr, Rremovexattr>({.fid = file.number(), .name = std::string(name)})));
  return Ok();
}

}  // namespace sandboxd::gofer
