#include "daemon/service/watch_call.h"

#include <algorithm>
#include <deque>

#include "daemon/service/stream_call.h"

namespace sandboxd::daemon {
namespace {

constexpr size_t kBatch = 64;

class WatchCall final : public WriteCall<v1::SandboxEvent> {
 public:
  WatchCall(ServiceContext& context, const v1::WatchSandboxesRequest& request)
      : WriteCall(context.env.loop), context_(context), request_(request) {}

  void Begin(const Outcome<Caller>& caller) {
    loop().Post([self = Ref<WatchCall>(this), caller] {
      if (!caller.ok()) return self->End(ToGrpc(caller.error()));
      if (auto begun = self->BeginOnLoop(); !begun.ok()) return self->End(ToGrpc(begun.error()));
      self->Next();
    });
  }

 private:
  Outcome<void> BeginOnLoop() {
    EventLog& events = context_.env.events;
    if (!request_.resume_token().empty()) {
      next_ = TRY(events.NumberAfter(request_.resume_token()));
    } else {
      // From here on nothing is missed; what happens between this line and the pictures below is
      // told twice rather than never.
      next_ = events.End();
      for (const Ref<Sandbox>& sandbox : context_.manager.All()) {
        v1::SandboxEvent event;
        event.set_type(v1::SandboxEvent::TYPE_EXISTING);
        *event.mutable_sandbox() = sandbox->Snapshot();
        if (Wanted(event)) ready_.push_back(std::move(event));
      }
      v1::SandboxEvent bookmark;
      bookmark.set_type(v1::SandboxEvent::TYPE_BOOKMARK);
      bookmark.set_resume_token(events.TokenBefore(next_));
      ready_.push_back(std::move(bookmark));
    }
    subscription_ =
        events.Subscribe([this] { loop().Post([self = Ref<WatchCall>(this)] { self->Next(); }); });
    return {};
  }

  bool Wanted(const v1::SandboxEvent& event) const {
    if (!request_.ids().empty() && std::find(request_.ids().begin(), request_.ids().end(),
                                             event.sandbox().id()) == request_.ids().end()) {
      return false;
    }
    return MatchesLabels(event.sandbox(), request_.label_selector());
  }

  void Next() override {
    if (!CanWrite()) return;
    while (ready_.empty()) {
      auto more = context_.env.events.Read(&next_, kBatch);
      if (!more.ok()) return End(ToGrpc(more.error()));
      if (more->empty()) return;
      for (v1::SandboxEvent& event : *more) {
        if (Wanted(event)) ready_.push_back(std::move(event));
      }
    }
    v1::SandboxEvent event = std::move(ready_.front());
    ready_.pop_front();
    Write(std::move(event));
  }

  void Leave() override {
    if (subscription_ != 0) context_.env.events.Unsubscribe(subscription_);
  }

  ServiceContext& context_;
  const v1::WatchSandboxesRequest request_;
  uint64_t next_ = 0;
  std::deque<v1::SandboxEvent> ready_;
  EventLog::SubscriberId subscription_ = 0;
};

}  // namespace

grpc::ServerWriteReactor<v1::SandboxEvent>* StartWatch(ServiceContext& context,
                                                       const grpc::CallbackServerContext& call,
                                                       const v1::WatchSandboxesRequest& request) {
  auto* reactor = new WatchCall(context, request);
  reactor->Begin(Authorize(context, call));
  return reactor;
}

}  // namespace sandboxd::daemon
