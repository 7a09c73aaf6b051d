// All sandboxes of a daemon: the operations of the API that begin with an id. Thread-safe; the
// operations block and are called from workers.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "daemon/sandbox/sandbox.h"

namespace sandboxd::daemon {

class Manager {
 public:
  // `env` outlives the manager.
  explicit Manager(Environment& env) : env_(env) {}

  // Takes over what an earlier daemon left in the state folder. Before anything else.
  void AdoptAll();

  Outcome<v1::Sandbox> Create(CallContext& context, const v1::CreateSandboxRequest& request,
                              const Caller& caller);
  Outcome<Ref<Sandbox>> Find(const std::string& id) const;
  // Ordered by id.
  std::vector<Ref<Sandbox>> All() const;
  // Idempotent: false if there was none.
  Outcome<bool> Delete(CallContext& context, const std::string& id, bool force);
  // For auto_delete.
  void DeleteQuietly(const std::string& id);

  Outcome<v1::ListSandboxesResponse> List(const v1::ListSandboxesRequest& request) const;

 private:
  Outcome<Ref<Sandbox>> Reserve(const v1::CreateSandboxRequest& request, const Caller& caller,
                                bool* existed);
  void Forget(const Ref<Sandbox>& sandbox);

  Environment& env_;
  mutable Mutex mutex_{LockRank::kDaemonManager};
  std::map<std::string, Ref<Sandbox>> sandboxes_ GUARDED_BY(mutex_);
};

// Whether a sandbox has all of these labels with these values.
bool MatchesLabels(const v1::Sandbox& sandbox,
                   const google::protobuf::Map<std::string, std::string>& selector);

}  // namespace sandboxd::daemon
