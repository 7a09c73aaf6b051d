// The whole daemon but its command line: machinery, sandboxes, services, sockets.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "daemon/sandbox/environment.h"

namespace sandboxd::daemon {

struct ServerOptions {
  std::string state_dir;
  std::vector<std::string> listen;  // "unix:///path"
  std::vector<UniqueFd> inherited;  // sockets that listen already
  std::string group;                // of the sockets; empty: the daemon's
  Settings settings;
};

class Server {
 public:
  // Takes over the sandboxes of the state folder, then listens.
  static Outcome<std::unique_ptr<Server>> Start(ServerOptions options);
  // Ends the calls; sandboxes run on.
  ~Server();
  bool HasSandboxes() const;
  // Returns once the event loop has turned.
  void Ping();

 private:
  struct Parts;
  explicit Server(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace sandboxd::daemon
