#include "tools/oci/daemon_connection.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "client/cpp/client.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::oci {
namespace {

constexpr char kScheme[] = "unix://";
constexpr int kStartPatienceMs = 10'000;
constexpr int kPollMs = 5;
// A private daemon waits so long for the next sandbox before it ends.
constexpr char kIdleFlag[] = "--exit-when-idle=10";

bool Answers(const std::string& address) {
  if (address.rfind(kScheme, 0) != 0) return true;  // not ours to judge
  const std::string path = address.substr(sizeof kScheme - 1);
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (path.size() >= sizeof to.sun_path) return false;
  memcpy(to.sun_path, path.c_str(), path.size() + 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return fd.valid() && ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
}

Outcome<std::string> DaemonBinary(const DaemonOptions& options) {
  if (!options.binary.empty()) return options.binary;
  if (const char* given = getenv("SANDBOXD_BINARY")) return std::string(given);
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string beside = (self.parent_path() / "sandboxd").string();
  for (const std::string& path : {beside, std::string("/usr/bin/sandboxd")}) {
    if (::access(path.c_str(), X_OK) == 0) return path;
  }
  return Error::Internal("no sandboxd is running and its program is not found: tried " + beside +
                         " and /usr/bin/sandboxd (--sandboxd says where it is)");
}

// SAFETY: between fork and exec only async-signal-safe calls; callers have no threads yet or accept
// that the child uses none of their locks.
Outcome<void> Launch(const std::string& binary, const std::string& folder,
                     const std::string& address) {
  const std::string state = folder + "/state";
  const std::string log = folder + "/sandboxd.log";
  UniqueFd log_fd(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!log_fd.valid() || !null.valid()) {
    return Error::Internal(daemon::ErrnoText("cannot open " + log, errno));
  }
  const char* argv[] = {binary.c_str(),  "--state-dir", state.c_str(), "--listen",
                        address.c_str(), kIdleFlag,     nullptr};
  const pid_t pid = ::fork();
  if (pid < 0) return Error::Internal(daemon::ErrnoText("cannot start " + binary, errno));
  if (pid == 0) {
    ::setsid();
    // Twice, so that it is nobody's child to wait for.
    if (::fork() != 0) ::_exit(0);
    ::dup2(null.get(), 0);
    ::dup2(log_fd.get(), 1);
    ::dup2(log_fd.get(), 2);
    ::syscall(SYS_close_range, 3, ~0U, 0);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    (void)!::chdir("/");
    ::execv(binary.c_str(), const_cast<char* const*>(argv));
    const char message[] = "sandboxd could not be executed\n";
    (void)!::write(2, message, sizeof message - 1);
    ::_exit(127);
  }
  ::waitpid(pid, nullptr, 0);
  return {};
}

Outcome<void> StartPrivate(const DaemonOptions& options) {
  std::error_code error;
  std::filesystem::create_directories(options.folder, error);
  ::chmod(options.folder.c_str(), 0711);
  const std::string lock_path = options.folder + "/start.lock";
  UniqueFd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.valid() || ::flock(lock.get(), LOCK_EX) != 0) {
    return Error::Internal(daemon::ErrnoText("cannot lock " + lock_path, errno));
  }
  const std::string address = PrivateAddress(options);
  if (Answers(address)) return {};  // somebody else was faster
  if (address.size() - (sizeof kScheme - 1) >= sizeof(sockaddr_un::sun_path)) {
    return Error::Internal("the path of the private daemon's socket is too long: " + address);
  }
  TRY(Launch(TRY(DaemonBinary(options)), options.folder, address));
  for (int waited = 0; waited < kStartPatienceMs; waited += kPollMs) {
    if (Answers(address)) return {};
    timespec pause{0, kPollMs * 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
  return Error::Internal("a private sandboxd was started and does not answer; see " +
                         options.folder + "/sandboxd.log");
}

}  // namespace

std::string PrivateAddress(const DaemonOptions& options) {
  return kScheme + options.folder + "/s.sock";
}

Outcome<std::string> FindOrStartDaemon(const DaemonOptions& options) {
  if (!options.address.empty()) return options.address;
  const std::string own = PrivateAddress(options);
  if (Answers(own)) return own;
  if (Answers(client::kDefaultAddress)) return std::string(client::kDefaultAddress);
  TRY(StartPrivate(options));
  return own;
}

Outcome<void> EnsureDaemon(const DaemonOptions& options, const std::string& address) {
  if (address != PrivateAddress(options) || Answers(address)) return {};
  return StartPrivate(options);
}

Error FromClient(const client::Error& error) {
  v1::ErrorReason reason = v1::ERROR_REASON_INTERNAL;
  if (error.reason().empty() && error.code() == grpc::StatusCode::UNAVAILABLE) {
    reason = v1::ERROR_REASON_DAEMON_UNAVAILABLE;
  }
  v1::ErrorReason_Parse("ERROR_REASON_" + error.reason(), &reason);
  std::string message = error.message();
  for (const auto& violation : error.field_violations()) {
    if (message.find(violation.field) == std::string::npos) {
      message += "; " + violation.field + ": " + violation.description;
    }
  }
  return Error(reason, message);
}

}  // namespace sandboxd::oci
