#include "gofer/server/session.h"

#include <algorithm>
#include <utility>

#include "platform/base/log.h"

namespace sandboxd::gofer {

void Session::Run() {
  for (;;) {
    Result<void> served = ServeOne();
    if (served.ok()) continue;
    // A client that is gone may leave an answer behind that it did not wait for.
    if (!served.Is(Errno::kECONNRESET) && !served.Is(Errno::kEPIPE)) {
      LOG_WARNING("session ended: %s", ErrnoMessage(served.error()));
    }
    break;
  }
  fids_.Clear();
}

Result<void> Session::ServeOne() {
  uint32_t limit = msize_ != 0 ? msize_ : kMinMessageSize;
  ReceivedFrame received = TRY(ReceiveFrame(socket_.get(), limit, request_buffer_));
  donation_ = -1;
  Result<void> answered = Dispatch(received.frame);
  donated_.Reset();
  return answered;
}

template <typename Response>
Result<void> Session::Send(uint16_t tag, const Response& response) {
  response_buffer_.clear();
  TRY(EncodeFrame(tag, response, response_buffer_));
  if (msize_ != 0 && response_buffer_.size() > msize_) return SendError(tag, Errno::kEMSGSIZE);
  return SendFrame(socket_.get(), response_buffer_, donation_);
}

Result<void> Session::SendError(uint16_t tag, Errno error) {
  response_buffer_.clear();
  TRY(EncodeFrame(tag, Rlerror{static_cast<uint32_t>(error)}, response_buffer_));
  return SendFrame(socket_.get(), response_buffer_);
}

template <typename Request>
Result<void> Session::Answer(const Frame& frame) {
  if (msize_ == 0 && Request::kType != MessageType::kTversion) return Errno::kEPROTO;
  if (IsExtension(Request::kType) && !extended_) {
    return SendError(frame.tag, Errno::kEOPNOTSUPP);
  }
  Request request = TRY(DecodeBody<Request>(frame.body));
  auto response = Handle(request);
  if (!response.ok()) return SendError(frame.tag, response.error());
  return Send(frame.tag, *response);
}

Result<void> Session::Dispatch(const Frame& frame) {
  switch (frame.type) {
#define GOFER_DISPATCH(name)  \
  case MessageType::kT##name: \
    return Answer<T##name>(frame)
    GOFER_DISPATCH(version);
    GOFER_DISPATCH(auth);
    GOFER_DISPATCH(attach);
    GOFER_DISPATCH(flush);
    GOFER_DISPATCH(clunk);
    GOFER_DISPATCH(clunkmany);
    GOFER_DISPATCH(walk);
    GOFER_DISPATCH(walkgetattr);
    GOFER_DISPATCH(walkopen);
    GOFER_DISPATCH(lopen);
    GOFER_DISPATCH(lcreate);
    GOFER_DISPATCH(openfd);
    GOFER_DISPATCH(read);
    GOFER_DISPATCH(write);
    GOFER_DISPATCH(readdir);
    GOFER_DISPATCH(readdirstat);
    GOFER_DISPATCH(fsync);
    GOFER_DISPATCH(lock);
    GOFER_DISPATCH(getlock);
    GOFER_DISPATCH(getattr);
    GOFER_DISPATCH(stat);
    GOFER_DISPATCH(setattr);
    GOFER_DISPATCH(statfs);
    GOFER_DISPATCH(readlink);
    GOFER_DISPATCH(xattrwalk);
    GOFER_DISPATCH(xattrcreate);
    GOFER_DISPATCH(getxattr);
    GOFER_DISPATCH(setxattr);
    GOFER_DISPATCH(listxattr);
    GOFER_DISPATCH(removexattr);
    GOFER_DISPATCH(make);
    GOFER_DISPATCH(mkdir);
    GOFER_DISPATCH(symlink);
    GOFER_DISPATCH(mknod);
    GOFER_DISPATCH(link);
    GOFER_DISPATCH(rename);
    GOFER_DISPATCH(renameat);
    GOFER_DISPATCH(rename2);
    GOFER_DISPATCH(unlinkat);
    GOFER_DISPATCH(remove);
#undef GOFER_DISPATCH
    case MessageType::kRlerror:
      break;
  }
  return SendError(frame.tag, Errno::kEOPNOTSUPP);
}

Result<Rversion> Session::Handle(const Tversion& request) {
  if (request.msize < kMinMessageSize) return Errno::kEMSGSIZE;
  fids_.Clear();
  msize_ = std::min(request.msize, kMaxMessageSize);
  extended_ = request.version == kVersionSandboxd;
  if (extended_) return Rversion{msize_, kVersionSandboxd};
  // version(5): a suffix that we don't know may be dropped.
  if (request.version == kVersionL || request.version.starts_with("9P2000.L.")) {
    return Rversion{msize_, kVersionL};
  }
  return Rversion{std::exchange(msize_, 0), kVersionUnknown};
}

Result<Rattach> Session::Handle(const Tauth&) { return Errno::kEOPNOTSUPP; }

Result<Rattach> Session::Handle(const Tattach& request) {
  if (request.afid != kNoFid) return Errno::kEOPNOTSUPP;
  if (!request.aname.empty() && request.aname != "/") return Errno::kENOENT;
  TRY(fids_.CheckFree(request.fid));
  UniqueFd root = TRY(attach_point_.root.Dup());
  Stat stat = TRY(host_.StatOf(root.get()));
  attach_uid_ = request.n_uname;
  fids_.Set(request.fid, Fid{.node = MakeRef<Node>(std::move(root), stat)});
  return Rattach{stat.qid};
}

// Requests are handled in order: the one to flush has been answered already.
Result<Rflush> Session::Handle(const Tflush&) { return Rflush{}; }

Result<Rclunk> Session::Handle(const Tclunk& request) {
  Fid* fid = TRY(fids_.Get(request.fid));
  Result<void> finished = FinishXattr(*fid);
  fids_.Erase(request.fid);
  TRY(finished);
  return Rclunk{};
}

Result<Rclunkmany> Session::Handle(const Tclunkmany& request) {
  for (uint32_t fid : request.fids) fids_.Erase(fid);
  return Rclunkmany{};
}

Result<void> Session::CheckWritable() const {
  if (attach_point_.access == Access::kReadOnly) return Errno::kEROFS;
  return Ok();
}

}  // namespace sandboxd::gofer
