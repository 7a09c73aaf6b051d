#include "kernel/fs/pts/devpts.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#include <algorithm>

#include "kernel/fs/pts/terminal.h"
#include "kernel/vfs/testing/test_caller.h"

namespace sandboxd::pts {
namespace {

// Notes what terminals ask for; everybody is in the foreground unless told otherwise.
class RecordingJobControl final : public JobControl {
 public:
  Result<void> SetControllingTerminal(vfs::Caller&, Ref<Terminal> t, bool) override {
    controlling = std::move(t);
    return Ok();
  }
  Result<void> DropControllingTerminal(vfs::Caller&, Terminal&) override {
    controlling = nullptr;
    return Ok();
  }
  Result<int32_t> ForegroundGroup(vfs::Caller&, Terminal&, bool) override { return 7; }
  Result<void> SetForegroundGroup(vfs::Caller&, Terminal&, int32_t) override { return Ok(); }
  Result<int32_t> SessionId(vfs::Caller&, Terminal&, bool) override { return 5; }
  Result<void> CheckBackground(vfs::Caller&, Terminal&, int signo) override {
    if (!background) return Ok();
    signals.push_back(signo);
    return Errno::kERESTARTSYS;
  }
  void SignalForeground(Terminal&, int signo) override { signals.push_back(signo); }
  void Hangup(Terminal&) override { signals.push_back(SIGHUP); }
  Ref<Terminal> ControllingTerminal(vfs::Caller&) override { return controlling; }

  Ref<Terminal> controlling;
  std::vector<int> signals;
  bool background = false;
};

constexpr UserAddr kArg{0x100000};

class DevPtsTest : public testing::Test {
 protected:
  DevPtsTest()
      : devpts_(
            MakeRef<DevPts>(MUST(ParseOptions("gid=5,mode=620,ptmxmode=666")), &jobs_, nullptr)),
        caller_(vfs_, devpts_) {
    RegisterTerminalDevices(vfs_, &jobs_);
    auto context = caller_.address_space().NewFakeContext();
    MUST(caller_.address_space().Map(*context, {kArg, kArg + kPageSize}, PROT_READ | PROT_WRITE,
                                     {}));
  }
  Ref<vfs::File> Open(std::string_view path, int flags = O_RDWR) {
    return MUST(vfs_.Open(caller_, path, {}, {flags, 0}));
  }
  template <typename T>
  T Get(vfs::File& file, uint32_t command) {
    MUST(file.Ioctl(caller_, command, kArg.value));
    return MUST(caller_.memory().Read<T>(kArg));
  }
  template <typename T>
  Result<uint64_t> Set(vfs::File& file, uint32_t command, const T& value) {
    MUST(caller_.memory().Write(kArg, value));
    return file.Ioctl(caller_, command, kArg.value);
  }
  // A pair, the slave unlocked and open.
  void OpenPair() {
    master_ = Open("/ptmx");
    MUST(Set(*master_, TIOCSPTLCK, int32_t{0}));
    slave_ = Open("/" + std::to_string(Get<uint32_t>(*master_, TIOCGPTN)));
  }
  Result<std::string> ReadSome(vfs::File& file, size_t max = 4096) {
    std::string text(max, '\0');
    mm::BufferSink sink(std::as_writable_bytes(std::span(text)));
    text.resize(TRY(file.Read(caller_, sink)));
    return text;
  }

