#include "kernel/boot/platform_report.h"

#include <gtest/gtest.h>

#include <sstream>
#include <vector>

namespace sandboxd::boot {
namespace {

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);) parts.push_back(part);
  return parts;
}

TEST(PlatformReportTest, EveryLineHasANameAnAnswerAndAReasonForANo) {
  const std::vector<std::string> lines = Split(PlatformReport(), '\n');
  ASSERT_FALSE(lines.empty());
  bool ptrace = false;
  for (const std::string& line : lines) {
    const std::vector<std::string> parts = Split(line + "\t.", '\t');
    ASSERT_EQ(parts.size(), 4u) << line;
    EXPECT_TRUE(parts[1] == "yes" || parts[1] == "slow" || parts[1] == "no") << line;
    if (parts[1] != "yes") {
      EXPECT_FALSE(parts[2].empty()) << line;
    }
    ptrace |= parts[0] == "ptrace";
  }
  EXPECT_TRUE(ptrace);
}

}  // namespace
}  // namespace sandboxd::boot
