#include "tools/shim/stdio_relay.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace sandboxd::shim {
namespace {

using daemon::Error;
using daemon::Outcome;

constexpr size_t kChunk = 32 << 10;
constexpr int kDrainPatienceMs = 2000;
constexpr auto kReconnectPause = std::chrono::milliseconds(200);

// "fifo:///a" → {"fifo", "/a"}; a plain path has the scheme "fifo".
struct Target {
  std::string scheme, path;
};
Target Parse(const std::string& uri) {
  const size_t at = uri.find("://");
  if (at == std::string::npos) return {"fifo", uri};
  const size_t end = uri.find('?', at);
  return {uri.substr(0, at), uri.substr(at + 3, end == std::string::npos ? end : end - at - 3)};
}

Error CannotOpen(const std::string& uri) {
  return Error::Internal(daemon::ErrnoText("cannot open the stream " + uri, errno));
}

// A fifo is held open in both directions: a reader that goes away and comes back (containerd is
// restarted) loses nothing and ends nothing.
Outcome<UniqueFd> OpenOutput(const std::string& uri) {
  if (uri.empty()) return UniqueFd();
  const Target target = Parse(uri);
  int flags = O_CLOEXEC;
  if (target.scheme == "fifo") {
    flags |= O_RDWR | O_NONBLOCK;
  } else if (target.scheme == "file") {
    flags |= O_WRONLY | O_CREAT | O_APPEND;
  } else {
    return Error(v1::ERROR_REASON_NOT_IMPLEMENTED,
                 "streams of the scheme " + target.scheme + ":// are not supported: " + uri);
  }
  UniqueFd fd(::open(target.path.c_str(), flags, 0644));
  if (!fd.valid()) return CannotOpen(uri);
  return fd;
}

}  // namespace