  RecordingJobControl jobs_;
  vfs::Vfs vfs_;
  Ref<DevPts> devpts_;
  vfs::TestCaller caller_;
  Ref<vfs::File> master_, slave_;
};

TEST_F(DevPtsTest, SlavesAppearWithTheirMasterAndVanishWithIt) {
  EXPECT_TRUE(vfs_.Resolve(caller_, "/0").Is(Errno::kENOENT));
  OpenPair();
  vfs::Attr attr = MUST(vfs_.Stat(caller_, MUST(vfs_.Resolve(caller_, "/0"))));
  EXPECT_EQ(attr.mode, uint32_t{S_IFCHR} | 0620);
  EXPECT_EQ(attr.gid.value, 5u);
  EXPECT_EQ(attr.rdev, (vfs::DeviceNumber{136, 0}));
  auto second = Open("/ptmx");
  EXPECT_EQ(Get<uint32_t>(*second, TIOCGPTN), 1u);
  auto names = vfs::ListNames(caller_, *Open("/", O_RDONLY));
  std::ranges::sort(names);
  EXPECT_EQ(names, (std::vector<std::string>{".", "..", "0", "1", "ptmx"}));
  master_.Reset();
  EXPECT_TRUE(vfs_.Resolve(caller_, "/0").Is(Errno::kENOENT));
  // The number stays taken while the slave is open.
  auto third = Open("/ptmx");
  EXPECT_EQ(Get<uint32_t>(*third, TIOCGPTN), 2u);
  slave_.Reset();
  jobs_.controlling.Reset();
  auto fourth = Open("/ptmx");
  EXPECT_EQ(Get<uint32_t>(*fourth, TIOCGPTN), 0u);
}

TEST_F(DevPtsTest, ALockedSlaveDoesNotOpen) {
  master_ = Open("/ptmx");
  EXPECT_EQ(Get<int32_t>(*master_, TIOCGPTLCK), 1);
  EXPECT_TRUE(vfs_.Open(caller_, "/0", {}, {O_RDWR, 0}).Is(Errno::kEIO));
}

TEST_F(DevPtsTest, BytesPassBothWays) {
  OpenPair();
  EXPECT_TRUE(ReadSome(*slave_).Is(Errno::kEAGAIN));
  EXPECT_TRUE(ReadSome(*master_).Is(Errno::kEAGAIN));
  MUST(vfs::WriteString(caller_, *master_, "ls\n"));
  EXPECT_EQ(slave_->Poll(EPOLLIN | EPOLLOUT), uint32_t{EPOLLIN | EPOLLOUT});
  EXPECT_EQ(MUST(ReadSome(*slave_)), "ls\n");
  EXPECT_EQ(MUST(ReadSome(*master_)), "ls\r\n");
  MUST(vfs::WriteString(caller_, *slave_, "a\n"));
  EXPECT_EQ(Get<int32_t>(*master_, FIONREAD), 3);
  EXPECT_EQ(MUST(ReadSome(*master_)), "a\r\n");
}

TEST_F(DevPtsTest, WritesStopWhenNobodyReads) {
  OpenPair();
  size_t total = 0;
  std::string chunk(5000, 'x');
  for (;;) {
    auto n = vfs::WriteString(caller_, *slave_, chunk);
    if (n.Is(Errno::kEAGAIN)) break;
    total += MUST(n);
  }
  EXPECT_GT(total, 4096u);
  EXPECT_EQ(slave_->Poll(EPOLLOUT), 0u);
  MUST(ReadSome(*master_));
  EXPECT_EQ(slave_->Poll(EPOLLOUT), uint32_t{EPOLLOUT});
}

TEST_F(DevPtsTest, ClosingTheMasterHangsUp) {
  OpenPair();
  master_.Reset();
  EXPECT_EQ(jobs_.signals, std::vector<int>{SIGHUP});
  EXPECT_EQ(MUST(ReadSome(*slave_)), "");
  EXPECT_TRUE(vfs::WriteString(caller_, *slave_, "x").Is(Errno::kEIO));
  EXPECT_NE(slave_->Poll(EPOLLIN) & EPOLLHUP, 0u);
  EXPECT_TRUE(slave_->Ioctl(caller_, TCGETS, kArg.value).Is(Errno::kEIO));
}

TEST_F(DevPtsTest, ClosingTheLastSlaveIsEioForTheMaster) {
  OpenPair();
  MUST(vfs::WriteString(caller_, *slave_, "bye"));
  slave_.Reset();
  EXPECT_EQ(MUST(ReadSome(*master_)), "bye");
  EXPECT_TRUE(ReadSome(*master_).Is(Errno::kEIO));
  EXPECT_NE(master_->Poll(EPOLLIN) & EPOLLHUP, 0u);
  slave_ = Open("/0");
  EXPECT_TRUE(ReadSome(*master_).Is(Errno::kEAGAIN));
}

TEST_F(DevPtsTest, WindowSizeIsSharedAndSignalled) {
  OpenPair();
  WindowSize size{24, 80, 0, 0};
  MUST(Set(*master_, TIOCSWINSZ, size));
  MUST(Set(*slave_, TIOCSWINSZ, size));  // the same: no signal
  EXPECT_EQ(Get<WindowSize>(*slave_, TIOCGWINSZ), size);
  EXPECT_EQ(jobs_.signals, std::vector<int>{SIGWINCH});
}

TEST_F(DevPtsTest, TermiosFormsAgree) {
  OpenPair();
  auto t = Get<Termios>(*slave_, kTcgets2);
  EXPECT_EQ(t.ospeed, 38400u);
  t.lflag &= ~(ICANON | ECHO);
  t.cc[VMIN] = 3;
  MUST(Set(*slave_, kTcsetsf2, t));
  EXPECT_EQ(Get<Termio>(*master_, TCGETA).cc[VMIN], 3);
  MUST(vfs::WriteString(caller_, *master_, "ab"));
  EXPECT_TRUE(ReadSome(*slave_).Is(Errno::kEAGAIN));
  EXPECT_EQ(MUST(ReadSome(*slave_, 2)), "ab");  // MIN is more than was asked for
  MUST(vfs::WriteString(caller_, *master_, "cd"));
  MUST(slave_->Ioctl(caller_, TCFLSH, TCIFLUSH));
  EXPECT_EQ(Get<int32_t>(*slave_, FIONREAD), 0);
}

TEST_F(DevPtsTest, PacketModeReportsFlowControl) {
  OpenPair();
  MUST(Set(*master_, TIOCPKT, int32_t{1}));
  MUST(vfs::WriteString(caller_, *slave_, "x"));
  EXPECT_EQ(MUST(ReadSome(*master_)), std::string("\0x", 2));
  MUST(slave_->Ioctl(caller_, TCXONC, TCOOFF));
  EXPECT_NE(master_->Poll(EPOLLPRI) & EPOLLPRI, 0u);
  EXPECT_EQ(MUST(ReadSome(*master_)), std::string(1, TIOCPKT_STOP));
}

TEST_F(DevPtsTest, BackgroundReadersAreStopped) {
  OpenPair();
  jobs_.background = true;
  EXPECT_TRUE(ReadSome(*slave_).Is(Errno::kERESTARTSYS));
  EXPECT_TRUE(vfs::WriteString(caller_, *slave_, "x").ok());  // TOSTOP is off
  auto t = Get<Termios>(*slave_, kTcgets2);
  EXPECT_TRUE(Set(*slave_, kTcsets2, t).Is(Errno::kERESTARTSYS));
  EXPECT_EQ(jobs_.signals, (std::vector<int>{SIGTTIN, SIGTTOU}));
}

TEST_F(DevPtsTest, PeerOpensTheSlaveWithoutItsName) {
  OpenPair();
  uint64_t fd = MUST(master_->Ioctl(caller_, TIOCGPTPEER, O_RDWR | O_NOCTTY));
  auto peer = MUST(caller_.files().Get(FdNum(static_cast<int32_t>(fd))));
  MUST(vfs::WriteString(caller_, *peer, "p"));
  EXPECT_EQ(MUST(ReadSome(*master_)), "p");
}

TEST_F(DevPtsTest, OptionsAreChecked) {
  EXPECT_TRUE(ParseOptions("newinstance,max=10").ok());
  EXPECT_TRUE(ParseOptions("colour=blue").Is(Errno::kEINVAL));
  EXPECT_TRUE(ParseOptions("mode=9").Is(Errno::kEINVAL));
  EXPECT_EQ(devpts_->OptionsString(), "gid=5,mode=620,ptmxmode=666");
}

}  // namespace
}  // namespace sandboxd::pts
