#include "kernel/fs/pts/terminal.h"

#include <linux/capability.h>
#include <signal.h>
#include <sys/epoll.h>

#include <array>

namespace sandboxd::pts {
namespace {

constexpr size_t kChunk = 1024;

}  // namespace

Result<uint32_t> IndexPool::Take() {
  MutexLock lock(mutex_);
  uint32_t index = 0;
  for (uint32_t used : taken_) {
    if (used != index) break;
    index++;
  }
  if (index >= max_) return Errno::kENOSPC;
  taken_.insert(index);
  return index;
}

void IndexPool::Return(uint32_t index) {
  MutexLock lock(mutex_);
  taken_.erase(index);
}

Result<Ref<Terminal>> Terminal::Create(Ref<IndexPool> pool, JobControl* jobs,
                                       time::TimerService* timers) {
  uint32_t index = TRY(pool->Take());
  return MakeRef<Terminal>(std::move(pool), index, jobs, timers);
}

Terminal::Terminal(Ref<IndexPool> pool, uint32_t index, JobControl* jobs,
                   time::TimerService* timers)
    : pool_(std::move(pool)), index_(index), jobs_(jobs), timers_(timers) {}

Terminal::~Terminal() {
  // Nobody else has a reference: the timer is stopped without the mutex, which its callback takes.
  std::unique_ptr<time::Timer> timer;
  {
    MutexLock lock(mutex_);
    timer = std::move(timer_);
  }
  timer.reset();
  pool_->Return(index_);
}

void Terminal::SendSignals(const std::vector<int>& signals) {
  if (jobs_ == nullptr) return;
  for (int signo : signals) jobs_->SignalForeground(*this, signo);
}

void Terminal::NotePacket(uint8_t bits) {
  if (packet_mode_) packet_status_ |= bits;
}

void Terminal::NoteEffects(const LineDiscipline::Effects& effects) {
  uint8_t bits = 0;
  if (effects.input_flushed) bits |= TIOCPKT_FLUSHREAD;
  if (effects.output_flushed) bits |= TIOCPKT_FLUSHWRITE;
  if (effects.stopped) bits |= TIOCPKT_STOP;
  if (effects.started) bits |= TIOCPKT_START;
  NotePacket(bits);
}

// After a change that may matter to anybody: who was woken for nothing looks and sleeps again.
void Terminal::NotifyAll() {
  slave_queue_.Notify(EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM);
  master_queue_.Notify(EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDNORM | EPOLLWRNORM);
}

// --- master ---

Result<size_t> Terminal::MasterRead(Bytes out) {
  size_t n = 0;
  {
    MutexLock lock(mutex_);
    if (out.empty()) return size_t{0};
    if (packet_mode_) {
      if (packet_status_ != 0) {
        out[0] = static_cast<std::byte>(std::exchange(packet_status_, 0));
        return size_t{1};
      }
      out[0] = std::byte{TIOCPKT_DATA};
      n = 1;
    }
    size_t data = line_.output().Pop(out.subspan(n));
    if (data == 0) {
      if (slave_was_open_ && slaves_ == 0) return Errno::kEIO;
      return Errno::kEAGAIN;
    }
    n += data;
  }
  slave_queue_.Notify(EPOLLOUT | EPOLLWRNORM);
  return n;
}

Result<size_t> Terminal::MasterWrite(ConstBytes bytes) {
  LineDiscipline::Effects effects;
  size_t n;
  {
    MutexLock lock(mutex_);
    n = line_.Input(bytes, effects);
    NoteEffects(effects);
    time_limit_ = Nanos(0);  // the time between two bytes begins anew
  }
  NotifyAll();
  SendSignals(effects.signals);
  if (n == 0 && !bytes.empty()) return Errno::kEAGAIN;
  return n;
}

wait::EventMask Terminal::MasterPoll(wait::EventMask interest) {
  MutexLock lock(mutex_);
  wait::EventMask ready = 0;
  if (!line_.output().empty()) ready |= EPOLLIN | EPOLLRDNORM;
  if (packet_status_ != 0) ready |= EPOLLIN | EPOLLRDNORM | EPOLLPRI;
  if (line_.HasInputRoom()) ready |= EPOLLOUT | EPOLLWRNORM;
  if (slave_was_open_ && slaves_ == 0) ready |= EPOLLHUP;
  return ready & (interest | EPOLLHUP);
}

void Terminal::MasterClose() {
  {
    MutexLock lock(mutex_);
    if (!master_open_) return;
    master_open_ = false;
  }
  if (jobs_ != nullptr) jobs_->Hangup(*this);
  VHangup();
}

void Terminal::VHangup() {
  {
    MutexLock lock(mutex_);
    generation_++;
    slaves_ = 0;
    exclusive_ = false;
    line_.FlushInput();
  }
  slave_queue_.Notify(EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP);
  master_queue_.Notify(EPOLLIN | EPOLLHUP);
}

void Terminal::SetWindowSize(const WindowSize& size) {
  {
    MutexLock lock(mutex_);
    if (window_ == size) return;
    window_ = size;
  }
  SendSignals({SIGWINCH});
}

WindowSize Terminal::window_size() const {
  MutexLock lock(mutex_);
  return window_;
}

Termios Terminal::termios() const {
  MutexLock lock(mutex_);
  return line_.termios();
}

void Terminal::SetTermios(const Termios& termios) {
  {
    MutexLock lock(mutex_);
    const Termios old = line_.termios();
    line_.SetTermios(termios);
    auto flow = [](const Termios& t) {
      return (t.iflag & IXON) != 0 && t.cc[VSTART] == 17 && t.cc[VSTOP] == 19;
    };
    if (flow(old) != flow(termios)) {
      NotePacket(flow(termios) ? TIOCPKT_DOSTOP : TIOCPKT_NOSTOP);
    }
    if (((old.lflag | termios.lflag) & EXTPROC) != 0) NotePacket(TIOCPKT_IOCTL);
  }
  NotifyAll();
}

void Terminal::set_locked(bool locked) {
  MutexLock lock(mutex_);
  locked_ = locked;
}

// --- slave ---

Result<Terminal::Generation> Terminal::SlaveOpen(vfs::Caller& c) {
  bool privileged = c.credentials()->CapableInit(CAP_SYS_ADMIN);
  MutexLock lock(mutex_);
  if (!master_open_ || locked_) return Errno::kEIO;
  if (exclusive_ && !privileged) return Errno::kEBUSY;
  slaves_++;
  slave_was_open_ = true;
  return generation_;
}

void Terminal::SlaveClose(Generation g) {
  {
    MutexLock lock(mutex_);
    if (g != generation_ || --slaves_ > 0) return;
    exclusive_ = false;
  }
  master_queue_.Notify(EPOLLIN | EPOLLHUP);
}

bool Terminal::IsHungUp(Generation g) const {
  MutexLock lock(mutex_);
  return g != generation_;
}

bool Terminal::TimeIsUp() { return time_limit_ != Nanos(0) && wait::MonotonicNow() >= time_limit_; }

void Terminal::OnTimer() {
  {
    MutexLock lock(mutex_);
    if (!TimeIsUp()) return;
  }
  slave_queue_.Notify(EPOLLIN | EPOLLRDNORM);
}

// termios(3), "Canonical and noncanonical mode": the four cases of MIN and TIME.
Result<size_t> Terminal::ReadRaw(Bytes out, bool nonblocking) {
  const size_t available = line_.Readable();
  const size_t min = line_.termios().cc[VMIN];
  const unsigned tenths = line_.termios().cc[VTIME];
  if (available > 0 && (nonblocking || available >= std::min(min, out.size()))) {
    time_limit_ = Nanos(0);
    return line_.Read(out);
  }
  if (min == 0 && tenths == 0) return size_t{0};
  if (nonblocking || tenths == 0 || (min > 0 && available == 0)) return Errno::kEAGAIN;
  if (TimeIsUp()) {
    time_limit_ = Nanos(0);
    return line_.Read(out);
  }
  if (time_limit_ == Nanos(0) && timers_ != nullptr) {
    time_limit_ = wait::MonotonicNow() + std::chrono::milliseconds(100) * tenths;
    if (timer_ == nullptr) {
      timer_ = std::make_unique<time::Timer>(*timers_, [this](uint64_t) { OnTimer(); });
    }
    timer_->Start(time_limit_, Nanos(0));
  }
  return Errno::kEAGAIN;
}

Result<size_t> Terminal::ReadReady(Bytes out, bool nonblocking) {
  if (!line_.canonical()) return ReadRaw(out, nonblocking);
  if (!line_.HasLine()) return Errno::kEAGAIN;
  return line_.Read(out);
}

Result<size_t> Terminal::SlaveRead(vfs::Caller& c, mm::IoSink& dst, bool nonblocking,
                                   Generation g) {
  if (IsHungUp(g)) return size_t{0};
  if (jobs_ != nullptr) TRY(jobs_->CheckBackground(c, *this, SIGTTIN));
  std::array<std::byte, 4096> buffer;
  size_t n;
  {
    MutexLock lock(mutex_);
    if (g != generation_) return size_t{0};
    Bytes room = Bytes(buffer).first(std::min(buffer.size(), dst.remaining()));
    if (room.empty()) return size_t{0};
    n = TRY(ReadReady(room, nonblocking));
  }
  master_queue_.Notify(EPOLLOUT | EPOLLWRNORM);
  return dst.Put(ConstBytes(buffer).first(n));
}

Result<size_t> Terminal::SlaveWrite(vfs::Caller& c, mm::IoSource& src, Generation g) {
  if (IsHungUp(g)) return Errno::kEIO;
  bool check = (termios().lflag & TOSTOP) != 0;
  if (check && jobs_ != nullptr) TRY(jobs_->CheckBackground(c, *this, SIGTTOU));
  size_t done = 0;
  std::array<std::byte, kChunk> buffer;
  while (src.remaining() > 0) {
    Result<size_t> got = src.Get(Bytes(buffer).first(std::min(buffer.size(), src.remaining())));
    if (!got.ok()) return done > 0 ? Result<size_t>(done) : got;
    size_t taken = 0;
    {
      MutexLock lock(mutex_);
      if (g != generation_) return done > 0 ? Result<size_t>(done) : Errno::kEIO;
      taken = line_.Output(ConstBytes(buffer).first(*got));
    }
    if (taken > 0) master_queue_.Notify(EPOLLIN | EPOLLRDNORM);
    done += taken;
    if (taken < *got) {
      src.Unget(*got - taken);
      break;
    }
  }
  if (done == 0 && src.remaining() > 0) return Errno::kEAGAIN;
  return done;
}

wait::EventMask Terminal::SlavePoll(wait::EventMask interest, Generation g) {
  MutexLock lock(mutex_);
  if (g != generation_) {
    return (EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM | EPOLLERR | EPOLLHUP) &
           (interest | EPOLLERR | EPOLLHUP);
  }
  wait::EventMask ready = 0;
  bool readable;
  if (line_.canonical()) {
    readable = line_.HasLine();
  } else {
    const Termios& t = line_.termios();
    size_t min = t.cc[VTIME] == 0 && t.cc[VMIN] != 0 ? t.cc[VMIN] : 1;
    readable = line_.Readable() >= min;
  }
  if (readable) ready |= EPOLLIN | EPOLLRDNORM;
  if (line_.HasOutputRoom()) ready |= EPOLLOUT | EPOLLWRNORM;
  return ready & interest;
}

}  // namespace sandboxd::pts
