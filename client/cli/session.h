// Session: connects this process's stdin, stdout and stderr to a process in a sandbox until it
// ends.
#pragma once

#include <optional>
#include <string>

#include "client/cpp/client.h"
#include "proto/sandboxd/v1/process.pb.h"

namespace sandboxd::cli {

struct SessionOptions {
  v1::ProcessRef process;
  bool forward_stdin = false;
  bool terminal = false;  // raw mode, window size
  bool kill_on_disconnect = false;
  bool take_over = false;
  std::string detach_keys;
};

struct SessionResult {
  client::Error error;
  std::optional<v1::ExitStatus> exit;
  bool detached = false;
  bool output_closed = false;  // our stdout or stderr can't be written any more
};

// Blocks the signals that a Session forwards. A command that makes a Session calls it first, before
// any thread exists; in all others these signals end sandboxctl, as they end any program.
void BlockSessionSignals();

class Session {
 public:
  Session(client::Client& client, const SessionOptions& options);
  ~Session();
  // False: could not attach; result() says why. When it returns true the process's output reaches
  // us.
  bool Connect();
  // Runs until the process ends or the stream does.
  SessionResult Run();
  const SessionResult& result() const { return result_; }

 private:
  struct Impl;
  SessionResult result_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandboxd::cli
