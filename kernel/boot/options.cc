#include "kernel/boot/options.h"

#include <charconv>
#include <cstring>
#include <string_view>

namespace sandboxd::boot {

const char kUsage[] =
    "usage: sandbox-kernel --control-fd=N [--log-fd=N] [--kvm-fd=N] [--platform=NAME]\n"
    "                      [--strace]\n"
    "       sandbox-kernel --list-platforms [--kvm-fd=N]\n"
    "       sandbox-kernel --print-seccomp | --print-stub-seccomp [--platform=NAME]\n"
    "The application kernel of one sandbox; sandboxd starts it.\n"
    "  --control-fd=N   a listening SOCK_SEQPACKET unix socket for the control channel\n"
    "  --log-fd=N       where log lines go (default 2)\n"
    "  --kvm-fd=N       /dev/kvm, opened for reading and writing (default: opens it if needed)\n"
    "  --platform=NAME  how application code runs (default ptrace)\n"
    "  --strace         log every system call\n"
    "  --list-platforms try each platform, and print which work here and why the others don't\n"
    "  --print-seccomp  print which host calls this process may make, and why\n"
    "  --print-stub-seccomp  the same of the platform's stubs\n";

namespace {

bool ParseFd(std::string_view text, int* out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size() && *out >= 0;
}

}  // namespace

std::string ParseOptions(int argc, char** argv, Options* options) {
  for (int i = 1; i < argc; i++) {
    std::string_view arg = argv[i];
    size_t equals = arg.find('=');
    std::string_view name = arg.substr(0, equals);
    std::string_view value = equals == std::string_view::npos ? "" : arg.substr(equals + 1);
    if (name == "--control-fd" || name == "--log-fd" || name == "--kvm-fd") {
      int* fd = name == "--control-fd" ? &options->control_fd
                : name == "--log-fd"   ? &options->log_fd
                                       : &options->kvm_fd;
      if (!ParseFd(value, fd)) return std::string(name) + " takes a descriptor's number";
    } else if (name == "--platform") {
      options->platform = value;
    } else if (arg == "--strace") {
      options->strace = true;
    } else if (arg == "--list-platforms") {
      options->list_platforms = true;
    } else if (arg == "--print-seccomp") {
      options->print_seccomp = true;
    } else if (arg == "--print-stub-seccomp") {
      options->print_stub_seccomp = true;
    } else if (arg == "--help") {
      options->help = true;
    } else {
      return "unknown argument \"" + std::string(arg) + "\"";
    }
  }
  const bool serves = !options->list_platforms && !options->print_seccomp &&
                      !options->print_stub_seccomp && !options->help;
  if (serves && options->control_fd < 0) return "--control-fd is missing";
  return "";
}

}  // namespace sandboxd::boot
