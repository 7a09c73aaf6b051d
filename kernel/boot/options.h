// The command line of sandbox-kernel.
#pragma once

#include <string>

namespace sandboxd::boot {

struct Options {
  int control_fd = -1;
  int log_fd = 2;
  int kvm_fd = -1;
  std::string platform = "ptrace";
  bool strace = false;
  bool list_platforms = false;
  bool print_seccomp = false;
  bool print_stub_seccomp = false;
  bool help = false;
};

extern const char kUsage[];

// "" or what is wrong.
std::string ParseOptions(int argc, char** argv, Options* options);

}  // namespace sandboxd::boot
