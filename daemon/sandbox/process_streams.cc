#include "daemon/sandbox/process_streams.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>

#include "daemon/error/fault_point.h"
#include "daemon/log/log.h"

namespace sandboxd::daemon {
namespace {

constexpr size_t kChunk = 32 << 10;

Outcome<UniqueFd> OpenFifo(const std::string& path, int flags) {
  UniqueFd fd(::open(path.c_str(), flags | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid()) return StorageError("cannot open " + path, errno);
  return fd;
}

Outcome<void> MakeFifo(const std::string& path) {
  if (int e = FaultPoint("streams.fifo")) return StorageError("cannot make " + path, e);
  if (::mkfifo(path.c_str(), 0600) != 0 && errno != EEXIST) {
    return StorageError("cannot make " + path, errno);
  }
  return {};
}

}  // namespace

Outcome<Ref<ProcessStreams>> ProcessStreams::Create(EventLoop& loop, const Options& options,
                                                    bool reopen, KernelEnds* ends) {
  auto streams = Ref<ProcessStreams>::Adopt(new ProcessStreams(loop, options));
  TRY(streams->Open(reopen, ends));
  streams->OpenLog();
  return streams;
}

Ref<ProcessStreams> ProcessStreams::CreateEnded(EventLoop& loop, const Options& options) {
  auto streams = Ref<ProcessStreams>::Adopt(new ProcessStreams(loop, options));
  streams->producer_done_ = streams->out_done_ = streams->err_done_ = true;
  streams->OpenLog();
  return streams;
}

void ProcessStreams::OpenLog() {
  const v1::StdioSpec& stdio = options_.stdio;
  if (stdio.output() != v1::StdioSpec::OUTPUT_LOG &&
      stdio.output() != v1::StdioSpec::OUTPUT_UNSPECIFIED) {
    return;
  }
  LogLimits limits;
  if (stdio.log_max_bytes() != 0) limits.max_bytes = stdio.log_max_bytes();
  if (stdio.log_max_files() != 0) limits.max_files = stdio.log_max_files();
  log_ = std::make_unique<LogWriter>(options_.folder, options_.name, limits);
}

Outcome<UniqueFd> ProcessStreams::OpenOutput(const char* suffix, bool reopen,
                                             UniqueFd* kernel_end) {
  const std::string path = FifoPath(suffix);
  if (!reopen) TRY(MakeFifo(path));
  UniqueFd reader = TRY(OpenFifo(path, O_RDONLY));
  // Both directions: neither an end of file nor EPIPE when a daemon dies, and what is in the FIFO
  // stays there as long as the kernel process holds it.
  if (!reopen) *kernel_end = TRY(OpenFifo(path, O_RDWR));
  return reader;
}

Outcome<void> ProcessStreams::OpenTerminal(KernelEnds* ends) {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0) {
    return Error::Internal(ErrnoText("cannot make a socket", errno));
  }
  out_ = UniqueFd(fds[0]);
  ends->terminal = UniqueFd(fds[1]);
  auto copy = out_.Dup();
  if (!copy.ok()) return Error::Internal("cannot duplicate a descriptor");
  in_ = std::move(*copy);
  err_done_ = true;
  return {};
}

Outcome<void> ProcessStreams::Open(bool reopen, KernelEnds* ends) {
  if (options_.terminal) return OpenTerminal(ends);
  if (options_.stdio.output() == v1::StdioSpec::OUTPUT_DISCARD) {
    out_done_ = err_done_ = true;
  } else {
    out_ = TRY(OpenOutput("out", reopen, &ends->out));
    err_ = TRY(OpenOutput("err", reopen, &ends->err));
  }
  if (!options_.stdio.stdin()) return {};
  if (reopen) {
    // Fails with ENXIO if the kernel process has closed its end: then nobody reads stdin any more.
    UniqueFd in(::open(FifoPath("in").c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
    in_ = std::move(in);
    return {};
  }
  TRY(MakeFifo(FifoPath("in")));
  ends->in = TRY(OpenFifo(FifoPath("in"), O_RDWR));
  in_ = TRY(OpenFifo(FifoPath("in"), O_WRONLY));
  return {};
}

void ProcessStreams::Start() {
  started_ = true;
  Update();
}

void ProcessStreams::SetExit(const v1::ExitStatus& exit) {
  exit_ = exit;
  Update();
}

void ProcessStreams::ProducerDone(std::function<void()> on_logged) {
  producer_done_ = true;
  on_logged_ = std::move(on_logged);
  Update();
}

bool ProcessStreams::MayRead() const {
  if (!started_) return false;
  if (sink_ != nullptr) return !sink_busy_;
  return log_ != nullptr || options_.stdio.output() == v1::StdioSpec::OUTPUT_DISCARD;
}

// Moves what can be moved, then arranges to be called when more can.
void ProcessStreams::Update() {
  Ref<ProcessStreams> self(this);
  // A bounded number a turn; the loop comes back through epoll for the rest.
  for (int i = 0; i < 8; ++i) {
    const bool moved_out = MayRead() && !out_done_ && Pump(1);
    const bool moved_err = MayRead() && !err_done_ && Pump(2);
    if (!moved_out && !moved_err) break;
  }
  UpdateWatch();
  TryFinish();
}

void ProcessStreams::UpdateWatch() {
  const auto set = [this](const UniqueFd& fd, bool want, bool& watched) {
    if (want == watched || !fd.valid()) return;
    watched = want;
    if (!want) return loop_.Remove(fd.get());
    loop_.Watch(fd.get(), EPOLLIN,
                [self = Ref<ProcessStreams>(this)](uint32_t) { self->Update(); });
  };
  set(out_, MayRead() && !out_done_, out_watched_);
  set(err_, MayRead() && !err_done_, err_watched_);
}

bool ProcessStreams::Pump(int stream) {
  UniqueFd& fd = stream == 1 ? out_ : err_;
  bool& done = stream == 1 ? out_done_ : err_done_;
  bool& watched = stream == 1 ? out_watched_ : err_watched_;
  char buffer[kChunk];
  ssize_t n;
  do {
    n = ::read(fd.get(), buffer, sizeof buffer);
  } while (n < 0 && errno == EINTR);
  if (n > 0) {
    Deliver(stream, buffer, static_cast<size_t>(n));
    return true;
  }
  const bool would_block = n < 0 && errno == EAGAIN;
  // An end of file means that the kernel process has gone or has closed its end; an empty FIFO ends
  // the stream only if nobody writes to it any more.
  if (would_block && !producer_done_) return false;
  if (watched) loop_.Remove(fd.get());
  watched = false;
  done = true;
  return false;
}

void ProcessStreams::Deliver(int stream, const char* data, size_t size) {
  if (log_) {
    log_->Append(static_cast<uint8_t>(stream), data, size);
    NotifyFollowers();
  }
  if (sink_ != nullptr) {
    sink_busy_ = true;
    sink_->OnOutput(stream, std::string(data, size));
  }
}

void ProcessStreams::TryFinish() {
  if (producer_done_ && on_logged_ && (log_ == nullptr || finished())) {
    auto on_logged = std::move(on_logged_);
    on_logged_ = nullptr;
    on_logged();
  }
  if (finished()) NotifyFollowers();
  if (finished() && exit_ && sink_ != nullptr && !sink_busy_ && !exit_sent_) {
    StreamSink* sink = sink_;
    sink_ = nullptr;
    sink->OnExit(*exit_);
  }
}

Outcome<void> ProcessStreams::Attach(StreamSink* sink, bool take_over) {
  if (sink_ != nullptr) {
    if (!take_over) {
      return Error(v1::ERROR_REASON_ALREADY_ATTACHED, "another client is attached to this process");
    }
    StreamSink* old = sink_;
    sink_ = nullptr;
    old->OnRemoved(Error(v1::ERROR_REASON_ATTACHMENT_TAKEN,
                         "another client has taken over the attachment to this process"));
  }
  sink_ = sink;
  sink_busy_ = true;  // until the sink says that it is ready
  UpdateWatch();
  return {};
}

void ProcessStreams::Detach(StreamSink* sink) {
  if (sink_ != sink) return;
  sink_ = nullptr;
  sink_busy_ = false;
  stdin_done_ = nullptr;
  Update();
}

void ProcessStreams::Ready(StreamSink* sink) {
  if (sink_ != sink) return;
  sink_busy_ = false;
  Update();
}

void ProcessStreams::WriteStdin(std::string bytes, std::function<void()> done) {
  if (!in_.valid() || stdin_closed_) return done();
  // What a client that went away had left is written before.
  stdin_buffer_.erase(0, stdin_begin_);
  stdin_begin_ = 0;
  stdin_buffer_ += bytes;
  stdin_done_ = std::move(done);
  PumpStdin();
}

void ProcessStreams::CloseStdin(std::function<void()> closed) {
  if (!in_.valid() || stdin_closed_) return;
  stdin_closed_ = std::move(closed);
  PumpStdin();
}

void ProcessStreams::PumpStdin() {
  Ref<ProcessStreams> self(this);
  bool gone = false;
  while (stdin_begin_ < stdin_buffer_.size()) {
    const ssize_t n = ::write(in_.get(), stdin_buffer_.data() + stdin_begin_,
                              stdin_buffer_.size() - stdin_begin_);
    if (n >= 0) {
      stdin_begin_ += static_cast<size_t>(n);
    } else if (errno == EAGAIN) {
      if (!in_watched_) {
        in_watched_ = true;
        loop_.Watch(in_.get(), EPOLLOUT, [self](uint32_t) { self->PumpStdin(); });
      }
      return;
    } else if (errno != EINTR) {
      gone = true;  // nobody reads: the rest has no addressee
      break;
    }
  }
  if (in_watched_) loop_.Remove(in_.get());
  in_watched_ = false;
  stdin_buffer_.clear();
  stdin_begin_ = 0;
  if (gone && !options_.terminal) in_.Reset();
  if (auto done = std::move(stdin_done_)) {
    stdin_done_ = nullptr;
    done();
  }
  if (stdin_closed_ && !options_.terminal && in_.valid()) {
    in_.Reset();
    stdin_closed_();
  }
}

ProcessStreams::FollowerId ProcessStreams::Follow(std::function<void()> changed) {
  followers_[next_follower_] = std::move(changed);
  return next_follower_++;
}

void ProcessStreams::Unfollow(FollowerId id) { followers_.erase(id); }

void ProcessStreams::NotifyFollowers() {
  const auto followers = followers_;  // one may leave while it is told
  for (const auto& [id, changed] : followers) changed();
}

void ProcessStreams::Shutdown(const Error& why, bool remove_files) {
  Ref<ProcessStreams> self(this);
  if (out_watched_) loop_.Remove(out_.get());
  if (err_watched_) loop_.Remove(err_.get());
  if (in_watched_) loop_.Remove(in_.get());
  out_watched_ = err_watched_ = in_watched_ = false;
  in_.Reset();
  out_.Reset();
  err_.Reset();
  producer_done_ = out_done_ = err_done_ = true;
  on_logged_ = nullptr;
  if (sink_ != nullptr) {
    StreamSink* sink = sink_;
    sink_ = nullptr;
    sink->OnRemoved(why);
  }
  NotifyFollowers();
  followers_.clear();
  stdin_done_ = nullptr;
  stdin_closed_ = nullptr;
  if (!remove_files) return;
  for (const char* suffix : {"in", "out", "err"}) ::unlink(FifoPath(suffix).c_str());
  if (log_) log_->RemoveAll();
}

}  // namespace sandboxd::daemon
