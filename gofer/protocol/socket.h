// Frames on a unix SOCK_STREAM socket, with at most one host descriptor a frame, passed with the
// frame's first byte.
#pragma once

#include <vector>

#include "gofer/protocol/codec.h"
#include "platform/base/result.h"
#include "platform/base/types.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::gofer {

// Sends all of `bytes`, with `donated_fd` unless it is -1. Blocks. EPIPE when the peer is gone,
// never SIGPIPE.
Result<void> SendFrame(int socket, ConstBytes bytes, int donated_fd = -1);

struct ReceivedFrame {
  Frame frame;  // points into the buffer given to ReceiveFrame
  UniqueFd donated;
};

// Receives one frame into `buffer`. ECONNRESET at end of file between frames, EPROTO for a size
// outside [kHeaderSize, max_size] or an end of file within a frame.
Result<ReceivedFrame> ReceiveFrame(int socket, uint32_t max_size, std::vector<std::byte>& buffer);

}  // namespace sandboxd::gofer
