#include "daemon/sandbox/event_log.h"

#include <gtest/gtest.h>

namespace sandboxd::daemon {
namespace {

v1::SandboxEvent Event(const std::string& id) {
  v1::SandboxEvent event;
  event.mutable_sandbox()->set_id(id);
  return event;
}

TEST(EventLogTest, EventsAreReadInOrderAndOnce) {
  EventLog log;
  uint64_t next = log.End();
  log.Append(Event("a"));
  log.Append(Event("b"));
  auto first = log.Read(&next, 1);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->at(0).sandbox().id(), "a");
  EXPECT_EQ(log.Read(&next, 10)->at(0).sandbox().id(), "b");
  EXPECT_TRUE(log.Read(&next, 10)->empty());
}

TEST(EventLogTest, ATokenGoesOnBehindItsEvent) {
  EventLog log;
  uint64_t next = log.End();
  for (const char* id : {"a", "b", "c"}) log.Append(Event(id));
  const std::string token = log.Read(&next, 1)->at(0).resume_token();
  auto number = log.NumberAfter(token);
  ASSERT_TRUE(number.ok());
  uint64_t from = *number;
  EXPECT_EQ(log.Read(&from, 10)->at(0).sandbox().id(), "b");
}

TEST(EventLogTest, TheTokenOfTheEndWaitsForTheNextEvent) {
  EventLog log;
  log.Append(Event("a"));
  auto number = log.NumberAfter(log.TokenBefore(log.End()));
  ASSERT_TRUE(number.ok());
  EXPECT_EQ(*number, log.End());
}

TEST(EventLogTest, WhatIsNotKeptAnyMoreIsSaid) {
  EventLog log(2);
  uint64_t next = log.End();
  const std::string token = log.TokenBefore(next);
  for (const char* id : {"a", "b", "c"}) log.Append(Event(id));
  EXPECT_EQ(log.Read(&next, 10).error().reason(), v1::ERROR_REASON_WATCH_WINDOW_LOST);
  EXPECT_EQ(log.NumberAfter(token).error().reason(), v1::ERROR_REASON_WATCH_WINDOW_LOST);
}

TEST(EventLogTest, TokensOfOthersAreRefused) {
  EventLog log, other;
  other.Append(Event("a"));
  const auto foreign = log.NumberAfter(other.TokenBefore(other.End()));
  EXPECT_EQ(foreign.error().reason(), v1::ERROR_REASON_WATCH_WINDOW_LOST);
  for (const char* token : {"x", "-", "a-b", "a-99999999999999999999999"}) {
    EXPECT_EQ(log.NumberAfter(token).error().reason(), v1::ERROR_REASON_INVALID_FIELD) << token;
  }
}

TEST(EventLogTest, SubscribersAreToldUntilTheyLeave) {
  EventLog log;
  int told = 0;
  const auto id = log.Subscribe([&] { ++told; });
  log.Append(Event("a"));
  log.Unsubscribe(id);
  log.Append(Event("b"));
  EXPECT_EQ(told, 1);
}

}  // namespace
}  // namespace sandboxd::daemon
