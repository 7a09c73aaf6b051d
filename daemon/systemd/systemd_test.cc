#include "daemon/systemd/systemd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace sandboxd::daemon {
namespace {

TEST(SystemdTest, AMessageReachesTheNotifySocket) {
  const std::string path = "/tmp/notify-" + std::to_string(::getpid());  // room for 107 bytes
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(0, ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address));
  ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
  NotifySystemd("READY=1");
  char buffer[64] = {};
  EXPECT_EQ(7, ::recv(fd.get(), buffer, sizeof buffer, 0));
  EXPECT_STREQ("READY=1", buffer);
  ::unsetenv("NOTIFY_SOCKET");
  NotifySystemd("READY=1");
  EXPECT_EQ(-1, ::recv(fd.get(), buffer, sizeof buffer, MSG_DONTWAIT));
  ::unlink(path.c_str());
}

TEST(SystemdTest, TheWatchdogIsOursOnlyIfItSaysSo) {
  ::unsetenv("WATCHDOG_USEC");
  EXPECT_FALSE(WatchdogPeriod().has_value());
  ::setenv("WATCHDOG_USEC", "4000000", 1);
  EXPECT_EQ(std::chrono::seconds(2), WatchdogPeriod());
  ::setenv("WATCHDOG_PID", "1", 1);
  EXPECT_FALSE(WatchdogPeriod().has_value());
  ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
  EXPECT_EQ(std::chrono::seconds(2), WatchdogPeriod());
  ::setenv("WATCHDOG_USEC", "soon", 1);
  EXPECT_FALSE(WatchdogPeriod().has_value());
}

// In a child, whose descriptors 3 and 4 can be made what systemd would have left there.
TEST(SystemdTest, SocketsAreTakenOnceAndNotByOthers) {
  const pid_t child = ::fork();
  if (child == 0) {
    const int fd = ::open("/dev/null", O_RDONLY);
    ::dup2(fd, 3);
    ::dup2(fd, 4);
    ::setenv("LISTEN_FDS", "2", 1);
    ::setenv("LISTEN_PID", "1", 1);
    if (!TakeListenFds().empty()) ::_exit(1);
    ::setenv("LISTEN_FDS", "2", 1);
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    const auto fds = TakeListenFds();
    if (fds.size() != 2 || fds[1].get() != 4 || (::fcntl(4, F_GETFD) & FD_CLOEXEC) == 0) ::_exit(2);
    ::_exit(TakeListenFds().empty() ? 0 : 3);
  }
  int status = 0;
  ASSERT_EQ(child, ::waitpid(child, &status, 0));
  EXPECT_EQ(0, status);
}

}  // namespace
}  // namespace sandboxd::daemon
