#include "daemon/service/logs_call.h"

#include <google/protobuf/util/time_util.h>

#include "daemon/service/stream_call.h"

namespace sandboxd::daemon {
namespace {

using google::protobuf::util::TimeUtil;

class LogsCall final : public WriteCall<v1::LogChunk> {
 public:
  LogsCall(ServiceContext& context, const v1::LogsRequest& request)
      : WriteCall(context.env.loop), context_(context), request_(request) {}

  void Begin(const Outcome<Caller>& caller) {
    loop().Post([self = Ref<LogsCall>(this), caller] {
      if (!caller.ok()) return self->End(ToGrpc(caller.error()));
      if (auto begun = self->BeginOnLoop(); !begun.ok()) return self->End(ToGrpc(begun.error()));
      self->Next();
    });
  }

 private:
  Outcome<void> BeginOnLoop() {
    Ref<Sandbox> sandbox = TRY(context_.manager.Find(request_.process().sandbox_id()));
    Sandbox::Target target = TRY(sandbox->Find(request_.process()));
    if (!target.streams->keeps_log()) {
      return Error(v1::ERROR_REASON_STDIO_MODE, "no log is kept of process " + target.process.id());
    }
    streams_ = std::move(target.streams);
    reader_ = std::make_unique<LogReader>(streams_->folder(), streams_->name());
    if (request_.tail_lines() > 0) reader_->SkipToTail(request_.tail_lines());
    if (request_.follow()) {
      follower_ = streams_->Follow([this] { Next(); });
    }
    return {};
  }

  void Next() override {
    if (!CanWrite() || !reader_) return;
    const int64_t since = TimeUtil::TimestampToNanoseconds(request_.since());
    // Before the look at the log: what is added after the end was seen is not missed.
    const bool finished = streams_->finished();
    for (;;) {
      auto record = reader_->Next();
      if (!record) break;
      if (record->time_ns < since || record->data.empty()) continue;
      v1::LogChunk chunk;
      chunk.set_stream(record->stream == 2 ? v1::LogChunk::STREAM_STDERR
                                           : v1::LogChunk::STREAM_STDOUT);
      chunk.set_gap(record->gap);
      *chunk.mutable_time() = TimeUtil::NanosecondsToTimestamp(record->time_ns);
      chunk.set_data(std::move(record->data));
      return Write(std::move(chunk));
    }
    if (!request_.follow() || finished) End(grpc::Status::OK);
  }

  void Leave() override {
    if (streams_ && follower_ != 0) streams_->Unfollow(follower_);
  }

  ServiceContext& context_;
  const v1::LogsRequest request_;
  Ref<ProcessStreams> streams_;
  std::unique_ptr<LogReader> reader_;
  ProcessStreams::FollowerId follower_ = 0;
};

}  // namespace

grpc::ServerWriteReactor<v1::LogChunk>* StartLogs(ServiceContext& context,
                                                  const grpc::CallbackServerContext& call,
                                                  const v1::LogsRequest& request) {
  auto* reactor = new LogsCall(context, request);
  reactor->Begin(Authorize(context, call));
  return reactor;
}

}  // namespace sandboxd::daemon
