#include "client/cli/session.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <thread>

#include "client/cli/terminal.h"

namespace sandboxd::cli {
namespace {

constexpr size_t kChunk = 32 << 10;

sigset_t SessionSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signo : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP, SIGUSR1, SIGUSR2})
    sigaddset(&set, signo);
  return set;
}

bool WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n >= 0) {
      bytes.remove_prefix(n);
    } else if (errno == EAGAIN) {
      pollfd p{fd, POLLOUT, 0};
      poll(&p, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

}  // namespace

void BlockSessionSignals() {
  sigset_t set = SessionSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

struct Session::Impl {
  Impl(client::Client& c, const SessionOptions& o) : client(c), options(o) {}

  client::Client& client;
  const SessionOptions options;
  std::unique_ptr<client::AttachStream> stream;
  std::unique_ptr<RawTerminal> raw;
  std::thread input;
  int stop_fd = -1;
  int signal_fd = -1;

  // Everything that goes to the sandbox: stdin, window sizes, signals.
  void InputLoop() {
    bool stdin_open = options.forward_stdin;
    if (options.terminal) SendSize();
    for (;;) {
      pollfd fds[3] = {
          {stop_fd, POLLIN, 0}, {signal_fd, POLLIN, 0}, {stdin_open ? 0 : -1, POLLIN, 0}};
      if (poll(fds, 3, -1) < 0) continue;
      if (fds[0].revents != 0) return;
      if (fds[1].revents != 0) HandleSignal();
      if (fds[2].revents != 0) stdin_open = ForwardStdin();
    }
  }

  bool ForwardStdin() {
    char buffer[kChunk];
    ssize_t n = read(0, buffer, sizeof(buffer));
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return true;
    v1::AttachRequest frame;
    if (n <= 0) {
      frame.mutable_close_stdin();
      stream->Write(frame);
      return false;
    }
    frame.set_stdin(buffer, n);
    return stream->Write(frame);
  }

  void SendSize() {
    v1::AttachRequest frame;
    *frame.mutable_resize() = TerminalSizeOf(0);
    stream->Write(frame);
  }

  void HandleSignal() {
    signalfd_siginfo info;
    if (read(signal_fd, &info, sizeof(info)) != sizeof(info)) return;
    int signo = static_cast<int>(info.ssi_signo);
    if (signo == SIGWINCH) {
      if (options.terminal) SendSize();
      return;
    }
    if (signo == SIGTSTP) {
      if (raw != nullptr) raw->Suspend();
      kill(getpid(), SIGSTOP);
      if (raw != nullptr) raw->Resume();
      if (options.terminal) SendSize();
      return;
    }
    v1::AttachRequest frame;
    frame.set_signal(signo);
    stream->Write(frame);
  }
};

Session::Session(client::Client& client, const SessionOptions& options)
    : impl_(std::make_unique<Impl>(client, options)) {}

Session::~Session() = default;

bool Session::Connect() {
  v1::AttachStart start;
  *start.mutable_process() = impl_->options.process;
  start.set_detach_keys(impl_->options.detach_keys);
  start.set_on_disconnect(impl_->options.kill_on_disconnect
                              ? v1::AttachStart::ON_DISCONNECT_KILL
                              : v1::AttachStart::ON_DISCONNECT_DETACH);
  start.set_take_over(impl_->options.take_over);
  start.set_output_only(!impl_->options.forward_stdin);
  impl_->stream = impl_->client.Attach(start);
  v1::AttachResponse first;
  if (impl_->stream->Read(&first) && first.has_started()) return true;
  result_.error = impl_->stream->Finish();
  return false;
}

SessionResult Session::Run() {
  Impl& s = *impl_;
  sigset_t set = SessionSignals();
  s.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  s.stop_fd = eventfd(0, EFD_CLOEXEC);
  if (s.options.terminal && s.options.forward_stdin && isatty(0))
    s.raw = std::make_unique<RawTerminal>(0);
  s.input = std::thread([&s] { s.InputLoop(); });
  v1::AttachResponse frame;
  while (s.stream->Read(&frame)) {
    if (frame.has_exit()) {
      result_.exit = frame.exit();
    } else if (frame.has_detached()) {
      result_.detached = true;
    } else {
      bool out = frame.frame_case() == v1::AttachResponse::kStdout;
      if (frame.frame_case() != v1::AttachResponse::kStderr && !out) continue;
      if (!WriteAll(out ? 1 : 2, out ? frame.stdout() : frame.stderr())) {
        result_.output_closed = true;
        s.stream->Cancel();
      }
    }
  }
  eventfd_write(s.stop_fd, 1);
  s.input.join();  // a Write that waits for the daemon ends with the stream
  result_.error = s.stream->Finish();
  s.raw.reset();
  close(s.signal_fd);
  close(s.stop_fd);
  return result_;
}

}  // namespace sandboxd::cli
