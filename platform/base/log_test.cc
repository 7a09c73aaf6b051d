#include "platform/base/log.h"

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <iterator>
#include <string>

#include "platform/base/format.h"
#include "platform/base/unique_fd.h"

namespace sandboxd {
namespace {

// Sends the log to a memory file for the length of a test.
class LogTest : public testing::Test {
 protected:
  void SetUp() override {
    file_ = UniqueFd(memfd_create("log", MFD_CLOEXEC));
    ASSERT_TRUE(file_.valid());
    SetLogFd(file_.get());
  }
  void TearDown() override {
    SetLogFd(2);
    SetLogLevel(LogLevel::kInfo);
  }
  std::string Written() {
    std::string text(16384, '\0');
    ssize_t n = pread(file_.get(), text.data(), text.size(), 0);
    text.resize(n > 0 ? n : 0);
    return text;
  }

  UniqueFd file_;
};

TEST_F(LogTest, LineHasLevelPlaceAndText) {
  LOG_WARNING("%d of %s", 3, "these");
  std::string text = Written();
  EXPECT_NE(text.find(" W "), std::string::npos) << text;
  EXPECT_NE(text.find("platform/base/log_test.cc:"), std::string::npos) << text;
  EXPECT_TRUE(text.ends_with("] 3 of these\n")) << text;
}

TEST_F(LogTest, LevelDecidesWhatIsWritten) {
  LOG_DEBUG("unseen");
  EXPECT_EQ(Written(), "");
  SetLogLevel(LogLevel::kDebug);
  LOG_DEBUG("seen");
  EXPECT_TRUE(Written().ends_with("] seen\n"));
}

TEST_F(LogTest, LongLineIsCutAndStillEnds) {
  LOG_ERROR("%s", std::string(9000, 'x').c_str());
  LOG_ERROR("next");
  std::string text = Written();
  EXPECT_LE(text.find('\n'), 4096u);
  EXPECT_TRUE(text.ends_with("] next\n"));
}

// From here on this process dies of openat(2), as sandbox-kernel does once it is locked down.
void ForbidOpening() {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program = {std::size(filter), filter};
  ASSERT_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  ASSERT_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

TEST(LogDeathTest, FirstLineOpensNoFile) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a fresh process: nothing is loaded yet
  EXPECT_EXIT(
      {
        ForbidOpening();
        LOG_INFO("alive");
        _exit(0);
      },
      testing::ExitedWithCode(0), "alive");
}

TEST(FormatTest, GrowsWithTheText) {
  EXPECT_EQ(StrFormat("%05d|%s", 42, "x"), "00042|x");
  EXPECT_EQ(StrFormat("%s", std::string(5000, 'y').c_str()).size(), 5000u);
  EXPECT_EQ(StrFormat("%s", ""), "");
}

}  // namespace
}  // namespace sandboxd
