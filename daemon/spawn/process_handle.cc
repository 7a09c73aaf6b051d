#include "daemon/spawn/process_handle.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cstring>
#include <fstream>
#include <sstream>

namespace sandboxd::daemon {

std::string BootId() {
  std::ifstream in("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(in, id);
  return id;
}

std::optional<uint64_t> StartTicks(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(in, text)) return std::nullopt;
  // The name, field 2, is in parentheses and may hold anything; field 3 follows the last one.
  const size_t end = text.rfind(')');
  if (end == std::string::npos) return std::nullopt;
  std::istringstream rest(text.substr(end + 1));
  std::string field;
  for (int i = 3; i <= 22; ++i) {
    if (!(rest >> field)) return std::nullopt;
  }
  return std::strtoull(field.c_str(), nullptr, 10);
}

std::optional<ProcessHandle> ProcessHandle::Adopt(ProcessIdentity identity) {
  if (identity.pid <= 0) return std::nullopt;
  ProcessHandle handle;
  handle.identity_ = identity;
  handle.pidfd_ = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, identity.pid, 0)));
  if (!handle.pidfd_.valid()) return std::nullopt;
  // Looked at after the pidfd is held: from here on the number can't become another process.
  const auto ticks = StartTicks(identity.pid);
  if (!ticks || *ticks != identity.start_ticks) return std::nullopt;
  if (handle.Ended()) {
    handle.Reap();  // if it is a child of ours nobody else will
    return std::nullopt;
  }
  return handle;
}

void ProcessHandle::Signal(int signo) const {
  if (valid()) ::syscall(SYS_pidfd_send_signal, pidfd_.get(), signo, nullptr, 0);
}

bool ProcessHandle::Ended() const { return WaitEnded(std::chrono::milliseconds(0)); }

bool ProcessHandle::WaitEnded(std::chrono::milliseconds timeout) const {
  if (!valid()) return true;
  const auto until = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    pollfd p{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    const int n = ::poll(&p, 1, std::max<int>(0, static_cast<int>(left.count())));
    if (n > 0) return true;
    if (n == 0) return false;
  }
}

std::string ProcessHandle::Reap() {
  if (!valid()) return "ended";
  // Of an adopted process only its end is known; waitid(2) fails with ECHILD.
  siginfo_t info{};
  if (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED) != 0) return "ended";
  if (info.si_code == CLD_EXITED) return "exited with status " + std::to_string(info.si_status);
  return "was killed by signal " + std::to_string(info.si_status);
}

void ProcessHandle::KillAndReap() {
  if (!valid()) return;
  Signal(SIGKILL);
  // A killed process can stay only in an uninterruptible host call; then it is left to its end.
  if (WaitEnded(std::chrono::seconds(10))) Reap();
  pidfd_.Reset();
}

}  // namespace sandboxd::daemon
