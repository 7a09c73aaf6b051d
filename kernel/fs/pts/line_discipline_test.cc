#include "kernel/fs/pts/line_discipline.h"

#include <gtest/gtest.h>
#include <signal.h>

namespace sandboxd::pts {
namespace {

class LineDisciplineTest : public testing::Test {
 protected:
  LineDiscipline::Effects Type(std::string_view keys) {
    LineDiscipline::Effects effects;
    EXPECT_EQ(line_.Input(std::as_bytes(std::span(keys)), effects), keys.size());
    return effects;
  }
  std::string Screen() {
    std::string text(line_.output().size(), '\0');
    line_.output().Pop(std::as_writable_bytes(std::span(text)));
    return text;
  }
  std::string Read(size_t max = 100) {
    std::string text(max, '\0');
    text.resize(line_.Read(std::as_writable_bytes(std::span(text))));
    return text;
  }
  template <typename Change>
  void Configure(Change change) {
    Termios t = line_.termios();
    change(t);
    line_.SetTermios(t);
  }
  LineDiscipline line_;
};

TEST_F(LineDisciplineTest, ALineIsReadableWhenItEndsAndEchoed) {
  Type("ab");
  EXPECT_FALSE(line_.HasLine());
  Type("c\r");
  EXPECT_TRUE(line_.HasLine());
  EXPECT_EQ(Screen(), "abc\r\n");
  EXPECT_EQ(line_.Readable(), 4u);
  EXPECT_EQ(Read(2), "ab");
  EXPECT_EQ(Read(), "c\n");
  EXPECT_FALSE(line_.HasLine());
}

TEST_F(LineDisciplineTest, EndOfFileIsZeroBytesOrEndsALine) {
  Type("\4");
  EXPECT_TRUE(line_.HasLine());
  EXPECT_EQ(Read(), "");
  EXPECT_FALSE(line_.HasLine());
  Type("abc\4");
  EXPECT_EQ(Read(3), "abc");
  EXPECT_FALSE(line_.HasLine());  // the mark went with the line that it ended
  EXPECT_EQ(Screen(), "abc");
}

TEST_F(LineDisciplineTest, EraseWordAndKillEditTheLine) {
  Type("foo bar\x7f\x17");
  EXPECT_EQ(Screen(), "foo bar\b \b\b \b\b \b");
  Type("x\n");
  EXPECT_EQ(Read(), "foo x\n");
  Screen();
  Type("abc\x15z\n");
  EXPECT_EQ(Screen(), "abc\b \b\b \b\b \bz\r\n");
  EXPECT_EQ(Read(), "z\n");
}

TEST_F(LineDisciplineTest, EraseTakesAllColumnsOfControlTabAndUtf8) {
  Type("\x16\x01\x7f");
  EXPECT_EQ(Screen(), "^\b^A\b \b\b \b");
  Type("a\t\x7f");
  EXPECT_EQ(Screen(), "a\t\b\b\b\b\b\b\b");
  Type("\x15");
  Screen();
  Configure([](Termios& t) { t.iflag |= IUTF8; });
  Type("\xc3\xa4\x7f\n");
  EXPECT_EQ(Screen(), "\xc3\xa4\b \b\r\n");
  EXPECT_EQ(Read(), "\n");
}

TEST_F(LineDisciplineTest, SignalKeysFlushAndSignal) {
  Type("half");
  auto effects = Type("\x03");
  EXPECT_EQ(effects.signals, std::vector<int>{SIGINT});
  EXPECT_TRUE(effects.input_flushed);
  EXPECT_EQ(Screen(), "^C");
  EXPECT_EQ(Type("\x1c\x1a").signals, (std::vector<int>{SIGQUIT, SIGTSTP}));
  Configure([](Termios& t) { t.lflag &= ~ISIG; });
  EXPECT_TRUE(Type("\x03\n").signals.empty());
  EXPECT_EQ(Read(), "\x03\n");
}

TEST_F(LineDisciplineTest, LiteralNextAndReprint) {
  Type("\x16\x03\n");
  EXPECT_EQ(Screen(), "^\b^C\r\n");
  EXPECT_EQ(Read(), "\x03\n");
  Type("ab\x12");
  EXPECT_EQ(Screen(), "ab^R\r\nab");
}

TEST_F(LineDisciplineTest, FlowControlStopsOutput) {
  auto effects = Type("\x13");
  EXPECT_TRUE(effects.stopped);
  EXPECT_EQ(line_.Output(std::as_bytes(std::span("x", 1))), 0u);
  EXPECT_FALSE(line_.HasOutputRoom());
  EXPECT_TRUE(Type("\x11").started);
  EXPECT_EQ(line_.Output(std::as_bytes(std::span("x", 1))), 1u);
  EXPECT_EQ(Screen(), "x");
}

TEST_F(LineDisciplineTest, RawModeGivesBytesAtOnceAndUnchanged) {
  Configure([](Termios& t) {
    t.lflag = 0;
    t.iflag = 0;
    t.oflag = 0;
  });
  Type("a\r\x03\x7f");
  EXPECT_EQ(Screen(), "");
  EXPECT_EQ(line_.Readable(), 4u);
  EXPECT_EQ(Read(), "a\r\x03\x7f");
  line_.Output(std::as_bytes(std::span("a\nb", 3)));
  EXPECT_EQ(Screen(), "a\nb");
}

TEST_F(LineDisciplineTest, InputFlagsTranslateCarriageReturnAndNewline) {
  Configure([](Termios& t) {
    t.lflag = 0;
    t.iflag = INLCR | IGNCR;
  });
  Type("a\r\n");
  EXPECT_EQ(Read(), "a\r");
  Configure([](Termios& t) { t.iflag = ISTRIP; });
  Type("\xe1");
  EXPECT_EQ(Read(), "a");
}

TEST_F(LineDisciplineTest, OutputFlagsTranslate) {
  Configure([](Termios& t) { t.oflag = OPOST | OCRNL | TAB3; });
  line_.Output(std::as_bytes(std::span("a\tb\r\n", 5)));
  EXPECT_EQ(Screen(), "a       b\n\n");
}

TEST_F(LineDisciplineTest, LeavingCanonicalModeKeepsWhatWasTyped) {
  Type("ab");
  Configure([](Termios& t) { t.lflag &= ~ICANON; });
  EXPECT_EQ(Read(), "ab");
  Type("cd");
  Configure([](Termios& t) { t.lflag |= ICANON; });
  EXPECT_TRUE(line_.HasLine());
  EXPECT_EQ(Read(), "cd");
}

TEST_F(LineDisciplineTest, AnEndlessLineIsCutButCanEnd) {
  Configure([](Termios& t) { t.lflag &= ~ECHO; });
  std::string much(10000, 'x');
  Type(much);
  EXPECT_FALSE(line_.HasLine());
  Type("\n");
  EXPECT_EQ(Read(20000).size(), 4096u);
}

TEST_F(LineDisciplineTest, RawInputStopsWhenTheQueueIsFull) {
  Configure([](Termios& t) { t.lflag = 0; });
  std::string much(10000, 'x');
  LineDiscipline::Effects effects;
  EXPECT_EQ(line_.Input(std::as_bytes(std::span(much)), effects), 4095u);
  EXPECT_FALSE(line_.HasInputRoom());
  Read(1);
  EXPECT_TRUE(line_.HasInputRoom());
}

}  // namespace
}  // namespace sandboxd::pts
