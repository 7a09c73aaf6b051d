#include "daemon/service/attach_call.h"

namespace sandboxd::daemon {
namespace {

// Finds a sequence of keys in what is typed, also over several frames. What turns out not to belong
// to it is passed on.
class DetachKeys {
 public:
  explicit DetachKeys(std::string keys) : keys_(std::move(keys)) {}

  // What of `typed` is for the program; `*found` when the sequence is complete.
  std::string Filter(const std::string& typed, bool* found) {
    if (keys_.empty()) return typed;
    std::string out;
    for (char c : typed) {
      if (c == keys_[matched_]) {
        if (++matched_ == keys_.size()) {
          *found = true;
          return out;
        }
        continue;
      }
      out.append(keys_, 0, matched_);
      matched_ = c == keys_[0] ? 1 : 0;
      if (matched_ == 0) out.push_back(c);
    }
    return out;
  }

 private:
  const std::string keys_;
  size_t matched_ = 0;
};

// Everything but the reactions and the constructor: loop thread.
class AttachCall final : public grpc::ServerBidiReactor<v1::AttachRequest, v1::AttachResponse>,
                         public RefCounted,
                         public StreamSink {
 public:
  AttachCall(ServiceContext& context, grpc::CallbackServerContext* call)
      : context_(context), caller_(Authorize(context, *call)) {
    if (!caller_.ok()) {
      Post([this] { End(ToGrpc(caller_.error())); });
      return;
    }
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    Post([this, ok] { HandleRead(ok); });
  }
  void OnWriteDone(bool ok) override {
    Post([this, ok] { HandleWritten(ok); });
  }
  void OnCancel() override {
    Post([this] { End(grpc::Status::CANCELLED); });
  }
  void OnDone() override {
    context_.env.loop.Post([self = Ref<AttachCall>::Adopt(this)] {});
  }

  // StreamSink
  void OnOutput(int stream, std::string bytes) override {
    v1::AttachResponse response;
    (stream == 1 ? response.mutable_stdout() : response.mutable_stderr())->swap(bytes);
    Write(std::move(response));
  }
  void OnExit(const v1::ExitStatus& exit) override {
    exit_seen_ = true;
    v1::AttachResponse response;
    *response.mutable_exit() = exit;
    WriteLast(std::move(response));
  }
  void OnRemoved(const Error& why) override {
    let_go_ = true;
    End(ToGrpc(why));
  }

 private:
  void Post(std::function<void()> work) {
    context_.env.loop.Post([self = Ref<AttachCall>(this), work = std::move(work)] { work(); });
  }

  void Write(v1::AttachResponse response) {
    response_ = std::move(response);
    writing_ = true;
    StartWrite(&response_);
  }

  // After a write that may still be under way.
  void WriteLast(v1::AttachResponse response) {
    if (ended_) return;
    if (writing_) {
      last_ = std::move(response);
      return;
    }
    ended_ = true;
    Leave();
    response_ = std::move(response);
    StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
  }

  void End(const grpc::Status& status) {
    if (ended_) return;
    ended_ = true;
    Leave();
    Finish(status);
  }

  void Leave() {
    if (!streams_) return;
    streams_->Detach(this);
    const bool kill = start_.on_disconnect() == v1::AttachStart::ON_DISCONNECT_KILL && !let_go_;
    sandbox_->AttachEnded(process_, exit_seen_, kill && !exit_seen_);
    streams_.Reset();
  }

  void HandleWritten(bool ok) {
    writing_ = false;
    if (!ok) return End(grpc::Status::CANCELLED);
    if (last_) return WriteLast(*std::move(last_));
    if (streams_) streams_->Ready(this);
  }

  void HandleRead(bool ok) {
    if (ended_ || !ok) return;  // no more frames follow; a client that has gone shows as OnCancel
    if (!streams_) {
      if (auto begun = Begin(); !begun.ok()) return End(ToGrpc(begun.error()));
      return ReadNext();
    }
    switch (request_.frame_case()) {
      case v1::AttachRequest::kStdin:
        return HandleStdin();
      case v1::AttachRequest::kCloseStdin:
        if (!start_.output_only()) sandbox_->CloseStdin(process_);
        break;
      case v1::AttachRequest::kResize:
        if (process_.terminal()) sandbox_->Resize(process_, request_.resize());
        break;
      case v1::AttachRequest::kSignal:
        if (!IsValidSignal(request_.signal())) {
          return End(ToGrpc(Error::Fields({{"signal", "must be from 1 to 64"}})));
        }
        sandbox_->SignalSoon(process_, request_.signal());
        break;
      default:
        return End(ToGrpc(Error::Fields({{"frame", "start is the first frame and only that"}})));
    }
    ReadNext();
  }

  void ReadNext() {
    request_.Clear();
    if (!ended_) StartRead(&request_);
  }

  Outcome<void> Begin() {
    if (!request_.has_start()) return Error::Fields({{"frame", "the first frame must be start"}});
    start_ = request_.start();
    detach_ = std::make_unique<DetachKeys>(start_.detach_keys());
    Ref<Sandbox> sandbox = TRY(context_.manager.Find(start_.process().sandbox_id()));
    Sandbox::Target target = TRY(sandbox->Find(start_.process()));
    if (target.process.stdio().output() == v1::StdioSpec::OUTPUT_DISCARD &&
        !target.process.stdio().stdin()) {
      return Error(v1::ERROR_REASON_STDIO_MODE,
                   "the process's output is discarded and it has no stdin: there is nothing to "
                   "attach to");
    }
    TRY(target.streams->Attach(this, start_.take_over()));
    sandbox_ = std::move(sandbox);
    process_ = std::move(target.process);
    process_.set_attached(true);
    streams_ = std::move(target.streams);
    v1::AttachResponse response;
    *response.mutable_started()->mutable_process() = process_;
    Write(std::move(response));  // its end says Ready
    return {};
  }

  void HandleStdin() {
    if (start_.output_only()) return ReadNext();
    bool detached = false;
    std::string bytes = detach_->Filter(request_.stdin(), &detached);
    // The next frame is read when this one is in the FIFO: a program that does not read stops its
    // client.
    streams_->WriteStdin(std::move(bytes), [self = Ref<AttachCall>(this), detached] {
      if (!detached) return self->ReadNext();
      self->let_go_ = true;
      v1::AttachResponse response;
      response.mutable_detached();
      self->WriteLast(std::move(response));
    });
  }

  ServiceContext& context_;
  const Outcome<Caller> caller_;
  v1::AttachRequest request_;
  v1::AttachResponse response_;
  std::optional<v1::AttachResponse> last_;
  bool writing_ = false;
  bool ended_ = false;
  bool exit_seen_ = false;
  bool let_go_ = false;  // detach keys, or taken over: on_disconnect does not apply
  v1::AttachStart start_;
  std::unique_ptr<DetachKeys> detach_;
  Ref<Sandbox> sandbox_;
  v1::Process process_;
  Ref<ProcessStreams> streams_;
};

}  // namespace

grpc::ServerBidiReactor<v1::AttachRequest, v1::AttachResponse>* StartAttach(
    ServiceContext& context, grpc::CallbackServerContext* call) {
  return new AttachCall(context, call);
}

}  // namespace sandboxd::daemon
