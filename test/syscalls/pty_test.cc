// Pseudo-terminals: pty(7), termios(3), ioctl_tty(2), job control.
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>

#include <csignal>
#include <cstdlib>
#include <cstring>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

class PtyTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_GE(master_.get(), 0) << "no /dev/ptmx: " << strerror(errno);
    ASSERT_EQ(grantpt(master_.get()), 0);
    ASSERT_EQ(unlockpt(master_.get()), 0);
    char name[64];
    ASSERT_EQ(ptsname_r(master_.get(), name, sizeof(name)), 0);
    name_ = name;
    slave_ = open(name, O_RDWR | O_NOCTTY);
    ASSERT_GE(slave_, 0) << strerror(errno);
  }
  void TearDown() override { CloseSlave(); }
  void CloseSlave() {
    if (slave_ >= 0) close(slave_);
    slave_ = -1;
  }
  void Type(const std::string& keys) {
    EXPECT_EQ(write(master_.get(), keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
  }
  static std::string ReadSome(int fd, size_t max = 200) {
    std::string text(max, '\0');
    ssize_t n = read(fd, text.data(), max);
    EXPECT_GE(n, 0) << strerror(errno);
    text.resize(n > 0 ? static_cast<size_t>(n) : 0);
    return text;
  }
  // Reads from the master until `text` has come.
  std::string Expect(const std::string& text) {
    std::string seen;
    while (seen.find(text) == std::string::npos) {
      std::string more = ReadSome(master_.get());
      if (more.empty()) break;
      seen += more;
    }
    return seen;
  }
  template <typename Change>
  void Configure(Change change) {
    termios t;
    ASSERT_EQ(tcgetattr(slave_, &t), 0);
    change(t);
    ASSERT_EQ(tcsetattr(slave_, TCSANOW, &t), 0);
  }
  Fd master_{posix_openpt(O_RDWR | O_NOCTTY)};
  std::string name_;
  int slave_ = -1;
};

TEST_F(PtyTest, TheSlaveIsATerminalWithAName) {
  EXPECT_EQ(isatty(slave_), 1);
  EXPECT_EQ(name_.rfind("/dev/pts/", 0), 0u);
  EXPECT_STREQ(ttyname(slave_), name_.c_str());
  struct stat st;
  ASSERT_EQ(fstat(slave_, &st), 0);
  EXPECT_TRUE(S_ISCHR(st.st_mode));
  int index = -1;
  EXPECT_EQ(ioctl(master_.get(), TIOCGPTN, &index), 0);
  EXPECT_EQ(name_, "/dev/pts/" + std::to_string(index));
}

TEST_F(PtyTest, LinesAreEditedAndEchoed) {
  Type("cat\x7fr\n");
  EXPECT_EQ(ReadSome(slave_), "car\n");
  EXPECT_EQ(Expect("\n"), "cat\b \br\r\n");
  Type("partial");
  pollfd p = {slave_, POLLIN, 0};
  EXPECT_EQ(poll(&p, 1, 0), 0);
  Type("\x15\x04");
  EXPECT_EQ(ReadSome(slave_), "");  // end of file
}

TEST_F(PtyTest, RawModeGivesEachByte) {
  Configure([](termios& t) { cfmakeraw(&t); });
  Type("a\r\x03");
  EXPECT_EQ(ReadSome(slave_), "a\r\x03");
  EXPECT_EQ(write(slave_, "x\n", 2), 2);
  EXPECT_EQ(ReadSome(master_.get()), "x\n");
}

TEST_F(PtyTest, MinimumAndTimeDecideWhenReadReturns) {
  Configure([](termios& t) {
    cfmakeraw(&t);
    t.c_cc[VMIN] = 0;
    t.c_cc[VTIME] = 0;
  });
  EXPECT_EQ(ReadSome(slave_), "");
  Configure([](termios& t) { t.c_cc[VTIME] = 1; });
  EXPECT_EQ(ReadSome(slave_), "");  // after a tenth of a second
  Configure([](termios& t) {
    t.c_cc[VMIN] = 3;
    t.c_cc[VTIME] = 0;
  });
  Type("ab");
  pollfd p = {slave_, POLLIN, 0};
  EXPECT_EQ(poll(&p, 1, 0), 0);
  Type("c");
  EXPECT_EQ(ReadSome(slave_), "abc");
}

TEST_F(PtyTest, OutputIsTranslated) {
  EXPECT_EQ(write(slave_, "a\nb", 3), 3);
  EXPECT_EQ(Expect("b"), "a\r\nb");
  Configure([](termios& t) { t.c_oflag &= ~static_cast<tcflag_t>(OPOST); });
  EXPECT_EQ(write(slave_, "a\nb", 3), 3);
  EXPECT_EQ(Expect("b"), "a\nb");
}

TEST_F(PtyTest, QueuesCanBeCountedAndFlushed) {
  Type("line\n");
  pollfd p = {slave_, POLLIN, 0};
  EXPECT_EQ(poll(&p, 1, -1), 1);
  int n = 0;
  EXPECT_EQ(ioctl(slave_, FIONREAD, &n), 0);
  EXPECT_EQ(n, 5);
  EXPECT_EQ(tcflush(slave_, TCIFLUSH), 0);
  EXPECT_EQ(ioctl(slave_, FIONREAD, &n), 0);
  EXPECT_EQ(n, 0);
  EXPECT_ERRNO(EINVAL, ioctl(slave_, TCFLSH, 9));
}

TEST_F(PtyTest, WindowSizeIsSharedByBothSides) {
  winsize set = {24, 80, 0, 0}, got = {};
  EXPECT_EQ(ioctl(master_.get(), TIOCSWINSZ, &set), 0);
  EXPECT_EQ(ioctl(slave_, TIOCGWINSZ, &got), 0);
  EXPECT_EQ(got.ws_row, 24);
  EXPECT_EQ(got.ws_col, 80);
}

TEST_F(PtyTest, ALockedSlaveDoesNotOpen) {
  Fd master(posix_openpt(O_RDWR | O_NOCTTY));
  char name[64];
  ASSERT_EQ(ptsname_r(master.get(), name, sizeof(name)), 0);
  EXPECT_ERRNO(EIO, open(name, O_RDWR | O_NOCTTY));
}

TEST_F(PtyTest, ClosingTheSlaveIsEioForTheMaster) {
  EXPECT_EQ(write(slave_, "bye", 3), 3);
  CloseSlave();
  EXPECT_EQ(ReadSome(master_.get()), "bye");
  char c;
  EXPECT_ERRNO(EIO, read(master_.get(), &c, 1));
  pollfd p = {master_.get(), POLLIN, 0};
  EXPECT_EQ(poll(&p, 1, 0), 1);
  EXPECT_NE(p.revents & POLLHUP, 0);
}

TEST_F(PtyTest, PacketModeTellsOfFlowControl) {
  int on = 1;
  EXPECT_EQ(ioctl(master_.get(), TIOCPKT, &on), 0);
  EXPECT_EQ(write(slave_, "x", 1), 1);
  EXPECT_EQ(ReadSome(master_.get()), std::string("\0x", 2));
  EXPECT_EQ(tcflow(slave_, TCOOFF), 0);
  EXPECT_EQ(ReadSome(master_.get()), std::string(1, TIOCPKT_STOP));
  EXPECT_EQ(tcflow(slave_, TCOON), 0);
}

TEST_F(PtyTest, OthersAreNotOnes) {
  int value = 0;
  EXPECT_ERRNO(ENOTTY, ioctl(slave_, TIOCGPTN, &value));
  EXPECT_ERRNO(ENOTTY, ioctl(slave_, TIOCGPGRP, &value));  // not our controlling terminal
  TempFile file;
  Fd fd = file.Open(O_RDONLY);
  termios t;
  EXPECT_ERRNO(ENOTTY, tcgetattr(fd.get(), &t));
  EXPECT_ERRNO(EINVAL, tcsetattr(slave_, 99, &t));
}

// Below, a child with a session of its own uses the slave as its controlling terminal.
class PtySessionTest : public PtyTest {
 protected:
  int InSession(const std::function<int()>& body) {
    return InChild([&] {
      if (setsid() < 0) return 100;
      if (ioctl(slave_, TIOCSCTTY, 0) != 0) return 101;
      return body();
    });
  }
};

TEST_F(PtySessionTest, TheLeadersGroupIsInTheForeground) {
  int status = InSession([&] {
    if (tcgetpgrp(slave_) != getpid()) return 1;
    if (tcgetsid(slave_) != getpid()) return 2;
    Fd tty(open("/dev/tty", O_RDWR));
    if (tty.get() < 0 || tcgetpgrp(tty.get()) != getpid()) return 3;
    if (ioctl(slave_, TIOCSCTTY, 0) != 0) return 4;  // once more does no harm
    if (tcsetpgrp(slave_, 999999) != -1 || errno != ESRCH) return 5;
    return 0;
  });
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

TEST_F(PtySessionTest, OpeningWithoutNocttyMakesItControlling) {
  int status = InChild([&] {
    if (setsid() < 0) return 1;
    Fd fd(open(name_.c_str(), O_RDWR));
    return tcgetpgrp(fd.get()) == getpid() ? 0 : 2;
  });
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

TEST_F(PtySessionTest, TheInterruptKeyKillsTheForeground) {
  pid_t child = fork();
  if (child == 0) {
    signal(SIGINT, SIG_DFL);
    if (setsid() < 0 || ioctl(slave_, TIOCSCTTY, 0) != 0) _exit(1);
    if (write(slave_, "ready", 5) != 5) _exit(2);
    for (;;) pause();
  }
  Expect("ready");
  Type("\x03");
  int status;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(KilledBy(status, SIGINT)) << status;
}

TEST_F(PtySessionTest, AResizeSignalsTheForeground) {
  pid_t child = fork();
  if (child == 0) {
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGWINCH);
    sigprocmask(SIG_BLOCK, &mask, nullptr);
    if (setsid() < 0 || ioctl(slave_, TIOCSCTTY, 0) != 0) _exit(1);
    if (write(slave_, "ready", 5) != 5) _exit(2);
    _exit(sigwaitinfo(&mask, nullptr) == SIGWINCH ? 0 : 3);
  }
  Expect("ready");
  winsize size = {10, 20, 0, 0};
  EXPECT_EQ(ioctl(master_.get(), TIOCSWINSZ, &size), 0);
  int status;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

TEST_F(PtySessionTest, ABackgroundReaderIsStopped) {
  int status = InSession([&] {
    pid_t reader = fork();
    if (reader == 0) {
      signal(SIGTTIN, SIG_DFL);
      setpgid(0, 0);
      char c;
      _exit(read(slave_, &c, 1) == 1 ? 0 : 1);
    }
    setpgid(reader, reader);
    int st;
    if (waitpid(reader, &st, WUNTRACED) != reader) return 1;
    if (!WIFSTOPPED(st) || WSTOPSIG(st) != SIGTTIN) return 2;
    signal(SIGTTOU, SIG_IGN);
    if (tcsetpgrp(slave_, reader) != 0) return 3;
    if (write(master_.get(), "x\n", 2) != 2) return 4;
    kill(reader, SIGCONT);
    if (waitpid(reader, &st, 0) != reader) return 5;
    return WIFEXITED(st) ? WEXITSTATUS(st) : 6;
  });
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

TEST_F(PtySessionTest, HangupEndsTheSession) {
  pid_t child = fork();
  if (child == 0) {
    signal(SIGHUP, SIG_DFL);
    if (setsid() < 0 || ioctl(slave_, TIOCSCTTY, 0) != 0) _exit(1);
    close(master_.get());
    if (write(slave_, "ready", 5) != 5) _exit(2);
    for (;;) pause();
  }
  Expect("ready");
  { Fd close_it(std::move(master_)); }
  int status;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(KilledBy(status, SIGHUP)) << status;
  char c;
  EXPECT_EQ(read(slave_, &c, 1), 0);
  EXPECT_ERRNO(EIO, write(slave_, "x", 1));
}

}  // namespace
}  // namespace sandboxd::test
