// Accepts connections on a unix socket and finds out who is there. gRPC is given the connected
// descriptor and names its calls "fd:N" after it: that is how a call finds its caller.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "daemon/error/error.h"
#include "daemon/loop/event_loop.h"
#include "daemon/sandbox/caller.h"
#include "platform/base/mutex.h"

namespace sandboxd::daemon {

// One connection's identity and whether the policy lets it in.
struct Connection {
  Caller caller;
  bool allowed = false;
};

// Who is behind each connected descriptor. Thread-safe.
class ConnectionTable {
 public:
  // Gives the descriptor a number that has not been used for as long as possible, so that a late
  // call of a closed connection is not taken for its successor's.
  Outcome<UniqueFd> Add(UniqueFd fd, const Connection& connection);
  // `peer` is what gRPC says: "fd:12".
  std::optional<Connection> Find(const std::string& peer) const;

 private:
  mutable Mutex mutex_{LockRank::kDaemonLeaf};
  int next_ GUARDED_BY(mutex_) = 0;
  std::unordered_map<int, Connection> connections_ GUARDED_BY(mutex_);
};

// Default policy: root, whoever runs the daemon, and members of the group that the socket file has
// when they connect.
class Listener {
 public:
  using OnConnection = std::function<void(UniqueFd, const Connection&)>;

  // "unix:///run/sandboxd.sock". Mode 0660, and `group` if it is given (a name or a number). A
  // stale socket is replaced, one in use is an error.
  static Outcome<std::unique_ptr<Listener>> Create(const std::string& address,
                                                   const std::string& group = "");
  // A socket that listens already and is somebody else's to remove (systemd's).
  static Outcome<std::unique_ptr<Listener>> Adopt(UniqueFd socket);
  ~Listener();

  // `on_connection` is called on the loop's thread.
  void Start(EventLoop& loop, OnConnection on_connection);
  const std::string& path() const { return path_; }

 private:
  enum class File { kOurs, kTheirs };
  Listener(std::string path, UniqueFd socket, File file)
      : path_(std::move(path)), socket_(std::move(socket)), file_(file) {}
  void Accept();
  bool Allowed(int fd, const Caller& caller) const;

  const std::string path_;
  UniqueFd socket_;
  const File file_;
  EventLoop* loop_ = nullptr;  // outlives us
  OnConnection on_connection_;
};

}  // namespace sandboxd::daemon
