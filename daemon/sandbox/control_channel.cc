#include "daemon/sandbox/control_channel.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <future>

#include "daemon/error/fault_point.h"
#include "daemon/log/log.h"

namespace sandboxd::daemon {
namespace {

constexpr size_t kMaxPacket = 128 << 10;
// Above this a body travels in a memfd; some room is left for the envelope.
constexpr size_t kMaxInline = 100 << 10;
constexpr uint64_t kMaxBody = 16 << 20;
constexpr size_t kMaxFds = 253;  // SCM_MAX_FD of the host

// A sealed memfd with `bytes`.
Outcome<UniqueFd> MakeBody(const std::string& bytes) {
  UniqueFd fd(::memfd_create("control-body", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return Error::Internal(ErrnoText("cannot make a memfd", errno));
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::write(fd.get(), bytes.data() + done, bytes.size() - done);
    if (n < 0) return Error::Internal(ErrnoText("cannot write a memfd", errno));
    done += static_cast<size_t>(n);
  }
  ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
  return fd;
}

// A body that the kernel process sent: sealed, so that it can't change under us.
bool ReadBody(const UniqueFd& fd, uint64_t size, std::string& out) {
  const int wanted = F_SEAL_SHRINK | F_SEAL_WRITE;
  if (size > kMaxBody || (::fcntl(fd.get(), F_GET_SEALS) & wanted) != wanted) return false;
  out.resize(size);
  size_t done = 0;
  while (done < size) {
    const ssize_t n = ::pread(fd.get(), out.data() + done, size - done, static_cast<off_t>(done));
    if (n <= 0) return false;
    done += static_cast<size_t>(n);
  }
  return true;
}

ssize_t SendPacket(int socket, const std::string& bytes, const std::vector<UniqueFd>& fds) {
  iovec iov{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr msg{};
  msg.msg_iov = &iov;
  msg.msg_iovlen = 1;
  std::vector<char> control(CMSG_SPACE(sizeof(int) * fds.size()));
  if (!fds.empty()) {
    msg.msg_control = control.data();
    msg.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&msg);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    auto* numbers = reinterpret_cast<int*>(CMSG_DATA(header));
    for (size_t i = 0; i < fds.size(); ++i) numbers[i] = fds[i].get();
  }
  return ::sendmsg(socket, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

v1::ErrorReason ReasonOf(control::Status::Reason reason) {
  switch (reason) {
    case control::Status::NOT_FOUND:
      return v1::ERROR_REASON_PROCESS_NOT_FOUND;
    case control::Status::ALREADY_EXISTS:
      return v1::ERROR_REASON_PROCESS_ALREADY_EXISTS;
    case control::Status::WRONG_STATE:
      return v1::ERROR_REASON_WRONG_STATE;
    case control::Status::INVALID_ARGUMENT:
      return v1::ERROR_REASON_INVALID_FIELD;
    case control::Status::PROGRAM_NOT_FOUND:
      return v1::ERROR_REASON_PROGRAM_NOT_FOUND;
    case control::Status::NOT_EXECUTABLE:
      return v1::ERROR_REASON_PROGRAM_NOT_EXECUTABLE;
    case control::Status::WRONG_FORMAT:
      return v1::ERROR_REASON_PROGRAM_WRONG_FORMAT;
    case control::Status::NO_SUCH_USER_OR_DIR:
      return v1::ERROR_REASON_USER_OR_DIRECTORY_NOT_FOUND;
    case control::Status::MOUNT_FAILED:
      return v1::ERROR_REASON_MOUNT_FAILED;
    case control::Status::RESOURCE_EXHAUSTED:
      return v1::ERROR_REASON_LIMIT_REACHED;
    case control::Status::UNIMPLEMENTED:
      return v1::ERROR_REASON_NOT_IMPLEMENTED;
    default:
      return v1::ERROR_REASON_INTERNAL;
  }
}

// "/proc/self/fd/N/control.sock" fits sun_path however long the folder's own path is.
sockaddr_un ControlAddress(int folder_fd) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/control.sock", folder_fd);
  return address;
}

}  // namespace

Outcome<void> FromControlStatus(const control::Status& status) {
  if (status.reason() == control::Status::OK) return {};
  std::string message = status.message();
  if (message.empty()) message = "the application kernel refused without a reason";
  Error error(ReasonOf(status.reason()), std::move(message));
  if (status.linux_errno() <= 0) return error;
  return std::move(error).With("errno", std::to_string(status.linux_errno()));
}

Outcome<UniqueFd> ConnectControlSocket(int folder_fd) {
  if (int e = FaultPoint("control.connect")) {
    return Error::Internal(ErrnoText("cannot connect to the control socket", e));
  }
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const sockaddr_un address = ControlAddress(folder_fd);
  if (!fd.valid() ||
      ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return Error::Internal(ErrnoText("cannot connect to the control socket", errno));
  }
  return fd;
}

Outcome<UniqueFd> ListenControlSocket(int folder_fd) {
  if (int e = FaultPoint("control.listen")) return StorageError("cannot bind control.sock", e);
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  const sockaddr_un address = ControlAddress(folder_fd);
  if (!fd.valid() ||
      ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd.get(), 8) != 0) {
    return StorageError("cannot bind control.sock", errno);
  }
  return fd;
}

Ref<ControlChannel> ControlChannel::Start(EventLoop& loop, UniqueFd socket, Handlers handlers) {
  auto channel =
      Ref<ControlChannel>::Adopt(new ControlChannel(loop, std::move(socket), std::move(handlers)));
  loop.Post([channel] { channel->UpdateWatch(); });
  return channel;
}

void ControlChannel::CallAsync(control::Request request, std::vector<UniqueFd> fds, Reply reply) {
  // std::function wants copyable captures.
  auto* owned = new std::vector<UniqueFd>(std::move(fds));
  loop_.Post([self = Ref<ControlChannel>(this), request = std::move(request), owned,
              reply = std::move(reply)]() mutable {
    std::vector<UniqueFd> mine = std::move(*owned);
    delete owned;
    self->SendOnLoop(std::move(request), std::move(mine), std::move(reply));
  });
}

namespace {
// One waiting Call; kept alive by both sides, because the answer may come after the wait was given
// up.
struct Waiting : RefCounted {
  Mutex mutex{LockRank::kDaemonLeaf};
  CondVar changed;
  std::optional<Outcome<control::Response>> answer GUARDED_BY(mutex);
  bool cancelled GUARDED_BY(mutex) = false;
};
}  // namespace

Outcome<control::Response> ControlChannel::Call(CallContext& context, control::Request request,
                                                std::vector<UniqueFd> fds,
                                                std::chrono::seconds timeout) {
  TRY(context.Check());
  auto waiting = MakeRef<Waiting>();
  const auto on_cancel = context.OnCancel([waiting] {
    MutexLock lock(waiting->mutex);
    waiting->cancelled = true;
    waiting->changed.NotifyAll();
  });
  CallAsync(std::move(request), std::move(fds), [waiting](Outcome<control::Response> answer) {
    MutexLock lock(waiting->mutex);
    waiting->answer = std::move(answer);
    waiting->changed.NotifyAll();
  });
  const auto until = std::min(context.deadline(), CallContext::Clock::now() + timeout);
  std::optional<Outcome<control::Response>> answer;
  bool cancelled = false;
  {
    MutexLock lock(waiting->mutex);
    while (!waiting->answer && !waiting->cancelled) {
      const auto left = until - CallContext::Clock::now();
      if (left <= Nanos::zero() || !waiting->changed.WaitFor(waiting->mutex, left)) break;
    }
    answer = std::move(waiting->answer);
    cancelled = waiting->cancelled;
  }
  context.RemoveOnCancel(on_cancel);
  if (answer) return *std::move(answer);
  if (cancelled || CallContext::Clock::now() >= context.deadline()) return context.StopError();
  return Error(v1::ERROR_REASON_KERNEL_LOST, "the application kernel does not answer");
}

void ControlChannel::Close() {
  auto close = [self = Ref<ControlChannel>(this)] {
    if (self->socket_.valid()) self->loop_.Remove(self->socket_.get());
    self->socket_.Reset();
    self->handlers_ = {};
    self->FailPending("the control channel was closed");
  };
  if (loop_.OnLoopThread()) {
    close();
  } else {
    loop_.PostAndWait(close);
  }
}

void ControlChannel::SendOnLoop(control::Request request, std::vector<UniqueFd> fds, Reply reply) {
  const uint64_t id = next_id_++;
  request.set_id(id);
  pending_[id] = std::move(reply);
  if (!socket_.valid()) return FailPending("its control channel is closed");
  control::Packet packet;
  *packet.mutable_request() = std::move(request);
  std::string bytes = packet.SerializeAsString();
  if (bytes.size() > kMaxInline) {
    auto body = MakeBody(bytes);
    if (!body.ok()) {
      auto node = pending_.extract(id);
      return node.mapped()(body.error());
    }
    packet.Clear();
    packet.mutable_body_fd()->set_fd_index(static_cast<uint32_t>(fds.size()));
    packet.mutable_body_fd()->set_size(bytes.size());
    fds.push_back(std::move(*body));
    bytes = packet.SerializeAsString();
  }
  outgoing_.push_back({std::move(bytes), std::move(fds)});
  Flush();
}

void ControlChannel::Flush() {
  while (!outgoing_.empty()) {
    const Outgoing& next = outgoing_.front();
    if (SendPacket(socket_.get(), next.bytes, next.fds) < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) break;
      return Lose(ErrnoText("sending failed", errno));
    }
    outgoing_.pop_front();
  }
  UpdateWatch();
}

void ControlChannel::UpdateWatch() {
  if (!socket_.valid()) return;
  const uint32_t events = outgoing_.empty() ? EPOLLIN : (EPOLLIN | EPOLLOUT);
  loop_.Watch(socket_.get(), events,
              [self = Ref<ControlChannel>(this)](uint32_t ready) { self->OnReady(ready); });
}

void ControlChannel::OnReady(uint32_t events) {
  if ((events & EPOLLOUT) != 0) Flush();
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
  // A bounded number a turn, so that one sandbox can't keep the loop from the others.
  for (int i = 0; i < 16 && socket_.valid(); ++i) {
    if (!ReceiveOne()) return;
  }
}

bool ControlChannel::ReceiveOne() {
  std::string buffer(kMaxPacket, '\0');
  iovec iov{buffer.data(), buffer.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxFds)];
  msghdr msg{};
  msg.msg_iov = &iov;
  msg.msg_iovlen = 1;
  msg.msg_control = control;
  msg.msg_controllen = sizeof control;
  const ssize_t n = ::recvmsg(socket_.get(), &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  std::vector<UniqueFd> fds;
  if (n >= 0) {
    for (cmsghdr* c = CMSG_FIRSTHDR(&msg); c != nullptr; c = CMSG_NXTHDR(&msg, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
      const auto* numbers = reinterpret_cast<const int*>(CMSG_DATA(c));
      const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < count; ++i) fds.emplace_back(numbers[i]);
    }
  }
  if (n <= 0) return Lose("the connection ended"), false;
  if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) return Lose("a packet is too long"), false;
  control::Packet packet;
  if (!packet.ParseFromArray(buffer.data(), static_cast<int>(n)) || !Dispatch(packet, fds)) {
    return Lose("a packet is malformed"), false;
  }
  return true;
}

