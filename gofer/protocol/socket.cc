#include "gofer/protocol/socket.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace sandboxd::gofer {
namespace {

union FdControl {
  cmsghdr align;
  char bytes[CMSG_SPACE(sizeof(int))];
};

void AttachFd(msghdr& message, FdControl& control, int fd) {
  std::memset(&control, 0, sizeof(control));
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd, sizeof(int));
}

// The descriptor that came with a message. The control buffer has room for one; the host closes
// what does not fit.
UniqueFd DetachFd(msghdr& message) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    if (header->cmsg_len < CMSG_LEN(sizeof(int))) continue;
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header), sizeof(int));
    return UniqueFd(fd);
  }
  return {};
}

enum class AtStart : bool { kNo, kYes };

// Fills `bytes`. An end of file before the first byte of a frame is ECONNRESET, elsewhere EPROTO.
Result<void> ReceiveAll(int socket, Bytes bytes, AtStart at_start, UniqueFd& donated) {
  size_t done = 0;
  while (done < bytes.size()) {
    FdControl control;
    iovec iov{bytes.data() + done, bytes.size() - done};
    msghdr message{};
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof(control.bytes);
    ssize_t n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FromHostErrno(errno);
    UniqueFd fd = DetachFd(message);
    if (fd.valid()) donated = std::move(fd);
    if (n == 0) {
      return at_start == AtStart::kYes && done == 0 ? Errno::kECONNRESET : Errno::kEPROTO;
    }
    done += static_cast<size_t>(n);
  }
  return Ok();
}

}  // namespace

Result<void> SendFrame(int socket, ConstBytes bytes, int donated_fd) {
  FdControl control;
  while (!bytes.empty()) {
    iovec iov{const_cast<std::byte*>(bytes.data()), bytes.size()};
    msghdr message{};
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    if (donated_fd >= 0) AttachFd(message, control, donated_fd);
    ssize_t n = ::sendmsg(socket, &message, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FromHostErrno(errno);
    donated_fd = -1;
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return Ok();
}

Result<ReceivedFrame> ReceiveFrame(int socket, uint32_t max_size, std::vector<std::byte>& buffer) {
  ReceivedFrame received;
  buffer.resize(kHeaderSize);
  TRY(ReceiveAll(socket, buffer, AtStart::kYes, received.donated));
  uint32_t size = TRY(DecodeFrameSize(buffer, max_size));
  buffer.resize(size);
  TRY(ReceiveAll(socket, Bytes(buffer).subspan(kHeaderSize), AtStart::kNo, received.donated));
  received.frame = TRY(DecodeFrame(buffer));
  return received;
}

}  // namespace sandboxd::gofer
