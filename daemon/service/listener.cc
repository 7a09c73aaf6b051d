#include "daemon/service/listener.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "daemon/log/log.h"

namespace sandboxd::daemon {
namespace {

constexpr char kScheme[] = "unix://";
constexpr int kFirstNumber = 256;

Error ListenError(const std::string& path, int error) {
  return Error::Internal(ErrnoText("cannot listen on " + path, error));
}

// A socket file that nobody listens on any more is removed.
Outcome<void> RemoveStale(const std::string& path, const sockaddr_un& address) {
  struct stat st;
  if (::lstat(path.c_str(), &st) != 0) return {};
  if (!S_ISSOCK(st.st_mode)) {
    return Error::Internal("cannot listen on " + path + ": a file that is no socket is there");
  }
  UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    return Error::Internal("cannot listen on " + path + ": another process does");
  }
  if (errno == ECONNREFUSED) ::unlink(path.c_str());
  return {};
}

Outcome<gid_t> GroupId(const std::string& name) {
  if (name.find_first_not_of("0123456789") == std::string::npos) {
    return static_cast<gid_t>(std::strtoul(name.c_str(), nullptr, 10));
  }
  const group* entry = ::getgrnam(name.c_str());
  if (entry == nullptr) return Error::Internal("there is no group " + name);
  return entry->gr_gid;
}

}  // namespace

Outcome<UniqueFd> ConnectionTable::Add(UniqueFd fd, const Connection& connection) {
  MutexLock lock(mutex_);
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const int top = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 1 << 20));
  if (next_ < kFirstNumber || next_ >= top) next_ = std::min(kFirstNumber, top / 2);
  UniqueFd moved(::fcntl(fd.get(), F_DUPFD_CLOEXEC, next_));
  if (!moved.valid()) moved = std::move(fd);
  next_ = moved.get() + 1;
  connections_[moved.get()] = connection;
  return moved;
}

std::optional<Connection> ConnectionTable::Find(const std::string& peer) const {
  if (peer.rfind("fd:", 0) != 0) return std::nullopt;
  const int fd = std::atoi(peer.c_str() + 3);
  MutexLock lock(mutex_);
  auto it = connections_.find(fd);
  if (it == connections_.end()) return std::nullopt;
  return it->second;
}

Outcome<std::unique_ptr<Listener>> Listener::Create(const std::string& address_text,
                                                    const std::string& group) {
  if (address_text.rfind(kScheme, 0) != 0 || address_text.size() <= sizeof kScheme - 1 ||
      address_text[sizeof kScheme - 1] != '/') {
    return Error::Internal("--listen must be unix:///absolute/path, not \"" + address_text + "\"");
  }
  const std::string path = address_text.substr(sizeof kScheme - 1);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return Error::Internal("cannot listen on " + path + ": the path is longer than " +
                           std::to_string(sizeof address.sun_path - 1) + " bytes");
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  TRY(RemoveStale(path, address));
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const mode_t old_mask = ::umask(0117);
  const int bound = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int bind_error = errno;
  ::umask(old_mask);
  if (bound != 0) return ListenError(path, bind_error);
  // Owns the file from here on.
  std::unique_ptr<Listener> listener(new Listener(path, std::move(fd), File::kOurs));
  if (!group.empty()) {
    const gid_t gid = TRY(GroupId(group));
    if (::chown(path.c_str(), static_cast<uid_t>(-1), gid) != 0) {
      return Error::Internal(ErrnoText("cannot give " + path + " to group " + group, errno));
    }
  }
  if (::listen(listener->socket_.get(), 128) != 0) return ListenError(path, errno);
  return listener;
}

Outcome<std::unique_ptr<Listener>> Listener::Adopt(UniqueFd socket) {
  sockaddr_un address{};
  socklen_t size = sizeof address;
  int listens = 0;
  socklen_t listens_size = sizeof listens;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      address.sun_family != AF_UNIX || address.sun_path[0] != '/' ||
      ::getsockopt(socket.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &listens_size) != 0 ||
      listens == 0) {
    return Error::Internal(
        "a descriptor that was handed over is no unix socket that listens at a path");
  }
  const int flags = ::fcntl(socket.get(), F_GETFL);
  ::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK);
  return std::unique_ptr<Listener>(
      new Listener(address.sun_path, std::move(socket), File::kTheirs));
}

Listener::~Listener() {
  if (loop_ != nullptr) loop_->PostAndWait([this] { loop_->Remove(socket_.get()); });
  if (file_ == File::kOurs) ::unlink(path_.c_str());
}

void Listener::Start(EventLoop& loop, OnConnection on_connection) {
  loop_ = &loop;
  on_connection_ = std::move(on_connection);
  loop.PostAndWait(
      [this] { loop_->Watch(socket_.get(), EPOLLIN, [this](uint32_t) { Accept(); }); });
}

bool Listener::Allowed(int fd, const Caller& caller) const {
  if (caller.uid == 0 || caller.uid == ::geteuid()) return true;
  struct stat st;
  if (::lstat(path_.c_str(), &st) != 0) return false;
  if (caller.gid == st.st_gid) return true;
  std::vector<gid_t> groups(65536);
  socklen_t size = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size) != 0) return false;
  groups.resize(size / sizeof(gid_t));
  return std::find(groups.begin(), groups.end(), st.st_gid) != groups.end();
}

void Listener::Accept() {
  UniqueFd fd(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd.valid()) {
    if (errno == EMFILE || errno == ENFILE) DAEMON_LOG(kError) << ErrnoText("accept", errno);
    return;
  }
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return;
  Connection connection;
  connection.caller = {credentials.uid, credentials.gid, credentials.pid};
  connection.allowed = Allowed(fd.get(), connection.caller);
  on_connection_(std::move(fd), connection);
}

}  // namespace sandboxd::daemon
