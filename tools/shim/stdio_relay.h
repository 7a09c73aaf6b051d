// Moves bytes between a process's attached stream and what containerd wants its streams to be:
// fifos, or URIs (fifo://, file://). With a terminal there is one stream each way.
//
// A fifo that nobody reads stops the program, as a pipe does. After the program's end what is left
// is written as long as it is taken; after two seconds without progress it is dropped.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "client/cpp/client.h"
#include "daemon/error/error.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/unique_fd.h"
#include "tools/oci/daemon_connection.h"

namespace sandboxd::shim {

struct StdioPaths {
  std::string in, out, err;  // empty: none
  bool terminal = false;
};

class StdioRelay : public RefCounted {
 public:
  // Opens the paths. The relay must be told to Attach before anything moves.
  static daemon::Outcome<Ref<StdioRelay>> Open(const StdioPaths& paths);

  // Attaches to `process` and relays until it ends. `on_exit` is called once, on a thread of ours,
  // when all output has been written; without a status if the sandbox is gone.
  using ExitCallback = std::function<void(const std::optional<v1::ExitStatus>&)>;
  daemon::Outcome<void> Attach(const oci::DaemonOptions& daemon, const std::string& address,
                               const v1::ProcessRef& process, ExitCallback on_exit);
  // Any thread.
  void Resize(uint32_t rows, uint32_t cols);
  // Ends everything; not from `on_exit`. Nothing is called afterwards.
  void Stop();
  // No more input once what is in the fifo has been read and its other writers are gone.
  void CloseStdin();

 private:
  struct Stream : RefCounted {
    std::unique_ptr<client::AttachStream> stream;
  };
  StdioRelay() = default;
  Ref<Stream> Connect(bool again, client::Error* error);
  Ref<Stream> Current();
  void OutputLoop();
  // Learns of the end of the process itself, however slowly its output is taken.
  void ExitLoop();
  void WriteOutput(int fd, const std::string& bytes);
  bool Reconnect(client::Error error);
  void InputLoop();
  void Write(const v1::AttachRequest& frame);
  void Finish();

  UniqueFd in_, in_hold_, out_, err_;
  UniqueFd stop_;         // eventfd: the input loop is to end
  UniqueFd exited_;       // eventfd: the process has ended
  bool give_up_ = false;  // the output loop's: nobody takes the rest
  oci::DaemonOptions daemon_;
  std::string address_;
  v1::ProcessRef process_;
  ExitCallback on_exit_;
  std::unique_ptr<client::Client> client_;
  std::thread output_, input_, exit_;
  // Frames may be written by several threads; the stream is replaced when the daemon comes back.
  Mutex mutex_{LockRank::kDaemonLeaf};
  Ref<Stream> stream_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
};

}  // namespace sandboxd::shim
