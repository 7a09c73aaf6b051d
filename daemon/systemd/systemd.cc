#include "daemon/systemd/systemd.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace sandboxd::daemon {
namespace {

constexpr int kFirstListenFd = 3;  // SD_LISTEN_FDS_START
constexpr long kMaxListenFds = 16;

long NumberOf(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr || *text == '\0') return -1;
  char* end = nullptr;
  const long number = std::strtol(text, &end, 10);
  return *end == '\0' ? number : -1;
}

bool IsForUs(const char* pid_variable) { return NumberOf(pid_variable) == ::getpid(); }

}  // namespace

void NotifySystemd(const std::string& state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || (path[0] != '/' && path[0] != '@')) return;
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  const size_t length = std::strlen(path);
  if (length >= sizeof to.sun_path) return;
  std::memcpy(to.sun_path, path, length);
  if (path[0] == '@') to.sun_path[0] = '\0';  // abstract: unix(7)
  UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return;
  (void)::sendto(fd.get(), state.data(), state.size(), MSG_NOSIGNAL,
                 reinterpret_cast<const sockaddr*>(&to),
                 static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length));
}

std::optional<std::chrono::microseconds> WatchdogPeriod() {
  const long usec = NumberOf("WATCHDOG_USEC");
  if (usec <= 0) return std::nullopt;
  if (std::getenv("WATCHDOG_PID") != nullptr && !IsForUs("WATCHDOG_PID")) return std::nullopt;
  return std::chrono::microseconds(usec / 2);
}

std::vector<UniqueFd> TakeListenFds() {
  std::vector<UniqueFd> out;
  const long count = NumberOf("LISTEN_FDS");
  if (IsForUs("LISTEN_PID") && count > 0 && count <= kMaxListenFds) {
    for (int fd = kFirstListenFd; fd < kFirstListenFd + count; ++fd) {
      if (::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0) out.emplace_back(fd);
    }
  }
  for (const char* variable : {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}) ::unsetenv(variable);
  return out;
}

}  // namespace sandboxd::daemon
