// Messages with file descriptors over unix sockets (unix(7), SCM_RIGHTS).
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "platform/base/result.h"
#include "platform/base/types.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::host {

// The host's own limit (SCM_MAX_FD).
inline constexpr size_t kMaxFdsPerMessage = 253;

struct SocketPair {
  UniqueFd first;
  UniqueFd second;
};
// `type` is SOCK_STREAM, SOCK_SEQPACKET or SOCK_DGRAM; close-on-exec.
Result<SocketPair> MakeSocketPair(int type);

// Sends all of `data`, at least one byte, with `fds` attached to its first byte. Blocks if the
// socket does. EPIPE if the peer is gone (never SIGPIPE). EINTR is retried.
Result<void> SendFds(int socket, ConstBytes data, std::span<const int> fds);

struct ReceivedMessage {
  size_t size = 0;  // bytes; 0: the peer has closed
  std::vector<UniqueFd> fds;
};
// Receives one message (or on a stream, some bytes). EMSGSIZE if the message was larger than
// `buffer` or carried more than `max_fds`; everything that arrived with it is closed then.
Result<ReceivedMessage> RecvFds(int socket, Bytes buffer, size_t max_fds);

}  // namespace sandboxd::host
