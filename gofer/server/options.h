// The command line of sandbox-gofer.
//
//   sandbox-gofer (--root=PATH | --root-fd=N) --socket-fd=N [--readonly]
//                 [--mount=PATH,ro|rw,N]... [--log-fd=N]
//   sandbox-gofer --print-seccomp
//
// Each tree (the root, each --mount) is served on the connected socket whose number is given with
// it. PATH may be a folder or a file, and "fd:N" is an open descriptor of one.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "gofer/server/session.h"

namespace sandboxd::gofer {

struct TreeOption {
  std::variant<std::monostate, std::string, int> source;  // a path or a descriptor
  Access access = Access::kReadWrite;
  int socket_fd = -1;
};

struct Options {
  std::vector<TreeOption> trees;  // the root first
  int log_fd = 2;
  bool print_seccomp = false;
};

// A sentence that says what is wrong, for whoever wrote the command line.
struct UsageError {
  std::string message;
};

std::variant<Options, UsageError> ParseOptions(const std::vector<std::string>& arguments);

}  // namespace sandboxd::gofer
