// The ioctls of terminals (ioctl_tty(2)).
#include <linux/capability.h>
#include <linux/tty.h>
#include <signal.h>
#include <string.h>

#include <algorithm>

#include "kernel/fs/pts/terminal.h"
#include "kernel/vfs/attr.h"

namespace sandboxd::pts {
namespace {

constexpr uint32_t kSlaveMajor = 136;

template <typename T>
Result<uint64_t> PutValue(vfs::Caller& c, uint64_t address, const T& value) {
  TRY(c.memory().Write(UserAddr(address), value));
  return uint64_t{0};
}

Result<int32_t> GetInt(vfs::Caller& c, uint64_t address) {
  return c.memory().Read<int32_t>(UserAddr(address));
}

// The rate that the CBAUD bits of struct termios stand for (termios(3)); 0 if they say none.
uint32_t BaudRate(uint32_t cflag) {
  static constexpr uint32_t kLow[] = {0,   50,   75,   110,  134,  150,  200,   300,
                                      600, 1200, 1800, 2400, 4800, 9600, 19200, 38400};
  static constexpr uint32_t kHigh[] = {0,       57600,   115200,  230400,  460800,  500000,
                                       576000,  921600,  1000000, 1152000, 1500000, 2000000,
                                       2500000, 3000000, 3500000, 4000000};
  uint32_t code = cflag & CBAUD;
  return (code & CBAUDEX) != 0 ? kHigh[code & 15] : kLow[code & 15];
}

Termio ToTermio(const Termios& t) {
  Termio out = {};
  out.iflag = static_cast<uint16_t>(t.iflag);
  out.oflag = static_cast<uint16_t>(t.oflag);
  out.cflag = static_cast<uint16_t>(t.cflag);
  out.lflag = static_cast<uint16_t>(t.lflag);
  out.line = t.line;
  std::copy_n(t.cc.begin(), out.cc.size(), out.cc.begin());
  return out;
}

// A termio changes the low halves of the flags and the first characters.
void ApplyTermio(const Termio& in, Termios& t) {
  auto low = [](uint32_t old, uint16_t now) { return (old & 0xffff0000u) | now; };
  t.iflag = low(t.iflag, in.iflag);
  t.oflag = low(t.oflag, in.oflag);
  t.cflag = low(t.cflag, in.cflag);
  t.lflag = low(t.lflag, in.lflag);
  t.line = in.line;
  std::copy_n(in.cc.begin(), in.cc.size(), t.cc.begin());
}

}  // namespace

// Who is in the background may not change the terminal (tcsetattr(3)).
Result<void> Terminal::CheckChange(vfs::Caller& c, Side side) {
  if (jobs_ == nullptr || side == Side::kMaster) return Ok();
  return jobs_->CheckBackground(c, *this, SIGTTOU);
}

Result<uint64_t> Terminal::Ioctl(vfs::Caller& c, uint32_t command, uint64_t argument, Side side) {
  Result<uint64_t> r = side == Side::kMaster ? MasterIoctl(c, command, argument) : Errno::kENOTTY;
  if (!r.Is(Errno::kENOTTY)) return r;
  switch (command) {
    case TIOCSCTTY:
    case TIOCNOTTY:
    case TIOCGPGRP:
    case TIOCSPGRP:
    case TIOCGSID:
      return SessionIoctl(c, command, argument, side);
  }
  r = TermiosIoctl(c, command, argument, side);
  return r.Is(Errno::kENOTTY) ? QueueIoctl(c, command, argument, side) : r;
}

Result<uint64_t> Terminal::MasterIoctl(vfs::Caller& c, uint32_t command, uint64_t argument) {
  switch (command) {
    case TIOCGPTN:
      return PutValue(c, argument, index_);
    case TIOCSPTLCK: {
      bool locked = TRY(GetInt(c, argument)) != 0;
      set_locked(locked);
      return uint64_t{0};
    }
    case TIOCGPTLCK: {
      int32_t value;
      {
        MutexLock lock(mutex_);
        value = locked_ ? 1 : 0;
      }
      return PutValue(c, argument, value);
    }
    case TIOCPKT: {
      bool on = TRY(GetInt(c, argument)) != 0;
      MutexLock lock(mutex_);
      if (on && !packet_mode_) packet_status_ = 0;
      packet_mode_ = on;
      return uint64_t{0};
    }
    case TIOCGPKT: {
      int32_t value;
      {
        MutexLock lock(mutex_);
        value = packet_mode_ ? 1 : 0;
      }
      return PutValue(c, argument, value);
    }
    case TIOCSIG:
      if (argument < 1 || argument > 64) return Errno::kEINVAL;
      SendSignals({static_cast<int>(argument)});
      return uint64_t{0};
    default:
      return Errno::kENOTTY;
  }
}

Result<uint64_t> Terminal::SessionIoctl(vfs::Caller& c, uint32_t command, uint64_t argument,
                                        Side side) {
  if (jobs_ == nullptr) return Errno::kENOTTY;
  const bool master = side == Side::kMaster;
  switch (command) {
    case TIOCSCTTY:
      TRY(jobs_->SetControllingTerminal(c, Ref<Terminal>(this), argument == 1));
      return uint64_t{0};
    case TIOCNOTTY:
      TRY(jobs_->DropControllingTerminal(c, *this));
      return uint64_t{0};
    case TIOCGPGRP:
      return PutValue(c, argument, TRY(jobs_->ForegroundGroup(c, *this, master)));
    case TIOCSPGRP: {
      Result<void> may = CheckChange(c, side);
      if (!may.ok()) return may.Is(Errno::kEIO) ? Errno::kENOTTY : may.error();
      TRY(jobs_->SetForegroundGroup(c, *this, TRY(GetInt(c, argument))));
      return uint64_t{0};
    }
    default:  // TIOCGSID
      return PutValue(c, argument, TRY(jobs_->SessionId(c, *this, master)));
  }
}

Result<uint64_t> Terminal::TermiosIoctl(vfs::Caller& c, uint32_t command, uint64_t argument,
                                        Side side) {
  Termios now = termios();
  const ConstBytes first_form = AsBytes(now).first(kTermios1Size);
  switch (command) {
    case TCGETS:
      TRY(c.memory().CopyOut(UserAddr(argument), first_form));
      return uint64_t{0};
    case kTcgets2:
      return PutValue(c, argument, now);
    case TCGETA:
      return PutValue(c, argument, ToTermio(now));
    case TCSETS:
    case TCSETSW:
    case TCSETSF:
      TRY(CheckChange(c, side));
      TRY(c.memory().CopyIn(UserAddr(argument), AsWritableBytes(now).first(kTermios1Size)));
      now.ispeed = now.ospeed = BaudRate(now.cflag);
      break;
    case kTcsets2:
    case kTcsetsw2:
    case kTcsetsf2:
      TRY(CheckChange(c, side));
      now = TRY(c.memory().Read<Termios>(UserAddr(argument)));
      break;
    case TCSETA:
    case TCSETAW:
    case TCSETAF:
      TRY(CheckChange(c, side));
      ApplyTermio(TRY(c.memory().Read<Termio>(UserAddr(argument))), now);
      break;
    default:
      return Errno::kENOTTY;
  }
  if (command == TCSETSF || command == kTcsetsf2 || command == TCSETAF) {
    TRY(Flush(TCIFLUSH, Side::kSlave));
  }
  now.line = 0;  // there is no other line discipline than N_TTY
  SetTermios(now);
  return uint64_t{0};
}

// `which` is TCIFLUSH… as the given side means it: the master's input is the slave's output.
Result<void> Terminal::Flush(int which, Side side) {
  if (which != TCIFLUSH && which != TCOFLUSH && which != TCIOFLUSH) return Errno::kEINVAL;
  bool first = which == TCIFLUSH || which == TCIOFLUSH;
  bool second = which == TCOFLUSH || which == TCIOFLUSH;
  bool typed = side == Side::kSlave ? first : second;
  bool shown = side == Side::kSlave ? second : first;
  {
    MutexLock lock(mutex_);
    if (typed) line_.FlushInput();
    if (shown) line_.output().Clear();
    if (side == Side::kSlave) {
      NotePacket(
          static_cast<uint8_t>((typed ? TIOCPKT_FLUSHREAD : 0) | (shown ? TIOCPKT_FLUSHWRITE : 0)));
    }
  }
  NotifyAll();
  return Ok();
}

Result<void> Terminal::FlowControl(int action) {
  switch (action) {
    case TCOOFF:
    case TCOON: {
      MutexLock lock(mutex_);
      line_.set_stopped(action == TCOOFF);
      NotePacket(action == TCOOFF ? TIOCPKT_STOP : TIOCPKT_START);
      break;
    }
    case TCIOFF:
    case TCION: {
      // The STOP or START character goes to the other side.
      MutexLock lock(mutex_);
      uint8_t key = line_.termios().cc[action == TCIOFF ? VSTOP : VSTART];
      if (key != 0) line_.output().Push(key);
      break;
    }
    default:
      return Errno::kEINVAL;
  }
  NotifyAll();
  return Ok();
}

Result<uint64_t> Terminal::QueueIoctl(vfs::Caller& c, uint32_t command, uint64_t argument,
                                      Side side) {
  switch (command) {
    case TIOCGWINSZ:
      return PutValue(c, argument, window_size());
    case TIOCSWINSZ:
      SetWindowSize(TRY(c.memory().Read<WindowSize>(UserAddr(argument))));
      return uint64_t{0};
    case FIONREAD: {  // TIOCINQ
      int32_t count;
      {
        MutexLock lock(mutex_);
        count =
            static_cast<int32_t>(side == Side::kMaster ? line_.output().size() : line_.Readable());
      }
      return PutValue(c, argument, count);
    }
    case TIOCOUTQ:
      // What is written is at the other side at once: nothing is ever underway.
      return PutValue(c, argument, int32_t{0});
    case TCFLSH:
      TRY(CheckChange(c, side));
      TRY(Flush(static_cast<int>(argument), side));
      return uint64_t{0};
    case TCXONC:
      TRY(CheckChange(c, side));
      TRY(FlowControl(static_cast<int>(argument)));
      return uint64_t{0};
    case TCSBRK:
    case TCSBRKP:
      TRY(CheckChange(c, side));
      return uint64_t{0};  // nothing to drain, and no line to break
    case TIOCGETD:
      return PutValue(c, argument, int32_t{N_TTY});
    case TIOCSETD:
      return TRY(GetInt(c, argument)) == N_TTY ? Result<uint64_t>(0) : Errno::kEINVAL;
    case TIOCEXCL:
    case TIOCNXCL: {
      MutexLock lock(mutex_);
      exclusive_ = command == TIOCEXCL;
      return uint64_t{0};
    }
    case TIOCGEXCL: {
      int32_t value;
      {
        MutexLock lock(mutex_);
        value = exclusive_ ? 1 : 0;
      }
      return PutValue(c, argument, value);
    }
    case TIOCGDEV:
      return PutValue(c, argument,
                      static_cast<uint32_t>(vfs::DeviceNumber{kSlaveMajor, index_}.Encode()));
    case TIOCSTI:
      // As with dev.tty.legacy_tiocsti=0: a program must not type for others.
      return Errno::kEIO;
    default:
      return Errno::kENOTTY;
  }
}

}  // namespace sandboxd::pts
