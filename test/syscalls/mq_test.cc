// POSIX message queues: mq_overview(7).
#include <mqueue.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

// A queue of its own name, gone at the end.
class MqTest : public testing::Test {
 protected:
  void SetUp() override {
    mq_unlink(name_.c_str());
    queue_ = Make(3, 16);
    if (queue_ < 0 && errno == ENOSYS) GTEST_SKIP() << "a kernel without CONFIG_POSIX_MQUEUE";
    ASSERT_GE(queue_, 0) << strerror(errno);
  }
  void TearDown() override {
    if (queue_ >= 0) mq_close(queue_);
    mq_unlink(name_.c_str());
  }
  mqd_t Make(long messages, long size, int flags = O_RDWR | O_CREAT | O_EXCL) {
    mq_attr attr = {};
    attr.mq_maxmsg = messages;
    attr.mq_msgsize = size;
    return mq_open(name_.c_str(), flags, 0600, &attr);
  }
  std::string Receive() {
    char text[16];
    ssize_t n = mq_receive(queue_, text, sizeof(text), &priority_);
    return n < 0 ? strerror(errno) : std::string(text, static_cast<size_t>(n));
  }
  long Count() {
    mq_attr attr;
    EXPECT_EQ(mq_getattr(queue_, &attr), 0);
    return attr.mq_curmsgs;
  }

  const std::string name_ = "/mq_test." + std::to_string(getpid());
  mqd_t queue_ = -1;
  unsigned priority_ = 0;
};

timespec InPast() { return {1, 0}; }

TEST_F(MqTest, HighestPriorityComesFirstThenOldest) {
  ASSERT_EQ(mq_send(queue_, "low", 3, 1), 0);
  ASSERT_EQ(mq_send(queue_, "high", 4, 7), 0);
  ASSERT_EQ(mq_send(queue_, "low2", 4, 1), 0);
  EXPECT_EQ(Receive(), "high");
  EXPECT_EQ(priority_, 7u);
  EXPECT_EQ(Receive(), "low");
  EXPECT_EQ(Receive(), "low2");
}

TEST_F(MqTest, AttributesSayWhatWasAskedFor) {
  mq_attr attr;
  ASSERT_EQ(mq_getattr(queue_, &attr), 0);
  EXPECT_EQ(attr.mq_maxmsg, 3);
  EXPECT_EQ(attr.mq_msgsize, 16);
  EXPECT_EQ(attr.mq_curmsgs, 0);
  EXPECT_EQ(attr.mq_flags, 0);
}

TEST_F(MqTest, SetattrChangesOnlyNonblock) {
  mq_attr attr = {}, old;
  attr.mq_flags = O_NONBLOCK;
  attr.mq_maxmsg = 99;
  ASSERT_EQ(mq_setattr(queue_, &attr, &old), 0);
  EXPECT_EQ(old.mq_flags, 0);
  ASSERT_EQ(mq_getattr(queue_, &attr), 0);
  EXPECT_EQ(attr.mq_flags, O_NONBLOCK);
  EXPECT_EQ(attr.mq_maxmsg, 3);
  attr.mq_flags = O_APPEND;
  EXPECT_ERRNO(EINVAL, mq_setattr(queue_, &attr, nullptr));
}

TEST_F(MqTest, ExclusiveCreateOfExistingFails) { EXPECT_ERRNO(EEXIST, Make(3, 16)); }

TEST_F(MqTest, OpenSharesTheQueue) {
  mqd_t other = mq_open(name_.c_str(), O_WRONLY);
  ASSERT_GE(other, 0);
  EXPECT_EQ(mq_send(other, "x", 1, 0), 0);
  EXPECT_EQ(Receive(), "x");
  char text[16];
  EXPECT_ERRNO(EBADF, mq_receive(other, text, sizeof(text), nullptr));
  mq_close(other);
}

