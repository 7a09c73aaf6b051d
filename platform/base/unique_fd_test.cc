#include "platform/base/unique_fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>

namespace sandboxd {
namespace {

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

TEST(UniqueFdTest, ClosesWhenItGoesOutOfScope) {
  int raw;
  {
    UniqueFd fd = MUST(WrapFd(open("/dev/null", O_RDONLY | O_CLOEXEC)));  // always there
    raw = fd.get();
    EXPECT_TRUE(IsOpen(raw));
  }
  EXPECT_FALSE(IsOpen(raw));
}

TEST(UniqueFdTest, MoveLeavesTheSourceEmptyAndClosesTheOldOne) {
  UniqueFd a(open("/dev/null", O_RDONLY | O_CLOEXEC));
  UniqueFd b(open("/dev/zero", O_RDONLY | O_CLOEXEC));
  int first = a.get();
  int second = b.get();
  b = std::move(a);
  EXPECT_FALSE(a.valid());  // NOLINT(bugprone-use-after-move): empty is what a move promises
  EXPECT_EQ(b.get(), first);
  EXPECT_FALSE(IsOpen(second));
}

TEST(UniqueFdTest, ReleaseGivesTheDescriptorAway) {
  int raw;
  {
    UniqueFd fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
    raw = fd.Release();
  }
  EXPECT_TRUE(IsOpen(raw));
  UniqueFd owner(raw);
}

TEST(UniqueFdTest, DupIsCloseOnExec) {
  UniqueFd fd(open("/dev/null", O_RDONLY));
  Result<UniqueFd> copy = fd.Dup();
  ASSERT_TRUE(copy.ok());
  EXPECT_NE(copy->get(), fd.get());
  EXPECT_EQ(fcntl(copy->get(), F_GETFD), FD_CLOEXEC);
}

TEST(UniqueFdTest, FailuresCarryTheHostsErrno) {
  EXPECT_TRUE(WrapFd(open("/dev/null/x", O_RDONLY)).Is(Errno::kENOTDIR));
  EXPECT_TRUE(UniqueFd().Dup().Is(Errno::kEBADF));
}

}  // namespace
}  // namespace sandboxd
