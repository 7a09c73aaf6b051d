#include "kernel/loader/initial_stack.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>

namespace sandboxd::loader {
namespace {

constexpr AddrRange kStack{UserAddr(0x7000'0000), UserAddr(0x7002'0000)};

class View {
 public:
  explicit View(const InitialStack& s) : s_(s) {}
  uint64_t Word(UserAddr at) const {
    uint64_t w = 0;
    memcpy(&w, s_.bytes.data() + (at - s_.stack_pointer), sizeof(w));
    return w;
  }
  std::string String(uint64_t at) const {
    return reinterpret_cast<const char*>(s_.bytes.data() + (UserAddr(at) - s_.stack_pointer));
  }

 private:
  const InitialStack& s_;
};

TEST(InitialStackTest, HasWhatTheAbiSays) {
  const std::vector<std::string> argv = {"prog", "", "two"}, envp = {"A=1", "B=22"};
  const std::string filename = "/bin/prog";
  for (uint64_t jitter : {0, 1, 15, 4095}) {
    auto s = MUST(BuildInitialStack(kStack, {argv, envp, filename, {{AT_PAGESZ, 4096}}, jitter}));
    View v(s);
    EXPECT_EQ(s.stack_pointer.value % 16, 0u);
    EXPECT_EQ(s.stack_pointer + s.bytes.size(), kStack.end);
    UserAddr p = s.stack_pointer;
    EXPECT_EQ(v.Word(p), 3u);
    EXPECT_EQ(v.Word(p + 8), s.arg_start.value);
    EXPECT_EQ(v.String(v.Word(p + 16)), "");
    EXPECT_EQ(v.String(v.Word(p + 24)), "two");
    EXPECT_EQ(v.Word(p + 32), 0u);
    EXPECT_EQ(v.Word(p + 40), s.env_start.value);
    EXPECT_EQ(v.String(v.Word(p + 48)), "B=22");
    EXPECT_EQ(v.Word(p + 56), 0u);
    EXPECT_EQ(s.arg_end - s.arg_start, 10u);
    EXPECT_EQ(s.env_end - s.env_start, 9u);
    UserAddr aux = p + 64;
    EXPECT_EQ(v.Word(aux), uint64_t{AT_PAGESZ});
    EXPECT_EQ(v.Word(aux + 16), uint64_t{AT_RANDOM});
    EXPECT_EQ(v.String(v.Word(aux + 40)), filename);
    EXPECT_EQ(v.String(v.Word(aux + 56)), "x86_64");
    EXPECT_EQ(v.Word(aux + 64), uint64_t{AT_NULL});
    EXPECT_EQ(s.auxv.size(), 10u);
  }
}

TEST(InitialStackTest, TooMuchIsE2big) {
  std::vector<std::string> argv = {std::string(kStack.length() - kPageSize, 'x')};
  EXPECT_TRUE(BuildInitialStack(kStack, {argv, {}, "f", {}, 0}).Is(Errno::kE2BIG));
  argv[0].resize(kStack.length() / 2);
  EXPECT_TRUE(BuildInitialStack(kStack, {argv, {}, "f", {}, 0}).ok());
}

}  // namespace
}  // namespace sandboxd::loader
