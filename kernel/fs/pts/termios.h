// struct termios2 of the x86-64 kernel ABI (not the C library's struct termios, whose c_cc is
// longer), and the ioctl numbers that C headers only give with the kernel's type.
#pragma once

#include <sys/ioctl.h>
#include <termios.h>

#include <array>
#include <cstdint>

namespace sandboxd::pts {

struct Termios {
  uint32_t iflag = ICRNL | IXON;
  uint32_t oflag = OPOST | ONLCR;
  uint32_t cflag = B38400 | CS8 | CREAD;
  uint32_t lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN;
  uint8_t line = 0;  // N_TTY
  // INTR ^C QUIT ^\ ERASE DEL KILL ^U EOF ^D TIME MIN SWTC START ^Q STOP ^S SUSP ^Z EOL REPRINT ^R
  // DISCARD ^O WERASE ^W LNEXT ^V EOL2
  std::array<uint8_t, 19> cc = {3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0};
  uint32_t ispeed = 38400;
  uint32_t ospeed = 38400;
};
static_assert(sizeof(Termios) == 44);
inline constexpr size_t kTermios1Size = 36;  // struct termios: without the speeds

struct Termio {  // struct termio of TCGETA
  uint16_t iflag, oflag, cflag, lflag;
  uint8_t line;
  std::array<uint8_t, 8> cc;
  uint8_t pad;
};
static_assert(sizeof(Termio) == 18);

inline constexpr uint32_t kTcgets2 = 0x802c542a;
inline constexpr uint32_t kTcsets2 = 0x402c542b;
inline constexpr uint32_t kTcsetsw2 = 0x402c542c;
inline constexpr uint32_t kTcsetsf2 = 0x402c542d;

struct WindowSize {  // struct winsize
  uint16_t rows = 0, columns = 0, x_pixels = 0, y_pixels = 0;
  bool operator==(const WindowSize&) const = default;
};
static_assert(sizeof(WindowSize) == 8);

}  // namespace sandboxd::pts
