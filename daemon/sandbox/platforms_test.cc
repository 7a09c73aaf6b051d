#include "daemon/sandbox/platforms.h"

#include <gtest/gtest.h>

namespace sandboxd::daemon {
namespace {

constexpr char kReport[] =
    "systrap\tyes\t\n"
    "kvm\tslow\tthe processor has no virtualization\n"
    "ptrace\tno\tnot permitted\n";

TEST(PlatformReportTest, EachLineIsAPlatform) {
  auto list = ParsePlatformReport(kReport);
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->size(), 3u);
  EXPECT_EQ((*list)[0].name, "systrap");
  EXPECT_TRUE((*list)[0].available && (*list)[0].automatic);
  EXPECT_TRUE((*list)[1].available && !(*list)[1].automatic);
  EXPECT_EQ((*list)[1].detail, "the processor has no virtualization");
  EXPECT_FALSE((*list)[2].available || (*list)[2].automatic);
}

TEST(PlatformReportTest, NonsenseIsAnError) {
  for (const char* report : {"", "systrap", "systrap\tyes", "systrap\tmaybe\t", "\tyes\t"}) {
    EXPECT_FALSE(ParsePlatformReport(report).ok()) << report;
  }
}

TEST(PlatformChoiceTest, AutoTakesTheFirstThatWorksAndSaysWhatItPassedOver) {
  auto answer = PickAutomatically(*ParsePlatformReport(kReport));
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->name, "systrap");
  EXPECT_EQ(answer->reason, "the best that works here");
  answer = PickAutomatically(*ParsePlatformReport("a\tno\tbroken\nb\tslow\tcrawls\nc\tyes\t\n"));
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->name, "c");
  EXPECT_EQ(answer->reason, "the best that works here; not a: broken; nor b: crawls");
}

TEST(PlatformChoiceTest, ASlowOneIsBetterThanNone) {
  auto answer = PickAutomatically(*ParsePlatformReport("a\tno\tbroken\nb\tslow\tcrawls\n"));
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->name, "b");
  auto none = PickAutomatically(*ParsePlatformReport("a\tno\tbroken\n"));
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().code(), Code::kFailedPrecondition);
  EXPECT_NE(none.error().message().find("a: broken"), std::string::npos);
}

TEST(PlatformChoiceTest, AnUnknownNameIsAnInvalidField) {
  auto answer = ChoosePlatform(*ParsePlatformReport(kReport), {"xen", "spec.platform", ""});
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().code(), Code::kInvalidArgument);
  EXPECT_EQ(answer.error().message(),
            "spec.platform: unknown platform \"xen\"; it can be auto, systrap, kvm or ptrace");
}

TEST(PlatformChoiceTest, AnUnavailableOneIsRefusedWithTheReasonAndTheAlternative) {
  auto answer = ChoosePlatform(*ParsePlatformReport(kReport), {"ptrace", "spec.platform", ""});
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().code(), Code::kFailedPrecondition);
  EXPECT_EQ(answer.error().message(),
            "platform ptrace doesn't work on this host: not permitted; use systrap (or auto, the "
            "best that works)");
  EXPECT_EQ(answer.error().metadata().at("alternative"), "systrap");
}

TEST(PlatformTableTest, AsksOnceAndAgainAfterARefusal) {
  int asked = 0;
  std::string report = "kvm\tno\tno device\nptrace\tyes\t\n";
  PlatformTable table([&]() -> Outcome<std::string> {
    ++asked;
    return report;
  });
  EXPECT_TRUE(table.Choose({"ptrace", "f", "asked"}).ok());
  EXPECT_TRUE(table.Choose({"ptrace", "f", "asked"}).ok());
  EXPECT_EQ(asked, 1);
  EXPECT_FALSE(table.Choose({"xen", "f", "asked"}).ok());
  EXPECT_EQ(asked, 1);
  EXPECT_FALSE(table.Choose({"kvm", "f", "asked"}).ok());
  EXPECT_EQ(asked, 2);
  report = "kvm\tyes\t\nptrace\tyes\t\n";
  EXPECT_TRUE(table.Choose({"kvm", "f", "asked"}).ok());
  EXPECT_EQ(asked, 3);
}

TEST(PlatformTableTest, AFailedProbeIsTheAnswer) {
  PlatformTable table([]() -> Outcome<std::string> { return Error::Internal("no such program"); });
  EXPECT_EQ(table.Choose({"auto", "f", ""}).error().message(), "no such program");
  EXPECT_FALSE(table.List().ok());
}

}  // namespace
}  // namespace sandboxd::daemon
