// The user's terminal: raw mode that is undone whatever happens, and its size.
#pragma once

#include "proto/sandboxd/v1/types.pb.h"

namespace sandboxd::cli {

// Puts the terminal of `fd` into raw mode for its lifetime. Also undone by a fatal signal and by
// exit(3). One at a time.
class RawTerminal {
 public:
  explicit RawTerminal(int fd);
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;
  // For SIGTSTP: back to the shell's mode, and raw again.
  void Suspend();
  void Resume();
};

v1::TerminalSize TerminalSizeOf(int fd);

}  // namespace sandboxd::cli