bool ControlChannel::Dispatch(const control::Packet& packet, std::vector<UniqueFd>& fds) {
  switch (packet.kind_case()) {
    case control::Packet::kResponse: {
      auto node = pending_.extract(packet.response().id());
      if (node.empty()) return false;
      auto status = FromControlStatus(packet.response().status());
      if (status.ok()) {
        node.mapped()(packet.response());
      } else {
        node.mapped()(status.error());
      }
      return true;
    }
    case control::Packet::kEvent:
      if (auto on_event = handlers_.on_event) on_event(packet.event());
      return true;
    case control::Packet::kBodyFd: {
      std::string body;
      control::Packet inner;
      std::vector<UniqueFd> none;
      return packet.body_fd().fd_index() < fds.size() &&
             ReadBody(fds[packet.body_fd().fd_index()], packet.body_fd().size(), body) &&
             inner.ParseFromString(body) && !inner.has_body_fd() && Dispatch(inner, none);
    }
    default:
      return false;
  }
}

void ControlChannel::Lose(const std::string& why) {
  if (!socket_.valid()) return;
  Ref<ControlChannel> self(this);
  loop_.Remove(socket_.get());
  socket_.Reset();
  outgoing_.clear();
  auto on_lost = std::move(handlers_.on_lost);
  handlers_ = {};
  FailPending(why);
  if (on_lost) on_lost(why);
}

void ControlChannel::FailPending(const std::string& why) {
  auto pending = std::move(pending_);
  pending_.clear();
  for (auto& [id, reply] : pending) {
    reply(Error(v1::ERROR_REASON_KERNEL_LOST, "the application kernel was lost: " + why));
  }
}

}  // namespace sandboxd::daemon
