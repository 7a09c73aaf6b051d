// UnixDomain: what the AF_UNIX sockets of one network namespace share: abstract names, the list for
// /proc/net/unix, and the files that are on their way inside messages.
//
// A socket that sits in the queue of another (SCM_RIGHTS), whose queue it may in turn be reachable
// from only, would never be freed by counting references. Collect() finds such cycles: a socket in
// flight whose references are all from queues, and which no reachable socket's queue leads to, is
// garbage. The in-flight mutex (kSocketTable) is held whenever files enter or leave a queue, so the
// picture stands still meanwhile.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "kernel/net/unix_endpoint.h"
#include "platform/base/mutex.h"

namespace sandboxd::net {

class UnixSocket;

class UnixDomain {
 public:
  UnixDomain() = default;

  // --- abstract names (unix(7)); `name` begins with a NUL ---
  Result<void> ClaimName(const std::string& name, UnixEndpoint& endpoint);  // EADDRINUSE
  void ReleaseName(const std::string& name, UnixEndpoint& endpoint);
  Ref<UnixEndpoint> FindName(const std::string& name, uint64_t network);  // null if none
  // A free name of five hexadecimal digits ("autobind"), claimed for `endpoint`. ENOSPC.
  Result<std::string> ClaimAnyName(UnixEndpoint& endpoint);

  // --- endpoints and files ---
  void Register(UnixEndpoint& endpoint);
  void Unregister(UnixEndpoint& endpoint);
  void AddFile(UnixSocket& file);
  void RemoveFile(UnixSocket& file);

  // --- files in flight ---
  // Runs `deliver`, which puts `files` into a queue if it succeeds.
  Result<size_t> WithFilesInFlight(const std::vector<Ref<vfs::File>>& files,
                                   const std::function<Result<size_t>()>& deliver);
  // Runs `take`, which takes files out of a queue, or copies references if `copies`.
  Result<Received> WithFilesLanding(const std::function<Result<Received>()>& take, bool copies);
  // Empties the queues of a closed endpoint.
  void DropQueues(UnixEndpoint& endpoint);
  // Frees sockets that only their own queues hold. Called with no lock held.
  void Collect();

  // A snapshot for /proc/net/unix, with its heading.
  std::string ProcText();

 private:
  static bool IsSocketOf(vfs::File& file);
  static size_t CountSockets(const std::vector<Ref<vfs::File>>& files);
  // `nodes`: the open sockets, held; to be let go without the mutex.
  std::vector<Ref<UnixEndpoint>> FindGarbage(std::vector<Ref<vfs::File>>& nodes)
      REQUIRES(inflight_mutex_);

  // Outermost of the three; guards the movement of files, not a field alone.
  Mutex inflight_mutex_{LockRank::kSocketTable};
  size_t inflight_sockets_ GUARDED_BY(inflight_mutex_) = 0;  // sockets in queues, by references
  Mutex mutex_{LockRank::kLeaf};
  // By network namespace and name.
  std::map<std::pair<uint64_t, std::string>, UnixEndpoint*> names_ GUARDED_BY(mutex_);
  std::set<UnixEndpoint*> endpoints_ GUARDED_BY(mutex_);
  std::map<vfs::File*, UnixEndpoint*> files_ GUARDED_BY(mutex_);
  uint32_t next_auto_name_ GUARDED_BY(mutex_) = 0;
};

}  // namespace sandboxd::net