Outcome<Ref<StdioRelay>> StdioRelay::Open(const StdioPaths& paths) {
  auto relay = Ref<StdioRelay>::Adopt(new StdioRelay);
  relay->out_ = TRY(OpenOutput(paths.out));
  if (!paths.terminal) relay->err_ = TRY(OpenOutput(paths.err));
  relay->stop_.Reset(::eventfd(0, EFD_CLOEXEC));
  relay->exited_.Reset(::eventfd(0, EFD_CLOEXEC));
  if (paths.in.empty()) return relay;
  const Target target = Parse(paths.in);
  relay->in_.Reset(::open(target.path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!relay->in_.valid()) return CannotOpen(paths.in);
  // A writer of our own: end of file comes after CloseIO, not when a client goes away.
  relay->in_hold_.Reset(::open(target.path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
  return relay;
}

void StdioRelay::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    if (stream_) stream_->stream->Cancel();
  }
  eventfd_write(stop_.get(), 1);
  eventfd_write(exited_.get(), 1);
  if (input_.joinable()) input_.join();
  if (output_.joinable()) output_.join();
  if (exit_.joinable()) exit_.join();
  on_exit_ = nullptr;
}

Ref<StdioRelay::Stream> StdioRelay::Current() {
  MutexLock lock(mutex_);
  return stream_;
}

Ref<StdioRelay::Stream> StdioRelay::Connect(bool again, client::Error* error) {
  v1::AttachStart start;
  *start.mutable_process() = process_;
  start.set_on_disconnect(v1::AttachStart::ON_DISCONNECT_DETACH);
  start.set_take_over(again);
  start.set_output_only(!in_.valid());
  auto made = MakeRef<Stream>();
  made->stream = client_->Attach(start);
  v1::AttachResponse first;
  if (made->stream->Read(&first) && first.has_started()) return made;
  *error = made->stream->Finish();
  return nullptr;
}

Outcome<void> StdioRelay::Attach(const oci::DaemonOptions& daemon, const std::string& address,
                                 const v1::ProcessRef& process, ExitCallback on_exit) {
  daemon_ = daemon;
  address_ = address;
  process_ = process;
  on_exit_ = std::move(on_exit);
  client_ = std::make_unique<client::Client>(address);
  client::Error error;
  auto stream = Connect(/*again=*/false, &error);
  if (!stream) return oci::FromClient(error);
  {
    MutexLock lock(mutex_);
    stream_ = std::move(stream);
  }
  output_ = std::thread([this] { OutputLoop(); });
  exit_ = std::thread([this] { ExitLoop(); });
  if (in_.valid()) input_ = std::thread([this] { InputLoop(); });
  return {};
}

void StdioRelay::OutputLoop() {
  std::optional<v1::ExitStatus> exit;
  while (!exit) {
    Ref<Stream> current = Current();
    v1::AttachResponse frame;
    while (current->stream->Read(&frame)) {
      if (frame.has_exit()) exit = frame.exit();
      if (frame.frame_case() == v1::AttachResponse::kStdout && out_.valid()) {
        WriteOutput(out_.get(), frame.stdout());
      }
      if (frame.frame_case() == v1::AttachResponse::kStderr && err_.valid()) {
        WriteOutput(err_.get(), frame.stderr());
      }
    }
    client::Error error = current->stream->Finish();
    if (!exit && !Reconnect(error)) break;
  }
  Finish();
  on_exit_(exit);
}

void StdioRelay::WriteOutput(int fd, const std::string& bytes) {
  size_t done = 0;
  bool exited = false;
  while (done < bytes.size() && !give_up_) {
    const ssize_t n = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (n > 0) done += static_cast<size_t>(n);
    if (n >= 0 || errno == EINTR) continue;
    if (errno != EAGAIN) return;
    pollfd fds[2] = {{fd, POLLOUT, 0}, {exited ? -1 : exited_.get(), POLLIN, 0}};
    const int ready = ::poll(fds, 2, exited ? kDrainPatienceMs : -1);
    if (ready == 0) give_up_ = true;
    if (fds[1].revents != 0) exited = true;
  }
}

void StdioRelay::ExitLoop() {
  for (;;) {
    v1::WaitProcessResponse response;
    const client::Error error = client_->WaitProcess(process_, &response);
    if (!error || error.code() != grpc::StatusCode::UNAVAILABLE) break;
    {
      MutexLock lock(mutex_);
      if (stopping_) break;
    }
    std::this_thread::sleep_for(kReconnectPause);
  }
  eventfd_write(exited_.get(), 1);
}

// After the daemon went away. False: there is nothing to come back to.
bool StdioRelay::Reconnect(client::Error error) {
  while (error.code() == grpc::StatusCode::UNAVAILABLE) {
    std::this_thread::sleep_for(kReconnectPause);
    (void)oci::EnsureDaemon(daemon_, address_);
    auto next = Connect(/*again=*/true, &error);
    MutexLock lock(mutex_);
    if (stopping_) return false;
    if (!next) continue;
    stream_ = std::move(next);
    return true;
  }
  return false;
}

// The readers see the end only now that everything is written.
void StdioRelay::Finish() {
  out_.Reset();
  err_.Reset();
  eventfd_write(stop_.get(), 1);
}

void StdioRelay::Write(const v1::AttachRequest& frame) {
  if (Ref<Stream> current = Current()) current->stream->Write(frame);
}

void StdioRelay::InputLoop() {
  for (;;) {
    pollfd fds[2] = {{in_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0) continue;
    if (fds[1].revents != 0) return;
    char buffer[kChunk];
    const ssize_t n = ::read(in_.get(), buffer, sizeof buffer);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    v1::AttachRequest frame;
    if (n <= 0) {
      frame.mutable_close_stdin();
      Write(frame);
      return;
    }
    frame.set_stdin(buffer, static_cast<size_t>(n));
    Write(frame);
  }
}

void StdioRelay::Resize(uint32_t rows, uint32_t cols) {
  v1::AttachRequest frame;
  frame.mutable_resize()->set_rows(rows);
  frame.mutable_resize()->set_cols(cols);
  Write(frame);
}

void StdioRelay::CloseStdin() {
  MutexLock lock(mutex_);
  in_hold_.Reset();
}

}  // namespace sandboxd::shim
