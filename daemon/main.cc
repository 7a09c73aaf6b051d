// sandboxd: the daemon.
#include <fcntl.h>
#include <gflags/gflags.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <filesystem>
#include <sstream>

#include "daemon/log/log.h"
#include "daemon/service/server.h"
#include "daemon/systemd/systemd.h"

DEFINE_string(state_dir, "", "folder for what must survive a restart (made if it is missing)");
DEFINE_string(listen, "", "addresses to listen on, comma-separated or repeated: unix:///path");
DEFINE_string(group, "", "group of the sockets, whose members may use them: a name or a number");
DEFINE_string(kernel_binary, "", "sandbox-kernel; default ../libexec/sandboxd/sandbox-kernel");
DEFINE_string(gofer_binary, "", "sandbox-gofer; default ../libexec/sandboxd/sandbox-gofer");
DEFINE_string(default_platform, "auto",
              "platform of sandboxes that do not ask for one: auto, systrap, ptrace or kvm");
DEFINE_uint32(kernel_uid, 65534, "host uid of kernel processes, when sandboxd runs as root");
DEFINE_uint32(kernel_gid, 65534, "host gid of kernel processes, when sandboxd runs as root");
DEFINE_uint32(exit_when_idle, 0, "end after so many seconds without a sandbox; 0: never");
DEFINE_string(log_folder, "", "write logs into this folder instead of standard error");

namespace sandboxd::daemon {
namespace {

std::string DefaultBinary(const char* name) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return (self.parent_path().parent_path() / "libexec" / "sandboxd" / name).string();
}

// By descriptor: an unprivileged kernel process can't always walk to it.
Outcome<UniqueFd> OpenBinary(const std::string& flag, const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!fd.valid()) return Error::Internal(ErrnoText("--" + flag + ": cannot open " + path, errno));
  if (::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) != 0) {
    return Error::Internal(ErrnoText("--" + flag + ": cannot execute " + path, errno));
  }
  return fd;
}

void RaiseFileLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::vector<std::string> Split(const std::string& list) {
  std::vector<std::string> out;
  std::istringstream in(list);
  for (std::string item; std::getline(in, item, ',');) {
    if (!item.empty()) out.push_back(item);
  }
  return out;
}

Outcome<ServerOptions> OptionsFromFlags(const std::vector<std::string>& listen) {
  ServerOptions options;
  if (FLAGS_state_dir.empty()) return Error::Internal("--state-dir is missing");
  options.inherited = TakeListenFds();
  if (listen.empty() && options.inherited.empty()) return Error::Internal("--listen is missing");
  std::error_code error;
  options.state_dir = std::filesystem::absolute(FLAGS_state_dir, error).string();
  options.listen = listen;
  options.group = FLAGS_group;
  Settings& settings = options.settings;
  settings.kernel_path =
      FLAGS_kernel_binary.empty() ? DefaultBinary("sandbox-kernel") : FLAGS_kernel_binary;
  settings.gofer_path =
      FLAGS_gofer_binary.empty() ? DefaultBinary("sandbox-gofer") : FLAGS_gofer_binary;
  settings.kernel_binary = TRY(OpenBinary("kernel-binary", settings.kernel_path));
  settings.gofer_binary = TRY(OpenBinary("gofer-binary", settings.gofer_path));
  settings.default_platform = FLAGS_default_platform;
  settings.rootless = ::geteuid() != 0;
  settings.kernel_host_id = {FLAGS_kernel_uid, FLAGS_kernel_gid};
  return options;
}

// Returns on a signal, or, with --exit-when-idle, when there has been no sandbox for so long. Feeds
// systemd's watchdog meanwhile.
void WaitForEnd(const sigset_t& stop, Server& server) {
  using Clock = std::chrono::steady_clock;
  const auto watchdog = WatchdogPeriod();
  const std::chrono::seconds patience(FLAGS_exit_when_idle);
  std::chrono::microseconds period = watchdog.value_or(std::chrono::hours(1));
  if (patience.count() != 0)
    period = std::min<std::chrono::microseconds>(period, std::chrono::seconds(1));
  auto busy = Clock::now();
  for (;;) {
    const timespec timeout{static_cast<time_t>(period.count() / 1'000'000),
                           static_cast<long>(period.count() % 1'000'000 * 1000)};
    if (sigtimedwait(&stop, nullptr, &timeout) > 0) {
      DAEMON_LOG(kInfo) << "stopping; sandboxes run on";
      return;
    }
    server.Ping();
    if (watchdog) NotifySystemd("WATCHDOG=1");
    if (server.HasSandboxes()) busy = Clock::now();
    if (patience.count() != 0 && Clock::now() - busy >= patience) {
      DAEMON_LOG(kInfo) << "stopping: there is no sandbox";
      return;
    }
  }
}

int Run(const std::vector<std::string>& listen) {
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGINT);
  sigaddset(&stop, SIGTERM);
  // Blocked before any thread starts; this one waits for them.
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  RaiseFileLimit();
  auto options = OptionsFromFlags(listen);
  if (!options.ok()) {
    fprintf(stderr, "sandboxd: %s\n", options.error().message().c_str());
    return 2;
  }
  auto server = Server::Start(std::move(*options));
  if (!server.ok()) {
    fprintf(stderr, "sandboxd: %s\n", server.error().message().c_str());
    return 1;
  }
  DAEMON_LOG(kInfo) << "ready";
  NotifySystemd("READY=1");
  WaitForEnd(stop, **server);
  NotifySystemd("STOPPING=1");
  return 0;
}

}  // namespace
}  // namespace sandboxd::daemon

int main(int argc, char** argv) {
  // gflags writes names with underscores; people write dashes. It also keeps only the last of a
  // repeated flag.
  std::vector<std::string> args(argv, argv + argc);
  std::vector<std::string> listen;
  for (size_t i = 1; i < args.size(); ++i) {
    if (args[i].rfind("--", 0) != 0) continue;
    const size_t equals = args[i].find('=');
    for (size_t j = 2; j < std::min(equals, args[i].size()); ++j) {
      if (args[i][j] == '-') args[i][j] = '_';
    }
    std::string value;
    if (args[i].rfind("--log_dir", 0) == 0) args[i].replace(0, 9, "--log_folder");
    if (args[i].rfind("--listen=", 0) == 0) value = args[i].substr(9);
    if (args[i] == "--listen" && i + 1 < args.size()) value = args[i + 1];
    for (const std::string& address : sandboxd::daemon::Split(value)) listen.push_back(address);
  }
  std::vector<char*> pointers;
  for (std::string& arg : args) pointers.push_back(arg.data());
  pointers.push_back(nullptr);
  int count = static_cast<int>(args.size());
  char** list = pointers.data();
  gflags::SetUsageMessage("--state-dir DIR --listen unix:///path: runs and supervises sandboxes");
  gflags::SetVersionString("0.1.0");
  gflags::ParseCommandLineFlags(&count, &list, true);
  if (count > 1) {
    fprintf(stderr, "sandboxd: what is \"%s\"?\n", list[1]);
    return 2;
  }
  sandboxd::daemon::InitLogging({.program = "sandboxd", .directory = FLAGS_log_folder.c_str()});
  return sandboxd::daemon::Run(listen);
}
