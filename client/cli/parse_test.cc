#include <gtest/gtest.h>

#include "client/cli/command.h"

namespace sandboxd::cli {
namespace {

constexpr Flag kFlags[] = {
    {"rootfs", 'r', "DIR", ""},
    {"env", 'e', "K=V", "", true},
    {"tty", 't'},
    {"interactive", 'i'},
};
constexpr size_t kNoProgram = SIZE_MAX;

TEST(ParseArgsTest, TakesValuesFromTheSameOrTheNextWord) {
  Args args;
  ASSERT_EQ(ParseArgs(kFlags, kNoProgram, {"--rootfs=/a", "-e", "A=1", "-eB=2", "op"}, &args), "");
  EXPECT_EQ(args.Get("rootfs"), "/a");
  EXPECT_EQ(args.All("env"), (std::vector<std::string>{"A=1", "B=2"}));
  EXPECT_EQ(args.positional(), std::vector<std::string>{"op"});
}

TEST(ParseArgsTest, LettersOfSwitchesJoin) {
  Args args;
  ASSERT_EQ(ParseArgs(kFlags, kNoProgram, {"-it"}, &args), "");
  EXPECT_TRUE(args.Has("interactive"));
  EXPECT_TRUE(args.Has("tty"));
}

TEST(ParseArgsTest, TheProgramsOwnWordsAreLeftAlone) {
  Args args;
  ASSERT_EQ(ParseArgs(kFlags, 0, {"-t", "ls", "-r", "--", "--env"}, &args), "");
  EXPECT_EQ(args.positional(), (std::vector<std::string>{"ls", "-r", "--", "--env"}));
  EXPECT_FALSE(args.Has("rootfs"));
}

TEST(ParseArgsTest, AnOperandBeforeTheProgramDoesNotEndTheFlags) {
  Args args;
  ASSERT_EQ(ParseArgs(kFlags, 1, {"id", "-t", "ls", "-i"}, &args), "");
  EXPECT_EQ(args.positional(), (std::vector<std::string>{"id", "ls", "-i"}));
  EXPECT_TRUE(args.Has("tty"));
  EXPECT_FALSE(args.Has("interactive"));
}

TEST(ParseArgsTest, EverythingBehindTwoDashesIsAnOperand) {
  Args args;
  ASSERT_EQ(ParseArgs(kFlags, kNoProgram, {"--", "-t", "--nonsense"}, &args), "");
  EXPECT_EQ(args.positional(), (std::vector<std::string>{"-t", "--nonsense"}));
}

TEST(ParseArgsTest, ErrorsNameTheFlag) {
  Args args;
  EXPECT_NE(ParseArgs(kFlags, kNoProgram, {"--rotfs", "x"}, &args).find("did you mean --rootfs"),
            std::string::npos);
  EXPECT_NE(ParseArgs(kFlags, kNoProgram, {"--rootfs"}, &args).find("--rootfs needs a value"),
            std::string::npos);
  EXPECT_NE(ParseArgs(kFlags, kNoProgram, {"--tty=yes"}, &args).find("--tty is a switch"),
            std::string::npos);
  EXPECT_NE(ParseArgs(kFlags, kNoProgram, {"-x"}, &args).find("unknown flag -x"),
            std::string::npos);
}

TEST(NearestTest, FindsTyposAndOnlyTypos) {
  EXPECT_EQ(Nearest("delte", {"delete", "list"}), "delete");
  EXPECT_EQ(Nearest("--hlep", {"--keep", "--help"}), "--help");
  EXPECT_EQ(Nearest("frobnicate", {"delete", "list"}), "");
}

}  // namespace
}  // namespace sandboxd::cli
