#include "client/cli/commands.h"

#include <gtest/gtest.h>

#include <set>

#include "client/cli/output.h"
#include "client/cli/spec_flags.h"

namespace sandboxd::cli {
namespace {

std::string Fill(const std::vector<std::string>& words, v1::CreateSandboxRequest* request) {
  Args args;
  std::string error = ParseArgs(CreateFlags(), 0, words, &args);
  return error.empty() ? FillCreate(args, args.positional(), request) : error;
}

TEST(CommandTableTest, NamesAndFlagsAreUnique) {
  std::set<std::string> names;
  for (const Command& c : Commands()) {
    EXPECT_TRUE(names.insert(c.name).second) << c.name;
    std::set<std::string> flags;
    for (const Flag& f : c.flags)
      EXPECT_TRUE(flags.insert(f.name).second) << c.name << " --" << f.name;
  }
}

TEST(CommandTableTest, HelpAndCompletionKnowEveryCommand) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    std::string script = CompletionScript(shell);
    for (const Command& c : Commands())
      EXPECT_NE(script.find(c.name), std::string::npos) << shell << " " << c.name;
  }
  for (const Command& c : Commands()) EXPECT_NE(HelpText().find(c.name), std::string::npos);
  EXPECT_EQ(CompletionScript("tcsh"), "");
}

TEST(FillCreateTest, FlagsBecomeTheRequest) {
  v1::CreateSandboxRequest r;
  ASSERT_EQ(Fill({"--id", "x", "--rootfs", "/r", "-e", "A=1", "-w", "/w", "-u", "alice", "-m",
                  "/src:/dst:ro,noexec", "--tmpfs", "/t:size=1m", "-l", "k=v", "--", "ls", "-l"},
                 &r),
            "");
  EXPECT_EQ(r.id(), "x");
  EXPECT_EQ(r.labels().at("k"), "v");
  const auto& c = r.spec().containers(0);
  EXPECT_EQ(c.rootfs().path(), "/r");
  EXPECT_EQ(c.process().args(1), "-l");
  EXPECT_EQ(c.process().user().name(), "alice");
  EXPECT_EQ(c.mounts(0).source(), "/src");
  EXPECT_EQ(c.mounts(0).options(1), "noexec");
  EXPECT_EQ(c.mounts(1).options(0), "size=1m");
}

TEST(FillCreateTest, WhatIsMissingOrWrongIsSaid) {
  v1::CreateSandboxRequest r;
  EXPECT_NE(Fill({"--", "ls"}, &r).find("--rootfs"), std::string::npos);
  EXPECT_NE(Fill({"--rootfs", "/r"}, &r).find("no program"), std::string::npos);
  EXPECT_NE(Fill({"--rootfs", "/r", "--bundle", "/b", "--", "ls"}, &r).find("--bundle"),
            std::string::npos);
  EXPECT_NE(Fill({"--rootfs", "/r", "-m", "/only", "--", "ls"}, &r).find("/only"),
            std::string::npos);
  EXPECT_NE(Fill({"--rootfs", "/r", "-m", "/a:b", "--", "ls"}, &r).find("absolute"),
            std::string::npos);
}

TEST(DetachKeysTest, ReadsControlKeysAndLetters) {
  std::string keys;
  ASSERT_TRUE(ParseDetachKeys("ctrl-p,ctrl-q,a", &keys));
  EXPECT_EQ(keys,
            "\x10\x11"
            "a");
  ASSERT_TRUE(ParseDetachKeys("none", &keys));
  EXPECT_EQ(keys, "");
  EXPECT_FALSE(ParseDetachKeys("ctrl-", &keys));
}

TEST(OutputTest, SignalsByNameAndNumber) {
  EXPECT_EQ(ParseSignal("TERM"), 15);
  EXPECT_EQ(ParseSignal("SIGKILL"), 9);
  EXPECT_EQ(ParseSignal("34"), 34);
  EXPECT_EQ(ParseSignal("99"), 0);
  EXPECT_EQ(ParseSignal("SIGNONSENSE"), 0);
}

TEST(OutputTest, ExitCodesAreTheShells) {
  v1::ExitStatus exit;
  exit.set_code(3);
  EXPECT_EQ(ExitCodeOf(exit), 3);
  exit.set_code(0);
  exit.set_signal(9);
  EXPECT_EQ(ExitCodeOf(exit), 137);
  EXPECT_EQ(ExitText(exit), "killed by SIGKILL");
}

}  // namespace
}  // namespace sandboxd::cli
