// A ttrpc server. Requests of one connection run at the same time, each on a thread of its own, and
// are answered in any order, as the protocol wants it: Wait must not hold up Kill.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "daemon/error/error.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/unique_fd.h"
#include "tools/shim/proto/ttrpc.pb.h"

namespace sandboxd::shim {

class TtrpcServer {
 public:
  // The serialized answer, or an error whose code goes into the answer's status.
  using Method = std::function<daemon::Outcome<std::string>(const std::string& payload)>;

  void Register(const std::string& service, const std::string& method, Method handler);
  // Accepts connections until `stop_fd` is readable. Bad frames end their connection or get an
  // error; no client can stop the server.
  void Serve(int listener, int stop_fd);
  // One connection, until its end. Answers may still be under way afterwards.
  void ServeConnection(UniqueFd socket);

 private:
  struct Connection;
  void Handle(const Ref<Connection>& connection, uint32_t stream, const ttrpc::Request& request);

  std::map<std::string, Method> methods_;  // "service/method"; constant once serving
};

}  // namespace sandboxd::shim
