#include "tools/shim/ttrpc_server.h"

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include <cerrno>
#include <vector>

#include "tools/shim/ttrpc_frame.h"

namespace sandboxd::shim {
namespace {

constexpr int kMaxRequests = 512;  // at the same time on one connection
constexpr size_t kThreadStack = 256 << 10;

// A detached thread with a small stack. False: the host has none.
bool RunDetached(std::function<void()> work) {
  auto* owned = new std::function<void()>(std::move(work));
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kThreadStack);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  const auto entry = [](void* p) -> void* {
    std::unique_ptr<std::function<void()>> work(static_cast<std::function<void()>*>(p));
    (*work)();
    return nullptr;
  };
  pthread_t thread;
  const int error = pthread_create(&thread, &attributes, entry, owned);
  pthread_attr_destroy(&attributes);
  if (error != 0) delete owned;
  return error == 0;
}

}  // namespace

struct TtrpcServer::Connection : RefCounted {
  explicit Connection(UniqueFd s) : socket(std::move(s)) {}

  void Send(uint32_t stream, const ttrpc::Response& response) {
    std::string frame =
        EncodeTtrpcFrame(stream, TtrpcFrame::kResponse, response.SerializeAsString());
    MutexLock lock(write_mutex);
    size_t done = 0;
    while (done < frame.size()) {
      const ssize_t n =
          ::send(socket.get(), frame.data() + done, frame.size() - done, MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return;  // the client is gone
      done += static_cast<size_t>(n);
    }
  }
  void SendError(uint32_t stream, daemon::Code code, const std::string& message) {
    ttrpc::Response response;
    response.mutable_status()->set_code(static_cast<int>(code));
    response.mutable_status()->set_message(message);
    Send(stream, response);
  }

  const UniqueFd socket;
  Mutex write_mutex{LockRank::kDaemonLeaf};  // keeps the bytes of frames together
  std::atomic<int> requests{0};
};

void TtrpcServer::Register(const std::string& service, const std::string& method, Method handler) {
  methods_[service + "/" + method] = std::move(handler);
}

void TtrpcServer::Serve(int listener, int stop_fd) {
  for (;;) {
    pollfd fds[2] = {{listener, POLLIN, 0}, {stop_fd, POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0) continue;
    if (fds[1].revents != 0) return;
    if (fds[0].revents == 0) continue;
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    auto* socket = new UniqueFd(fd);
    const bool running = RunDetached([this, socket] {
      std::unique_ptr<UniqueFd> mine(socket);
      ServeConnection(std::move(*mine));
    });
    if (!running) delete socket;
  }
}

void TtrpcServer::ServeConnection(UniqueFd socket) {
  auto connection = MakeRef<Connection>(std::move(socket));
  TtrpcReader reader;
  uint32_t last_stream = 0;
  char buffer[16 << 10];
  for (;;) {
    const ssize_t n = ::recv(connection->socket.get(), buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    std::vector<TtrpcFrame> frames;
    reader.Feed(buffer, static_cast<size_t>(n), &frames);
    for (const TtrpcFrame& frame : frames) {
      if (frame.type == TtrpcFrame::kData) continue;  // no method of ours streams
      if (frame.type != TtrpcFrame::kRequest) return;
      if (frame.stream % 2 != 1 || frame.stream <= last_stream) {
        connection->SendError(frame.stream, daemon::Code::kInvalidArgument,
                              "stream ids of clients are odd and grow");
        continue;
      }
      last_stream = frame.stream;
      if (frame.too_large) {
        connection->SendError(frame.stream, daemon::Code::kResourceExhausted,
                              "the message is larger than 4 MiB");
        continue;
      }
      ttrpc::Request request;
      if (!request.ParseFromString(frame.payload)) {
        connection->SendError(frame.stream, daemon::Code::kInvalidArgument,
                              "the frame holds no ttrpc request");
        continue;
      }
      const bool room = connection->requests.fetch_add(1, std::memory_order_relaxed) < kMaxRequests;
      const bool running =
          room && RunDetached([this, connection, frame_stream = frame.stream, request] {
            Handle(connection, frame_stream, request);
            connection->requests.fetch_sub(1, std::memory_order_relaxed);
          });
      if (running) continue;
      connection->requests.fetch_sub(1, std::memory_order_relaxed);
      connection->SendError(frame.stream, daemon::Code::kResourceExhausted,
                            "too many requests at the same time");
    }
  }
}

void TtrpcServer::Handle(const Ref<Connection>& connection, uint32_t stream,
                         const ttrpc::Request& request) {
  const std::string name = request.service() + "/" + request.method();
  auto method = methods_.find(name);
  if (method == methods_.end()) {
    connection->SendError(stream, daemon::Code::kUnimplemented, "there is no method " + name);
    return;
  }
  auto answer = method->second(request.payload());
  if (!answer.ok()) {
    connection->SendError(stream, answer.error().code(), answer.error().message());
    return;
  }
  ttrpc::Response response;
  response.set_payload(std::move(*answer));
  connection->Send(stream, response);
}

}  // namespace sandboxd::shim
