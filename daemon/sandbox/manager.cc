#include "daemon/sandbox/manager.h"

#include <algorithm>
#include <latch>

#include "daemon/log/log.h"

namespace sandboxd::daemon {
namespace {

constexpr int kDefaultPage = 100;
constexpr int kMaxPage = 1000;

Error NotFound(const std::string& id) {
  return Error(v1::ERROR_REASON_SANDBOX_NOT_FOUND, "there is no sandbox " + id)
      .With("sandbox_id", id);
}

}  // namespace

bool MatchesLabels(const v1::Sandbox& sandbox,
                   const google::protobuf::Map<std::string, std::string>& selector) {
  return std::all_of(selector.begin(), selector.end(), [&](const auto& wanted) {
    auto it = sandbox.labels().find(wanted.first);
    return it != sandbox.labels().end() && it->second == wanted.second;
  });
}

void Manager::AdoptAll() {
  std::vector<StateStore::Loaded> all = env_.store.LoadAll();
  std::latch done(static_cast<ptrdiff_t>(all.size()));
  for (const StateStore::Loaded& loaded : all) {
    env_.workers.Run([this, &loaded, &done] {
      if (!loaded.record) {
        DAEMON_LOG(kWarning) << "sandbox " << loaded.id << " is dropped: " << loaded.problem;
        (void)env_.store.Remove(loaded.id);
      } else if (auto sandbox = MakeRef<Sandbox>(env_, *loaded.record); sandbox->Adopt()) {
        MutexLock lock(mutex_);
        sandboxes_[loaded.id] = sandbox;
      }
      done.count_down();
    });
  }
  done.wait();
}

Outcome<Ref<Sandbox>> Manager::Reserve(const v1::CreateSandboxRequest& request,
                                       const Caller& caller, bool* existed) {
  MutexLock lock(mutex_);
  std::string id = request.id();
  while (id.empty() || (request.id().empty() && sandboxes_.count(id) != 0)) id = GenerateId();
  auto it = sandboxes_.find(id);
  *existed = it != sandboxes_.end();
  if (*existed) return it->second;
  auto sandbox = MakeRef<Sandbox>(env_, request, id, caller);
  sandboxes_[id] = sandbox;
  return sandbox;
}

Outcome<v1::Sandbox> Manager::Create(CallContext& context, const v1::CreateSandboxRequest& request,
                                     const Caller& caller) {
  TRY(ValidateCreate(request));
  for (;;) {
    TRY(context.Check());
    bool existed;
    Ref<Sandbox> sandbox = TRY(Reserve(request, caller, &existed));
    if (!existed) {
      if (auto prepared = sandbox->Prepare(context, request); !prepared.ok()) {
        Forget(sandbox);
        return prepared.error();
      }
      return sandbox->Snapshot();
    }
    const std::string difference = sandbox->DifferenceFrom(request);
    if (!difference.empty()) {
      return Error(v1::ERROR_REASON_SANDBOX_ALREADY_EXISTS,
                   "sandbox " + request.id() + " exists with another " + difference)
          .With("sandbox_id", request.id())
          .With("difference", difference);
    }
    // Another Create of the same may be at work. If that one fails, this one takes its place.
    auto prepared = sandbox->WaitPrepared(context);
    if (prepared.ok()) return sandbox->Snapshot();
    if (prepared.error().reason() != v1::ERROR_REASON_SANDBOX_NOT_FOUND) return prepared.error();
    Forget(sandbox);
  }
}

void Manager::Forget(const Ref<Sandbox>& sandbox) {
  MutexLock lock(mutex_);
  auto it = sandboxes_.find(sandbox->id());
  if (it != sandboxes_.end() && it->second == sandbox) sandboxes_.erase(it);
}

Outcome<Ref<Sandbox>> Manager::Find(const std::string& id) const {
  MutexLock lock(mutex_);
  auto it = sandboxes_.find(id);
  if (it == sandboxes_.end()) return NotFound(id);
  return it->second;
}

std::vector<Ref<Sandbox>> Manager::All() const {
  std::vector<Ref<Sandbox>> out;
  MutexLock lock(mutex_);
  for (const auto& [id, sandbox] : sandboxes_) out.push_back(sandbox);
  return out;
}

Outcome<bool> Manager::Delete(CallContext& context, const std::string& id, bool force) {
  auto sandbox = Find(id);
  if (!sandbox.ok()) return false;
  auto deleted = (*sandbox)->Delete(context, force);
  // Another Delete may have come first.
  if (!deleted.ok() && deleted.error().reason() != v1::ERROR_REASON_SANDBOX_NOT_FOUND) {
    return deleted.error();
  }
  Forget(*sandbox);
  return deleted.ok();
}

void Manager::DeleteQuietly(const std::string& id) {
  CallContext context;
  auto deleted = Delete(context, id, true);
  if (!deleted.ok()) DAEMON_LOG(kError) << "sandbox " << id << ": " << deleted.error().message();
}

Outcome<v1::ListSandboxesResponse> Manager::List(const v1::ListSandboxesRequest& request) const {
  if (request.page_size() < 0 || request.page_size() > kMaxPage) {
    return Error::Fields({{"page_size", "must be from 0 to 1000"}});
  }
  const int limit = request.page_size() == 0 ? kDefaultPage : request.page_size();
  v1::ListSandboxesResponse response;
  for (const Ref<Sandbox>& sandbox : All()) {
    // The token is the id that the page before ended with.
    if (sandbox->id() <= request.page_token()) continue;
    v1::Sandbox view = sandbox->Snapshot();
    const bool state_fits =
        request.states().empty() || std::find(request.states().begin(), request.states().end(),
                                              view.state()) != request.states().end();
    if (!state_fits || !MatchesLabels(view, request.label_selector())) continue;
    if (response.sandboxes_size() == limit) {
      response.set_next_page_token(response.sandboxes(limit - 1).id());
      break;
    }
    *response.add_sandboxes() = std::move(view);
  }
  return response;
}

}  // namespace sandboxd::daemon
