// The monitor: the process that stands for a container, or for a process of exec, on the host.
//
// Container engines expect a child of the runtime whose pid they are told, whose standard streams
// are the container's, whose namespaces hooks can enter, and which ends as the container ends. The
// programs of a sandbox are no host processes, so this one stands there for them: it relays the
// streams (or is the slave's end of a terminal), forwards signals, and exits with the program's
// status. If it is killed the container is killed too.
//
// It is this program, executed again; it waits for `Go` before it attaches, so that hooks can see
// it first.
#pragma once

#include <sys/types.h>

#include <string>

#include "daemon/error/error.h"
#include "platform/base/unique_fd.h"
#include "tools/oci/bundle.h"

namespace sandboxd::oci {

struct MonitorOptions {
  Bundle::Network network = Bundle::Network::kHost;
  std::string network_path;
  // With a terminal: its slave, which becomes standard input, output and error, and the controlling
  // terminal. Otherwise it inherits ours.
  int terminal_fd = -1;
};

class Monitor {
 public:
  // Starts it and waits until it is in its namespaces.
  static Outcome<Monitor> Start(const MonitorOptions& options);
  Monitor(Monitor&&) = default;
  // One that was not told to go ends.
  ~Monitor() = default;

  pid_t pid() const { return pid_; }
  // Tells it which process it stands for, and waits until it is attached. `process_id` empty: the
  // init process.
  Outcome<void> Go(const std::string& address, const std::string& sandbox_id,
                   const std::string& process_id);
  // Waits for its end; the exit status as a shell has it.
  int Wait();
  void Kill();

 private:
  Monitor(pid_t pid, UniqueFd channel) : pid_(pid), channel_(std::move(channel)) {}
  pid_t pid_;
  UniqueFd channel_;
};

// The program's first argument when it is to be a monitor.
inline constexpr char kMonitorCommand[] = "monitor-process";
int MonitorMain(int argc, char** argv);

}  // namespace sandboxd::oci
