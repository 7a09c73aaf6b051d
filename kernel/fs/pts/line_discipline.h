// LineDiscipline: what a terminal does to bytes on their way between its two sides (termios(3)):
// line editing, echo, signal keys, flow control, output translation. Pure logic without locks or
// waiting; pts::Terminal holds one under its mutex.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "kernel/fs/pts/byte_queue.h"
#include "kernel/fs/pts/termios.h"
#include "platform/base/types.h"

namespace sandboxd::pts {

class LineDiscipline {
 public:
  // What input has caused and its caller must carry out, in no particular order.
  struct Effects {
    std::vector<int> signals;  // to the foreground group
    bool input_flushed = false;
    bool output_flushed = false;
    bool stopped = false;  // ^S
    bool started = false;  // ^Q, or any key with IXANY
  };

  const Termios& termios() const { return termios_; }
  // Changing ICANON turns what has been typed into a finished line, or into plain bytes.
  void SetTermios(const Termios& termios);

  // --- from the keyboard (the master side) ---
  // Takes bytes until the input queue is full; how many.
  size_t Input(ConstBytes bytes, Effects& effects);
  bool HasInputRoom() const { return InputRoom() > 0; }
  void FlushInput();

  // --- to the program (the slave side) ---
  // Bytes that a read could take now; in canonical mode those of finished lines.
  size_t Readable() const;
  // In canonical mode: is there a line (or an end of file) to read?
  bool HasLine() const { return lines_ > 0; }
  // Canonical mode: at most one line; 0 bytes for an end of file. Otherwise whatever there is.
  size_t Read(Bytes out);
  bool canonical() const { return (termios_.lflag & ICANON) != 0; }

  // --- from the program ---
  // Takes bytes until the output queue is full or the terminal is stopped; how many.
  size_t Output(ConstBytes bytes);
  bool HasOutputRoom() const { return !stopped_ && output_.size() + kMostPerByte <= kOutputSize; }

  // --- to the screen ---
  ByteQueue& output() { return output_; }
  const ByteQueue& output() const { return output_; }

  bool stopped() const { return stopped_; }
  void set_stopped(bool stopped) { stopped_ = stopped; }

 private:
  // A byte to be read, and what it ends. An end-of-file mark has no byte in canonical mode.
  struct Cell {
    uint8_t byte = 0;
    enum class Kind : uint8_t { kByte, kLineEnd, kEof } kind = Kind::kByte;
  };
  enum class Erase : uint8_t { kCharacter, kWord, kLine };

  bool Local(uint32_t flag) const { return (termios_.lflag & flag) != 0; }
  bool In(uint32_t flag) const { return (termios_.iflag & flag) != 0; }
  bool Out(uint32_t flag) const { return (termios_.oflag & flag) != 0; }
  bool IsKey(uint8_t byte, int which) const { return byte != 0 && termios_.cc[which] == byte; }
  size_t InputRoom() const;

  void InputByte(uint8_t byte, Effects& effects);
  bool HandleFlowKeys(uint8_t byte, Effects& effects);
  bool HandleSignalKeys(uint8_t byte, Effects& effects);
  bool HandleEditKeys(uint8_t byte);
  void Store(uint8_t byte);
  void FinishLine(Cell end);
  void EraseInput(Erase what);
  void EraseEcho(uint8_t byte, Erase what);
  void Reprint();
  int ColumnAfter(size_t length) const;

  void Echo(uint8_t byte);
  void OutputProcessed(uint8_t byte);
  void OutputTab();
  bool IsContinuation(uint8_t byte) const { return In(IUTF8) && (byte & 0xc0) == 0x80; }

  static constexpr size_t kInputSize = 4095;  // a line is at most 4095 characters (termios(3))
  static constexpr size_t kOutputSize = 32768;
  static constexpr size_t kMostPerByte = 8;     // a tab as spaces
  static constexpr size_t kEchoReserve = 4096;  // for echo when output is full

  Termios termios_;
  std::string edit_;        // canonical mode: the line being typed
  std::deque<Cell> ready_;  // to be read
  size_t lines_ = 0;        // line ends and end-of-file marks in ready_
  bool literal_next_ = false;
  bool stopped_ = false;
  ByteQueue output_;
  int column_ = 0;       // of the cursor, as far as we know
  int edit_column_ = 0;  // where the line being typed began
};

}  // namespace sandboxd::pts
