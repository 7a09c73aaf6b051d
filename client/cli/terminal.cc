#include "client/cli/terminal.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cstdlib>

namespace sandboxd::cli {
namespace {

// Read by a signal handler: plain data, written before the handlers are installed and while none
// can run.
int g_fd = -1;
termios g_saved;
termios g_raw;
volatile sig_atomic_t g_active = 0;

void Restore() {
  if (g_active) tcsetattr(g_fd, TCSAFLUSH, &g_saved);
  g_active = 0;
}

// tcsetattr and raise are async-signal-safe (signal-safety(7)).
void RestoreAndDie(int signo) {
  Restore();
  signal(signo, SIG_DFL);
  raise(signo);
}

}  // namespace

RawTerminal::RawTerminal(int fd) {
  g_fd = fd;
  if (tcgetattr(fd, &g_saved) != 0) return;
  g_raw = g_saved;
  cfmakeraw(&g_raw);
  static const bool registered = [] {
    atexit(Restore);
    for (int signo : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL}) signal(signo, RestoreAndDie);
    return true;
  }();
  (void)registered;
  Resume();
}

RawTerminal::~RawTerminal() { Restore(); }

void RawTerminal::Suspend() { Restore(); }

void RawTerminal::Resume() {
  g_active = 1;
  tcsetattr(g_fd, TCSAFLUSH, &g_raw);
}

v1::TerminalSize TerminalSizeOf(int fd) {
  v1::TerminalSize size;
  winsize ws;
  if (ioctl(fd, TIOCGWINSZ, &ws) == 0) {
    size.set_rows(ws.ws_row);
    size.set_cols(ws.ws_col);
  }
  return size;
}

}  // namespace sandboxd::cli
