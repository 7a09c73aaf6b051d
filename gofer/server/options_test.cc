#include "gofer/server/options.h"

#include <gtest/gtest.h>

namespace sandboxd::gofer {
namespace {

Options Good(const std::vector<std::string>& arguments) {
  auto parsed = ParseOptions(arguments);
  if (auto* error = std::get_if<UsageError>(&parsed)) {
    ADD_FAILURE() << error->message;
    return Options{.trees = {TreeOption{}}};
  }
  return std::get<Options>(parsed);
}

std::string Bad(const std::vector<std::string>& arguments) {
  auto parsed = ParseOptions(arguments);
  return std::holds_alternative<UsageError>(parsed) ? std::get<UsageError>(parsed).message
                                                    : "accepted";
}

TEST(OptionsTest, WhatTheDaemonSends) {
  Options o = Good({"--root", "/srv/a", "--socket-fd=3", "--log-fd=4", "--mount", "/x,y,ro,5",
                    "--mount=fd:9,rw,6", "--readonly"});
  ASSERT_EQ(o.trees.size(), 3u);
  EXPECT_EQ(std::get<std::string>(o.trees[0].source), "/srv/a");
  EXPECT_EQ(o.trees[0].socket_fd, 3);
  EXPECT_EQ(o.trees[0].access, Access::kReadOnly);
  EXPECT_EQ(std::get<std::string>(o.trees[1].source), "/x,y");
  EXPECT_EQ(o.trees[1].access, Access::kReadOnly);
  EXPECT_EQ(o.trees[1].socket_fd, 5);
  EXPECT_EQ(std::get<int>(o.trees[2].source), 9);
  EXPECT_EQ(o.trees[2].access, Access::kReadWrite);
  EXPECT_EQ(o.log_fd, 4);
}

TEST(OptionsTest, RootByDescriptor) {
  Options o = Good({"--root-fd=7", "--socket-fd", "3"});
  EXPECT_EQ(std::get<int>(o.trees[0].source), 7);
  EXPECT_EQ(o.trees[0].access, Access::kReadWrite);
}

TEST(OptionsTest, MistakesAreNamed) {
  EXPECT_EQ(Bad({}), "--root=PATH or --root-fd=N is missing");
  EXPECT_EQ(Bad({"--root=/"}), "--socket-fd=N is missing");
  EXPECT_EQ(Bad({"--root"}), "--root needs a value");
  EXPECT_EQ(Bad({"--root=/", "--socket-fd=x"}), "--socket-fd=x is not a descriptor's number");
  EXPECT_EQ(Bad({"--root=/", "--socket-fd=-1"}), "--socket-fd=-1 is not a descriptor's number");
  EXPECT_EQ(Bad({"--mount=/a,rx,4"}), "--mount=/a,rx,4 is not PATH,ro|rw,FD");
  EXPECT_EQ(Bad({"--mount=/a"}), "--mount=/a is not PATH,ro|rw,FD");
  EXPECT_EQ(Bad({"--what"}), "unknown argument --what");
}

}  // namespace
}  // namespace sandboxd::gofer
