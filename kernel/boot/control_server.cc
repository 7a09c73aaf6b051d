#include "kernel/boot/control_server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cerrno>

#include "platform/base/log.h"

namespace sandboxd::boot {
namespace {

constexpr size_t kMaxPacket = 128 << 10;
constexpr size_t kMaxBody = 64 << 20;
constexpr int kMaxFds = 64;

// Receives one packet and its descriptors. EAGAIN, EPIPE at the end, EMSGSIZE for one that was cut.
Result<std::string> Receive(int fd, ControlServer::Fds* fds) {
  std::string buffer(kMaxPacket, '\0');
  iovec iov{buffer.data(), buffer.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxFds)];
  msghdr msg{};
  msg.msg_iov = &iov;
  msg.msg_iovlen = 1;
  msg.msg_control = control;
  msg.msg_controllen = sizeof(control);
  ssize_t n;
  do {
    n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return FromHostErrno(errno);
  for (cmsghdr* c = CMSG_FIRSTHDR(&msg); c != nullptr; c = CMSG_NXTHDR(&msg, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const int* received = reinterpret_cast<const int*>(CMSG_DATA(c));
    for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++)
      fds->emplace_back(received[i]);
  }
  if (n == 0) return Errno::kEPIPE;
  if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) return Errno::kEMSGSIZE;
  buffer.resize(n);
  return buffer;
}

Result<std::string> ReadBody(int fd, uint64_t size) {
  if (size > kMaxBody) return Errno::kEMSGSIZE;
  std::string body(size, '\0');
  size_t done = 0;
  while (done < size) {
    ssize_t n = pread(fd, body.data() + done, size - done, done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FromHostErrno(errno);
    if (n == 0) return Errno::kEMSGSIZE;
    done += n;
  }
  return body;
}

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::Create(UniqueFd listener) {
  if (fcntl(listener.get(), F_SETFL, O_NONBLOCK) < 0) return FromHostErrno(errno);
  UniqueFd wakeup = TRY(WrapFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
  return std::unique_ptr<ControlServer>(new ControlServer(std::move(listener), std::move(wakeup)));
}

ControlServer::ControlServer(UniqueFd listener, UniqueFd wakeup)
    : listener_(std::move(listener)), wakeup_(std::move(wakeup)) {}

void ControlServer::Serve(const Handler& handler) {
  for (;;) {
    short events = POLLIN;
    {
      MutexLock lock(mutex_);
      if (!outgoing_.empty()) events |= POLLOUT;
      if (stopping_ && (outgoing_.empty() || !connected_)) return;
    }
    pollfd fds[3] = {
        {wakeup_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}, {connection_.get(), events, 0}};
    if (poll(fds, connection_.valid() ? 3 : 2, -1) < 0) {
      CHECK_MSG(errno == EINTR, "poll: errno %d", errno);
      continue;
    }
    if (fds[0].revents != 0) {
      eventfd_t ignored;
      eventfd_read(wakeup_.get(), &ignored);
    }
    if (connection_.valid()) {
      if ((fds[2].revents & POLLOUT) != 0 && !Flush()) CloseConnection();
      if ((fds[2].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && connection_.valid() &&
          !ReadOne(handler)) {
        CloseConnection();
      }
    }
    if (fds[1].revents != 0) Accept();
  }
}

void ControlServer::Stop() {
  MutexLock lock(mutex_);
  stopping_ = true;
  eventfd_write(wakeup_.get(), 1);
}

void ControlServer::SendEvent(control::Event event) {
  control::Packet packet;
  *packet.mutable_event() = std::move(event);
  Enqueue(std::move(packet));
}

void ControlServer::Accept() {
  auto accepted = WrapFd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!accepted.ok()) {
    if (!accepted.Is(Errno::kEAGAIN))
      LOG_WARNING("control: accept: %s", ErrnoName(accepted.error()));
    return;
  }
  CloseConnection();
  connection_ = std::move(accepted).value();
  MutexLock lock(mutex_);
  connected_ = true;
}

void ControlServer::CloseConnection() {
  connection_.Reset();
  MutexLock lock(mutex_);
  connected_ = false;
  outgoing_.clear();
}

bool ControlServer::ReadOne(const Handler& handler) {
  Fds fds;
  auto bytes = Receive(connection_.get(), &fds);
  if (!bytes.ok()) {
    if (bytes.Is(Errno::kEAGAIN)) return true;
    if (!bytes.Is(Errno::kEPIPE)) LOG_WARNING("control: receive: %s", ErrnoName(bytes.error()));
    return false;
  }
  control::Packet packet;
  if (!packet.ParseFromString(*bytes)) {
    LOG_WARNING("control: a packet of %zu bytes is not a Packet", bytes->size());
    return false;
  }
  return HandlePacket(packet, std::move(fds), handler, /*from_body=*/false);
}

bool ControlServer::HandlePacket(const control::Packet& packet, Fds fds, const Handler& handler,
                                 bool from_body) {
  if (packet.has_body_fd() && !from_body) {
    uint32_t index = packet.body_fd().fd_index();
    if (index >= fds.size()) return false;
    auto body = ReadBody(fds[index].get(), packet.body_fd().size());
    control::Packet inner;
    if (!body.ok() || !inner.ParseFromString(*body)) {
      LOG_WARNING("control: a body in a memfd can't be read");
      return false;
    }
    return HandlePacket(inner, std::move(fds), handler, /*from_body=*/true);
  }
  if (!packet.has_request()) {
    LOG_WARNING("control: expected a request");
    return false;
  }
  control::Response response = handler(packet.request(), std::move(fds));
  response.set_id(packet.request().id());
  control::Packet out;
  *out.mutable_response() = std::move(response);
  Enqueue(std::move(out));
  return true;
}

void ControlServer::Enqueue(control::Packet packet) {
  std::string bytes = packet.SerializeAsString();
  if (bytes.size() > kMaxPacket && packet.has_response()) {
    control::Response small;
    small.set_id(packet.response().id());
    small.mutable_status()->set_reason(control::Status::RESOURCE_EXHAUSTED);
    small.mutable_status()->set_message("the answer is too large for the control channel");
    control::Packet replacement;
    *replacement.mutable_response() = std::move(small);
    bytes = replacement.SerializeAsString();
  }
  MutexLock lock(mutex_);
  if (!connected_) return;
  outgoing_.push_back(std::move(bytes));
  eventfd_write(wakeup_.get(), 1);
}

bool ControlServer::Flush() {
  for (;;) {
    std::string bytes;
    {
      MutexLock lock(mutex_);
      if (outgoing_.empty()) return true;
      bytes = outgoing_.front();
    }
    if (send(connection_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
      return errno == EAGAIN || errno == EINTR;
    }
    MutexLock lock(mutex_);
    outgoing_.pop_front();  // only this thread pops
  }
}

}  // namespace sandboxd::boot