TEST_F(MqTest, NamesAreChecked) {
  EXPECT_ERRNO(ENOENT, mq_open("/mq_test.nothing", O_RDWR));
  EXPECT_ERRNO(ENOENT, mq_unlink("/mq_test.nothing"));
  EXPECT_ERRNO(ENAMETOOLONG, mq_open(("/" + std::string(256, 'a')).c_str(), O_RDWR));
  EXPECT_ERRNO(EACCES, syscall(SYS_mq_open, "a/b", O_RDWR, 0, nullptr));
  EXPECT_ERRNO(EACCES, syscall(SYS_mq_open, "..", O_RDWR | O_CREAT, 0600, nullptr));
  EXPECT_ERRNO(ENOENT, syscall(SYS_mq_open, "", O_RDWR, 0, nullptr));
}

TEST_F(MqTest, LimitsOfANewQueueMustBePositive) {
  mq_unlink(name_.c_str());
  EXPECT_ERRNO(EINVAL, Make(0, 16));
  EXPECT_ERRNO(EINVAL, Make(3, 0));
  EXPECT_ERRNO(EINVAL, Make(-1, 16));
  EXPECT_ERRNO(EINVAL, Make(3, int64_t{1} << 40));
}

TEST_F(MqTest, MessageSizesAreChecked) {
  char text[17] = {};
  EXPECT_ERRNO(EMSGSIZE, mq_send(queue_, text, 17, 0));
  EXPECT_ERRNO(EMSGSIZE, mq_receive(queue_, text, 15, nullptr));
  EXPECT_ERRNO(EINVAL, mq_send(queue_, text, 1, 32768));
  EXPECT_EQ(mq_send(queue_, text, 0, 32767), 0);
  EXPECT_EQ(Receive(), "");
}

TEST_F(MqTest, FullAndEmptyGiveEagainWithoutBlocking) {
  mq_attr attr = {};
  attr.mq_flags = O_NONBLOCK;
  ASSERT_EQ(mq_setattr(queue_, &attr, nullptr), 0);
  EXPECT_EQ(Receive(), strerror(EAGAIN));
  for (int i = 0; i < 3; i++) EXPECT_EQ(mq_send(queue_, "x", 1, 0), 0);
  EXPECT_ERRNO(EAGAIN, mq_send(queue_, "x", 1, 0));
}

TEST_F(MqTest, DeadlineInThePast) {
  timespec past = InPast(), bad = {0, 1000000000};
  char text[16];
  EXPECT_ERRNO(ETIMEDOUT, mq_timedreceive(queue_, text, sizeof(text), nullptr, &past));
  EXPECT_ERRNO(EINVAL, mq_timedreceive(queue_, text, sizeof(text), nullptr, &bad));
  for (int i = 0; i < 3; i++) EXPECT_EQ(mq_timedsend(queue_, "x", 1, 0, &past), 0);
  EXPECT_ERRNO(ETIMEDOUT, mq_timedsend(queue_, "x", 1, 0, &past));
}

