#include "kernel/signal/signal.h"

#include <gtest/gtest.h>
#include <signal.h>

namespace sandboxd::signal {
namespace {

using AddResult = PendingSignals::AddResult;

TEST(PendingSignalsTest, StandardSignalIsPendingOnce) {
  PendingSignals pending;
  EXPECT_EQ(pending.Add(SigInfo::User(SIGUSR1, SI_USER, 1, 2), 0), AddResult::kQueued);
  EXPECT_EQ(pending.Add(SigInfo::User(SIGUSR1, SI_USER, 3, 4), 0), AddResult::kAlreadyPending);
  auto info = pending.Take({});
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info->kill.pid, 1);
  EXPECT_FALSE(pending.Take({}).has_value());
  EXPECT_TRUE(pending.set().empty());
}

TEST(PendingSignalsTest, RealtimeSignalsQueueInOrderUpToTheLimit) {
  PendingSignals pending;
  EXPECT_EQ(pending.Add(SigInfo::User(40, SI_QUEUE, 1, 0), 2), AddResult::kQueued);
  EXPECT_EQ(pending.Add(SigInfo::User(40, SI_QUEUE, 2, 0), 2), AddResult::kQueued);
  EXPECT_EQ(pending.Add(SigInfo::User(40, SI_QUEUE, 3, 0), 2), AddResult::kFull);
  EXPECT_EQ(pending.Take({})->kill.pid, 1);
  EXPECT_TRUE(pending.set().Has(40));
  EXPECT_EQ(pending.Take({})->kill.pid, 2);
  EXPECT_FALSE(pending.set().Has(40));
}

TEST(PendingSignalsTest, FaultsComeFirstThenTheLowestNumber) {
  PendingSignals pending;
  pending.Add(SigInfo::Kernel(SIGHUP), 10);
  pending.Add(SigInfo::Kernel(SIGTERM), 10);
  pending.Add(SigInfo::Fault(SIGSEGV, SEGV_MAPERR, UserAddr(8)), 10);
  EXPECT_EQ(pending.Take({})->signo, SIGSEGV);
  EXPECT_EQ(pending.Take({})->signo, SIGHUP);
  EXPECT_FALSE(pending.Take(SigSet::Of(SIGTERM)).has_value());
  EXPECT_EQ(pending.Take({})->signo, SIGTERM);
}

TEST(PendingSignalsTest, DiscardDropsEveryInstance) {
  PendingSignals pending;
  pending.Add(SigInfo::User(34, SI_QUEUE, 1, 0), 10);
  pending.Add(SigInfo::User(34, SI_QUEUE, 2, 0), 10);
  pending.Add(SigInfo::Kernel(SIGCONT), 10);
  pending.Discard(SigSet::Of(34));
  EXPECT_EQ(pending.size(), 1u);
  EXPECT_EQ(pending.set(), SigSet::Of(SIGCONT));
}

TEST(SignalTest, DefaultActions) {
  EXPECT_EQ(DefaultActionOf(SIGCHLD), DefaultAction::kIgnore);
  EXPECT_EQ(DefaultActionOf(SIGSEGV), DefaultAction::kCore);
  EXPECT_EQ(DefaultActionOf(SIGTTIN), DefaultAction::kStop);
  EXPECT_EQ(DefaultActionOf(SIGCONT), DefaultAction::kContinue);
  EXPECT_EQ(DefaultActionOf(SIGRTMAX), DefaultAction::kTerminate);
  EXPECT_STREQ(SignalName(SIGTERM), "SIGTERM");
  EXPECT_STREQ(SignalName(0), "SIG?");
}

}  // namespace
}  // namespace sandboxd::signal
