// For tests: a folder of its own, served by threads of this process.
#pragma once

#include <list>
#include <memory>
#include <string>
#include <thread>

#include "gofer/server/host.h"
#include "gofer/server/session.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::gofer {

// A temporary folder, removed at the end.
class TempTree {
 public:
  TempTree();
  ~TempTree();
  const std::string& path() const { return path_; }
  // The host path of something in it.
  std::string At(const std::string& relative) const { return path_ + "/" + relative; }
  // A file with this content.
  void Write(const std::string& relative, const std::string& content) const;
  std::string Read(const std::string& relative) const;

 private:
  std::string path_;
};

class InProcessServer {
 public:
  explicit InProcessServer(const std::string& folder, Access access = Access::kReadWrite);
  // Waits for the sessions to end: clients must be gone.
  ~InProcessServer();

  // The client's end of a new connection.
  UniqueFd Connect(size_t max_fids = Session::kDefaultMaxFids);
  // Waits until all clients so far have disconnected and their sessions have ended.
  void Join();

 private:
  Host host_{SelfFds::Where::kProc};
  AttachPoint attach_point_;
  std::list<std::thread> threads_;
};

}  // namespace sandboxd::gofer