TEST_F(MqTest, ReceiverIsWokenByASender) {
  pid_t child = fork();
  if (child == 0) _exit(mq_send(queue_, "from child", 10, 0) == 0 ? 0 : 1);
  EXPECT_EQ(Receive(), "from child");
  int status;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(MqTest, PollSaysWhatIsPossible) {
  pollfd p = {queue_, POLLIN | POLLOUT, 0};
  ASSERT_EQ(poll(&p, 1, 0), 1);
  EXPECT_EQ(p.revents, POLLOUT);
  for (int i = 0; i < 3; i++) EXPECT_EQ(mq_send(queue_, "x", 1, 0), 0);
  ASSERT_EQ(poll(&p, 1, 0), 1);
  EXPECT_EQ(p.revents, POLLIN);
}

TEST_F(MqTest, UnlinkedQueueLivesWhileOpen) {
  ASSERT_EQ(mq_unlink(name_.c_str()), 0);
  EXPECT_ERRNO(ENOENT, mq_open(name_.c_str(), O_RDWR));
  EXPECT_EQ(mq_send(queue_, "still", 5, 0), 0);
  EXPECT_EQ(Receive(), "still");
}

TEST_F(MqTest, DescriptorIsAFileThatTellsItsSize) {
  ASSERT_EQ(mq_send(queue_, "four", 4, 0), 0);
  char text[128] = {};
  ASSERT_GT(read(queue_, text, sizeof(text) - 1), 0);
  EXPECT_EQ(std::string(text).substr(0, 7), "QSIZE:4");
  struct stat st;
  ASSERT_EQ(fstat(queue_, &st), 0);
  EXPECT_TRUE(S_ISREG(st.st_mode));
  EXPECT_EQ(st.st_size, 80);
  EXPECT_ERRNO(EINVAL, write(queue_, "x", 1));
}

TEST_F(MqTest, OtherDescriptorsAreRefused) {
  TempFile file;
  Fd fd = file.Open(O_RDWR);
  EXPECT_ERRNO(EBADF, mq_send(fd.get(), "x", 1, 0));
  EXPECT_ERRNO(EBADF, mq_send(-1, "x", 1, 0));
}

TEST_F(MqTest, BadPointers) {
  void* bad = reinterpret_cast<void*>(1);
  EXPECT_ERRNO(EFAULT, syscall(SYS_mq_open, bad, O_RDWR, 0, nullptr));
  EXPECT_ERRNO(EFAULT, syscall(SYS_mq_timedsend, queue_, bad, 4, 0, nullptr));
  EXPECT_ERRNO(EFAULT, syscall(SYS_mq_getsetattr, queue_, bad, nullptr));
  EXPECT_ERRNO(EFAULT, syscall(SYS_mq_getsetattr, queue_, nullptr, bad));
  EXPECT_ERRNO(EFAULT, syscall(SYS_mq_notify, queue_, bad));
  EXPECT_EQ(Count(), 0);
}

TEST_F(MqTest, NotifySendsOneSignalWithTheValue) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN);
  ASSERT_EQ(sigprocmask(SIG_BLOCK, &set, nullptr), 0);
  sigevent event = {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGRTMIN;
  event.sigev_value.sival_int = 42;
  ASSERT_EQ(mq_notify(queue_, &event), 0);
  EXPECT_ERRNO(EBUSY, mq_notify(queue_, &event));
  ASSERT_EQ(mq_send(queue_, "x", 1, 0), 0);
  siginfo_t info;
  timespec none = {};
  ASSERT_EQ(sigtimedwait(&set, &info, &none), SIGRTMIN);
  EXPECT_EQ(info.si_code, SI_MESGQ);
  EXPECT_EQ(info.si_value.sival_int, 42);
  EXPECT_EQ(info.si_pid, getpid());
  // Used up: the next message tells nobody.
  EXPECT_EQ(Receive(), "x");
  ASSERT_EQ(mq_send(queue_, "y", 1, 0), 0);
  EXPECT_ERRNO(EAGAIN, sigtimedwait(&set, &info, &none));
  ASSERT_EQ(sigprocmask(SIG_UNBLOCK, &set, nullptr), 0);
}

TEST_F(MqTest, NotifyCanBeWithdrawn) {
  sigevent event = {};
  event.sigev_notify = SIGEV_NONE;
  ASSERT_EQ(mq_notify(queue_, &event), 0);
  ASSERT_EQ(mq_notify(queue_, nullptr), 0);
  EXPECT_EQ(mq_notify(queue_, &event), 0);
  event.sigev_notify = 77;
  EXPECT_ERRNO(EINVAL, mq_notify(queue_, &event));
}

TEST_F(MqTest, RlimitBoundsTheBytesOfNewQueues) {
  pid_t child = fork();
  if (child == 0) {
    rlimit none = {0, 0};
    if (setrlimit(RLIMIT_MSGQUEUE, &none) != 0) _exit(1);
    mq_unlink(name_.c_str());
    _exit(Make(3, 16) < 0 && errno == EMFILE ? 0 : 2);
  }
  int status;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace sandboxd::test
