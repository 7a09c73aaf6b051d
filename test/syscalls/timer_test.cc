// alarm(2), setitimer(2), timer_create(2).
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include <cstring>

#include "test/syscalls/testing.h"

namespace sandboxd::test {
namespace {

constexpr long kMilli = 1'000'000;

// Blocks a signal, so that the test takes it when it likes.
class Taken {
 public:
  explicit Taken(int signo) {
    sigemptyset(&set_);
    sigaddset(&set_, signo);
    sigprocmask(SIG_BLOCK, &set_, &old_);
  }
  ~Taken() {
    timespec zero{};
    while (sigtimedwait(&set_, nullptr, &zero) > 0) continue;
    sigprocmask(SIG_SETMASK, &old_, nullptr);
  }
  siginfo_t Wait() {
    siginfo_t info{};
    while (sigwaitinfo(&set_, &info) < 0) continue;
    return info;
  }

 private:
  sigset_t set_, old_;
};

TEST(ItimerTest, RealTimerSendsSigalrmAndIsDisarmed) {
  Taken alarm(SIGALRM);
  itimerval value{{0, 0}, {0, 1000}};
  ASSERT_EQ(setitimer(ITIMER_REAL, &value, nullptr), 0);
  EXPECT_EQ(alarm.Wait().si_code, SI_KERNEL);
  itimerval now;
  ASSERT_EQ(getitimer(ITIMER_REAL, &now), 0);
  EXPECT_EQ(now.it_value.tv_sec, 0);
  EXPECT_EQ(now.it_value.tv_usec, 0);
}

TEST(ItimerTest, TheOldSettingComesBack) {
  itimerval value{{20, 0}, {100, 0}}, zero{}, old{};
  ASSERT_EQ(setitimer(ITIMER_REAL, &value, nullptr), 0);
  ASSERT_EQ(setitimer(ITIMER_REAL, &zero, &old), 0);
  EXPECT_EQ(old.it_interval.tv_sec, 20);
  EXPECT_GT(old.it_value.tv_sec, 50);
  EXPECT_LE(old.it_value.tv_sec, 100);
  value.it_value.tv_usec = 1'000'000;
  EXPECT_ERRNO(EINVAL, setitimer(ITIMER_REAL, &value, nullptr));
  EXPECT_ERRNO(EINVAL, syscall(SYS_setitimer, 3, &zero, nullptr));
}

TEST(ItimerTest, AChildHasNoTimers) {
  itimerval value{{0, 0}, {100, 0}}, zero{};
  ASSERT_EQ(setitimer(ITIMER_REAL, &value, nullptr), 0);
  int status = InChild([] {
    itimerval now;
    getitimer(ITIMER_REAL, &now);
    return now.it_value.tv_sec == 0 && now.it_value.tv_usec == 0 ? 0 : 1;
  });
  EXPECT_TRUE(ExitedWith(status, 0));
  setitimer(ITIMER_REAL, &zero, nullptr);
}

TEST(ItimerTest, VirtualAndProfTimersComeFromCpuTime) {
  for (auto [which, signo] :
       {std::pair(ITIMER_VIRTUAL, SIGVTALRM), std::pair(ITIMER_PROF, SIGPROF)}) {
    static volatile sig_atomic_t got;
    got = 0;
    signal(signo, [](int) { got = 1; });
    itimerval value{{0, 0}, {0, 1000}};
    ASSERT_EQ(setitimer(static_cast<__itimer_which>(which), &value, nullptr), 0);
    while (!got) continue;
    signal(signo, SIG_DFL);
  }
}

TEST(AlarmTest, ReturnsTheSecondsThatWereLeft) {
  EXPECT_EQ(alarm(100), 0u);
  unsigned left = alarm(0);
  EXPECT_GE(left, 99u);
  EXPECT_LE(left, 100u);
  EXPECT_EQ(alarm(0), 0u);
}

timer_t Create(clockid_t clock, int signo, int value) {
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = signo;
  event.sigev_value.sival_int = value;
  timer_t timer{};
  EXPECT_EQ(timer_create(clock, &event, &timer), 0);
  return timer;
}

TEST(PosixTimerTest, SendsItsSignalWithItsValue) {
  Taken taken(SIGRTMIN);
  for (clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME}) {
    timer_t timer = Create(clock, SIGRTMIN, 77);
    itimerspec value{{0, 0}, {0, kMilli}};
    ASSERT_EQ(timer_settime(timer, 0, &value, nullptr), 0);
    siginfo_t info = taken.Wait();
    EXPECT_EQ(info.si_code, SI_TIMER);
    EXPECT_EQ(info.si_value.sival_int, 77);
    EXPECT_EQ(timer_delete(timer), 0);
  }
}

TEST(PosixTimerTest, AnAbsoluteTimeInThePastFiresAtOnce) {
  Taken taken(SIGRTMIN);
  timer_t timer = Create(CLOCK_MONOTONIC, SIGRTMIN, 0);
  itimerspec value{{0, 0}, {0, 1}};
  ASSERT_EQ(timer_settime(timer, TIMER_ABSTIME, &value, nullptr), 0);
  EXPECT_EQ(taken.Wait().si_code, SI_TIMER);
  itimerspec now{};
  ASSERT_EQ(timer_gettime(timer, &now), 0);
  EXPECT_EQ(now.it_value.tv_sec, 0);
  EXPECT_EQ(now.it_value.tv_nsec, 0);
  timer_delete(timer);
}

TEST(PosixTimerTest, ExpirationsWhileTheSignalIsPendingAreOverruns) {
  Taken taken(SIGRTMIN);
  timer_t timer = Create(CLOCK_MONOTONIC, SIGRTMIN, 0);
  // First due in the past by far more than a hundred intervals.
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  itimerspec value{{0, kMilli}, {now.tv_sec - 1, now.tv_nsec}};
  ASSERT_EQ(timer_settime(timer, TIMER_ABSTIME, &value, nullptr), 0);
  siginfo_t info = taken.Wait();
  EXPECT_GE(info.si_overrun, 100);
  EXPECT_EQ(timer_getoverrun(timer), info.si_overrun);
  timer_delete(timer);
}

TEST(PosixTimerTest, ArgumentsAreChecked) {
  timer_t timer{};
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = 65;
  EXPECT_ERRNO(EINVAL, timer_create(CLOCK_MONOTONIC, &event, &timer));
  event.sigev_signo = SIGUSR1;
  EXPECT_ERRNO(EINVAL, syscall(SYS_timer_create, 99, &event, &timer));
  EXPECT_ERRNO(EOPNOTSUPP, syscall(SYS_timer_create, CLOCK_MONOTONIC_RAW, &event, &timer));
  itimerspec value{};
  EXPECT_ERRNO(EINVAL, syscall(SYS_timer_settime, 0x7ffffff, 0, &value, nullptr));
  EXPECT_ERRNO(EINVAL, syscall(SYS_timer_delete, 0x7ffffff));
  timer = Create(CLOCK_MONOTONIC, SIGRTMIN, 0);
  value.it_value.tv_nsec = -1;
  EXPECT_ERRNO(EINVAL, timer_settime(timer, 0, &value, nullptr));
  timer_delete(timer);
}

}  // namespace
}  // namespace sandboxd::test
