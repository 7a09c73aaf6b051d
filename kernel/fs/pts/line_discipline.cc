#include "kernel/fs/pts/line_discipline.h"

#include <signal.h>

#include <algorithm>

namespace sandboxd::pts {
namespace {

bool IsControl(uint8_t c) { return c < 0x20 || c == 0x7f; }
bool IsWordByte(uint8_t c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         c >= 0x80;
}

}  // namespace

void LineDiscipline::SetTermios(const Termios& termios) {
  bool was_canonical = canonical();
  bool had_ixon = In(IXON);
  termios_ = termios;
  if (had_ixon && !In(IXON)) stopped_ = false;
  if (was_canonical == canonical()) return;
  for (char c : edit_) ready_.push_back({static_cast<uint8_t>(c)});
  edit_.clear();
  literal_next_ = false;
  for (Cell& cell : ready_) cell.kind = Cell::Kind::kByte;
  lines_ = 0;
  if (canonical() && !ready_.empty()) {
    ready_.back().kind = Cell::Kind::kLineEnd;
    lines_ = 1;
  }
}

// --- input ---

size_t LineDiscipline::InputRoom() const {
  size_t used = ready_.size() + edit_.size();
  if (used < kInputSize) return kInputSize - used;
  // A line that is too long must still be able to end: what does not fit is dropped.
  return canonical() && lines_ == 0 ? 1 : 0;
}

size_t LineDiscipline::Input(ConstBytes bytes, Effects& effects) {
  size_t done = 0;
  for (; done < bytes.size() && InputRoom() > 0; done++) {
    InputByte(static_cast<uint8_t>(bytes[done]), effects);
  }
  return done;
}

void LineDiscipline::FlushInput() {
  edit_.clear();
  ready_.clear();
  lines_ = 0;
  literal_next_ = false;
}

void LineDiscipline::InputByte(uint8_t byte, Effects& effects) {
  if (In(ISTRIP)) byte &= 0x7f;
  if (In(IUCLC) && Local(IEXTEN) && byte >= 'A' && byte <= 'Z') byte += 'a' - 'A';
  if (literal_next_) {
    literal_next_ = false;
    if (Local(ECHO)) Echo(byte);
    Store(byte);
    return;
  }
  if (HandleFlowKeys(byte, effects) || HandleSignalKeys(byte, effects)) return;
  if (stopped_ && In(IXON) && In(IXANY)) {
    stopped_ = false;
    effects.started = true;
  }
  if (byte == '\r') {
    if (In(IGNCR)) return;
    if (In(ICRNL)) byte = '\n';
  } else if (byte == '\n' && In(INLCR)) {
    byte = '\r';
  }
  if (canonical() && HandleEditKeys(byte)) return;
  if (Local(ECHO)) {
    if (edit_.empty()) edit_column_ = column_;
    if (byte == '\n') {
      OutputProcessed('\n');
    } else {
      Echo(byte);
    }
  }
  if (In(PARMRK) && byte == 0xff) Store(byte);
  Store(byte);
}

bool LineDiscipline::HandleFlowKeys(uint8_t byte, Effects& effects) {
  if (!In(IXON)) return false;
  if (IsKey(byte, VSTART)) {
    stopped_ = false;
    effects.started = true;
    return true;
  }
  if (IsKey(byte, VSTOP)) {
    stopped_ = true;
    effects.stopped = true;
    return true;
  }
  return false;
}

bool LineDiscipline::HandleSignalKeys(uint8_t byte, Effects& effects) {
  if (!Local(ISIG)) return false;
  int signo = IsKey(byte, VINTR)   ? SIGINT
              : IsKey(byte, VQUIT) ? SIGQUIT
              : IsKey(byte, VSUSP) ? SIGTSTP
                                   : 0;
  if (signo == 0) return false;
  effects.signals.push_back(signo);
  if (!Local(NOFLSH)) {
    FlushInput();
    output_.Clear();
    effects.input_flushed = effects.output_flushed = true;
  }
  if (In(IXON) && stopped_) {
    stopped_ = false;
    effects.started = true;
  }
  if (Local(ECHO)) Echo(byte);
  return true;
}

// Keys of canonical mode. True if the byte has been dealt with.
bool LineDiscipline::HandleEditKeys(uint8_t byte) {
  const bool extended = Local(IEXTEN);
  if (IsKey(byte, VERASE)) {
    EraseInput(Erase::kCharacter);
  } else if (IsKey(byte, VKILL)) {
    EraseInput(Erase::kLine);
  } else if (extended && IsKey(byte, VWERASE)) {
    EraseInput(Erase::kWord);
  } else if (extended && IsKey(byte, VLNEXT)) {
    literal_next_ = true;
    if (Local(ECHO) && Local(ECHOCTL)) {
      OutputProcessed('^');
      OutputProcessed('\b');
    }
  } else if (extended && Local(ECHO) && IsKey(byte, VREPRINT)) {
    Echo(byte);
    OutputProcessed('\n');
    Reprint();
  } else if (byte == '\n') {
    if (Local(ECHO) || Local(ECHONL)) OutputProcessed('\n');
    FinishLine({byte, Cell::Kind::kLineEnd});
  } else if (IsKey(byte, VEOF)) {
    FinishLine({0, Cell::Kind::kEof});
  } else if (IsKey(byte, VEOL) || (extended && IsKey(byte, VEOL2))) {
    if (Local(ECHO)) Echo(byte);
    FinishLine({byte, Cell::Kind::kLineEnd});
  } else {
    return false;
  }
  return true;
}

void LineDiscipline::Store(uint8_t byte) {
  if (ready_.size() + edit_.size() >= kInputSize) {
    if (In(IMAXBEL)) OutputProcessed('\a');
    return;
  }
  if (canonical()) {
    edit_.push_back(static_cast<char>(byte));
  } else {
    ready_.push_back({byte});
  }
}

void LineDiscipline::FinishLine(Cell end) {
  for (char c : edit_) ready_.push_back({static_cast<uint8_t>(c)});
  edit_.clear();
  ready_.push_back(end);
  lines_++;
}

// --- erasing ---

void LineDiscipline::EraseInput(Erase what) {
  if (edit_.empty()) return;
  if (what == Erase::kLine && (!Local(ECHO) || !Local(ECHOK) || !Local(ECHOKE) || !Local(ECHOE))) {
    edit_.clear();
    if (!Local(ECHO)) return;
    Echo(termios_.cc[VKILL]);
    if (Local(ECHOK)) OutputProcessed('\n');
    return;
  }
  bool in_word = false;
  while (!edit_.empty()) {
    // The last character: its continuation bytes go with it.
    size_t at = edit_.size() - 1;
    while (at > 0 && IsContinuation(static_cast<uint8_t>(edit_[at]))) at--;
    auto byte = static_cast<uint8_t>(edit_[at]);
    if (what == Erase::kWord) {
      if (IsWordByte(byte)) {
        in_word = true;
      } else if (in_word) {
        break;
      }
    }
    int before = ColumnAfter(edit_.size());
    edit_.resize(at);
    if (Local(ECHO)) {
      if (byte == '\t' && (what != Erase::kCharacter || Local(ECHOE))) {
        for (int n = before - ColumnAfter(at); n > 0; n--) OutputProcessed('\b');
      } else {
        EraseEcho(byte, what);
      }
    }
    if (what == Erase::kCharacter) break;
  }
}

void LineDiscipline::EraseEcho(uint8_t byte, Erase what) {
  if (what == Erase::kCharacter && !Local(ECHOE)) {
    Echo(termios_.cc[VERASE]);
    return;
  }
  int columns = IsControl(byte) ? (Local(ECHOCTL) ? 2 : 0) : 1;
  for (; columns > 0; columns--) {
    for (char c : {'\b', ' ', '\b'}) OutputProcessed(static_cast<uint8_t>(c));
  }
}

void LineDiscipline::Reprint() {
  edit_column_ = column_;
  for (char c : edit_) Echo(static_cast<uint8_t>(c));
}

int LineDiscipline::ColumnAfter(size_t length) const {
  int column = edit_column_;
  for (size_t i = 0; i < length; i++) {
    auto c = static_cast<uint8_t>(edit_[i]);
    if (c == '\t') {
      column = (column | 7) + 1;
    } else if (IsControl(c)) {
      column += Local(ECHOCTL) ? 2 : 0;
    } else if (!IsContinuation(c)) {
      column++;
    }
  }
  return column;
}

// --- reading ---

size_t LineDiscipline::Readable() const {
  if (!canonical()) return ready_.size();
  size_t n = ready_.size();
  for (const Cell& cell : ready_) n -= cell.kind == Cell::Kind::kEof ? 1 : 0;
  return n;
}

size_t LineDiscipline::Read(Bytes out) {
  size_t done = 0;
  while (!ready_.empty()) {
    Cell cell = ready_.front();
    if (canonical() && cell.kind == Cell::Kind::kEof) {
      // Taken even by a read that the line has just filled: it ended that line.
      ready_.pop_front();
      lines_--;
      break;
    }
    if (done == out.size()) break;
    ready_.pop_front();
    out[done++] = static_cast<std::byte>(cell.byte);
    if (cell.kind == Cell::Kind::kByte) continue;
    lines_--;
    if (canonical()) break;
  }
  return done;
}

// --- output ---

size_t LineDiscipline::Output(ConstBytes bytes) {
  size_t done = 0;
  for (; done < bytes.size() && HasOutputRoom(); done++) {
    OutputProcessed(static_cast<uint8_t>(bytes[done]));
  }
  return done;
}

void LineDiscipline::Echo(uint8_t byte) {
  if (Local(ECHOCTL) && IsControl(byte) && byte != '\t') {
    OutputProcessed('^');
    OutputProcessed(byte ^ 0x40);
    return;
  }
  OutputProcessed(byte);
}

void LineDiscipline::OutputTab() {
  int spaces = 8 - (column_ & 7);
  column_ += spaces;
  if ((termios_.oflag & TABDLY) != TAB3) {
    output_.Push('\t');
    return;
  }
  for (; spaces > 0; spaces--) output_.Push(' ');
}

void LineDiscipline::OutputProcessed(uint8_t byte) {
  // Only echo can come here with a full queue; it is lost beyond the reserve.
  if (output_.size() >= kOutputSize + kEchoReserve) return;
  if (!Out(OPOST)) {
    output_.Push(byte);
    return;
  }
  switch (byte) {
    case '\n':
      if (Out(ONLRET)) column_ = 0;
      if (Out(ONLCR)) {
        output_.Push('\r');
        column_ = 0;
      }
      break;
    case '\r':
      if (Out(ONOCR) && column_ == 0) return;
      if (Out(OCRNL)) {
        byte = '\n';
        if (Out(ONLRET)) column_ = 0;
      } else {
        column_ = 0;
      }
      break;
    case '\t':
      OutputTab();
      return;
    case '\b':
      if (column_ > 0) column_--;
      break;
    default:
      if (IsControl(byte)) break;
      if (Out(OLCUC) && byte >= 'a' && byte <= 'z') byte -= 'a' - 'A';
      if (!IsContinuation(byte)) column_++;
  }
  output_.Push(byte);
}

}  // namespace sandboxd::pts
