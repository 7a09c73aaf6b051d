#include "tools/oci/console.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>

#include <cerrno>
#include <cstring>

namespace sandboxd::oci {
namespace {

using daemon::Error;
using daemon::Outcome;

Error HostError(const std::string& what) { return Error::Internal(daemon::ErrnoText(what, errno)); }

Outcome<void> SendMaster(const std::string& path, int master, const std::string& name) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (path.size() >= sizeof to.sun_path) {
    return Error::Internal("--console-socket: the path is too long: " + path);
  }
  memcpy(to.sun_path, path.c_str(), path.size() + 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid() || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
    return HostError("--console-socket: cannot connect to " + path);
  }
  iovec iov{const_cast<char*>(name.data()), name.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &master, sizeof master);
  if (::sendmsg(fd.get(), &message, MSG_NOSIGNAL) < 0) {
    return HostError("--console-socket: cannot send the terminal to " + path);
  }
  return {};
}

}  // namespace

Outcome<UniqueFd> MakeConsole(const std::string& console_socket, uint16_t rows, uint16_t cols) {
  UniqueFd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  char name[64];
  if (!master.valid() || ::unlockpt(master.get()) != 0 ||
      ::ptsname_r(master.get(), name, sizeof name) != 0) {
    return HostError("cannot make a terminal");
  }
  UniqueFd slave(::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!slave.valid()) return HostError(std::string("cannot open ") + name);
  if (rows != 0 && cols != 0) {
    winsize size{.ws_row = rows, .ws_col = cols};
    (void)::ioctl(slave.get(), TIOCSWINSZ, &size);
  }
  TRY(SendMaster(console_socket, master.get(), name));
  return slave;
}

}  // namespace sandboxd::oci
