#include "kernel/seccomp/program.h"

#include <gtest/gtest.h>

#include <cstddef>

#include "kernel/seccomp/filter.h"

namespace sandboxd::seccomp {
namespace {

constexpr uint32_t kNumber = offsetof(seccomp_data, nr);
constexpr uint32_t kArch = offsetof(seccomp_data, arch);

sock_filter Stmt(int code, uint32_t k) { return {static_cast<uint16_t>(code), 0, 0, k}; }
sock_filter Jump(int code, uint32_t k, uint8_t jt, uint8_t jf) {
  return {static_cast<uint16_t>(code), jt, jf, k};
}
sock_filter Load(uint32_t offset) { return Stmt(BPF_LD | BPF_W | BPF_ABS, offset); }
sock_filter Return(uint32_t value) { return Stmt(BPF_RET | BPF_K, value); }

Program Make(std::vector<sock_filter> code) {
  return MUST(Program::Create(std::move(code)));  // the tests give valid ones
}
bool Refused(std::vector<sock_filter> code) {
  return Program::Create(std::move(code)).Is(Errno::kEINVAL);
}

// The result of an ALU instruction on A and X.
uint32_t Compute(int op, uint32_t a, uint32_t x) {
  return Make({Stmt(BPF_LDX | BPF_IMM, x), Stmt(BPF_LD | BPF_IMM, a), Stmt(BPF_ALU | op | BPF_X, 0),
               Stmt(BPF_RET | BPF_A, 0)})
      .Run({});
}

TEST(ProgramTest, Arithmetic) {
  EXPECT_EQ(Compute(BPF_ADD, 0xffffffff, 2), 1u);
  EXPECT_EQ(Compute(BPF_SUB, 1, 2), 0xffffffffu);
  EXPECT_EQ(Compute(BPF_MUL, 0x10000, 0x10001), 0x10000u);
  EXPECT_EQ(Compute(BPF_DIV, 7, 2), 3u);
  EXPECT_EQ(Compute(BPF_DIV, 7, 0), 0u);
  EXPECT_EQ(Compute(BPF_AND, 6, 3), 2u);
  EXPECT_EQ(Compute(BPF_OR, 6, 3), 7u);
  EXPECT_EQ(Compute(BPF_XOR, 6, 3), 5u);
  EXPECT_EQ(Compute(BPF_LSH, 1, 33), 2u);
  EXPECT_EQ(Compute(BPF_RSH, 4, 1), 2u);
}

TEST(ProgramTest, JumpsAndLoads) {
  Program p = Make({Load(kNumber), Jump(BPF_JMP | BPF_JEQ | BPF_K, 5, 0, 1), Return(1),
                    Jump(BPF_JMP | BPF_JGE | BPF_K, 100, 0, 1), Return(2),
                    Jump(BPF_JMP | BPF_JSET | BPF_K, 8, 0, 1), Return(3), Return(4)});
  auto run = [&p](int number) {
    seccomp_data data{};
    data.nr = number;
    return p.Run(data);
  };
  EXPECT_EQ(run(5), 1u);
  EXPECT_EQ(run(100), 2u);
  EXPECT_EQ(run(9), 3u);
  EXPECT_EQ(run(1), 4u);
}

TEST(ProgramTest, ArgumentsAreTwoWords) {
  Program p = Make({Load(offsetof(seccomp_data, args) + 12), Stmt(BPF_RET | BPF_A, 0)});
  seccomp_data data{};
  data.args[1] = 0x1122334455667788;
  EXPECT_EQ(p.Run(data), 0x11223344u);
}

TEST(ProgramTest, RefusesWhatLinuxRefuses) {
  EXPECT_TRUE(Refused({}));
  EXPECT_TRUE(Refused({Load(kNumber)}));        // no return at the end
  EXPECT_TRUE(Refused({Load(2), Return(0)}));   // unaligned
  EXPECT_TRUE(Refused({Load(64), Return(0)}));  // outside the data
  EXPECT_TRUE(Refused({Stmt(BPF_LD | BPF_H | BPF_ABS, 0), Return(0)}));
  EXPECT_TRUE(Refused({Stmt(BPF_LD | BPF_W | BPF_IND, 0), Return(0)}));
  EXPECT_TRUE(Refused({Stmt(BPF_JMP | BPF_JA, 1), Return(0)}));
  EXPECT_TRUE(Refused({Stmt(BPF_JMP | BPF_JA, 0xffffffff), Return(0)}));
  EXPECT_TRUE(Refused({Jump(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), Return(0)}));
  EXPECT_TRUE(Refused({Stmt(BPF_ALU | BPF_DIV | BPF_K, 0), Return(0)}));
  EXPECT_TRUE(Refused({Stmt(BPF_ALU | BPF_LSH | BPF_K, 32), Return(0)}));
  EXPECT_TRUE(Refused({Stmt(BPF_ALU | BPF_MOD | BPF_K, 3), Return(0)}));
  EXPECT_TRUE(Refused({Stmt(BPF_ST, 16), Return(0)}));
  EXPECT_TRUE(Refused({Stmt(BPF_LD | BPF_MEM, 0), Return(0)}));  // never written
  EXPECT_TRUE(Refused({Stmt(0xffff, 0), Return(0)}));
  EXPECT_TRUE(Refused(std::vector<sock_filter>(kMaxInstructions + 1, Return(0))));
  EXPECT_FALSE(Refused(std::vector<sock_filter>(kMaxInstructions, Return(0))));
}

TEST(ProgramTest, MemoryMustBeWrittenOnEveryPath) {
  EXPECT_TRUE(Refused({Load(kNumber), Jump(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 1), Stmt(BPF_ST, 3),
                       Stmt(BPF_LD | BPF_MEM, 3), Stmt(BPF_RET | BPF_A, 0)}));
  EXPECT_FALSE(Refused({Load(kNumber), Stmt(BPF_ST, 3), Jump(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 1),
                        Stmt(BPF_LD | BPF_MEM, 3), Stmt(BPF_RET | BPF_A, 0)}));
}

TEST(ProgramTest, ConstantIfArgumentsDontMatter) {
  Program p = Make({Load(kArch), Jump(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0), Return(0),
                    Load(kNumber), Jump(BPF_JMP | BPF_JEQ | BPF_K, 5, 0, 2),
                    Load(offsetof(seccomp_data, args)), Stmt(BPF_RET | BPF_A, 0),
                    Return(SECCOMP_RET_ALLOW)});
  EXPECT_EQ(p.RunConstant(6, kArchitecture), SECCOMP_RET_ALLOW);
  EXPECT_EQ(p.RunConstant(5, kArchitecture), std::nullopt);
  EXPECT_EQ(p.RunConstant(6, 0), 0u);
}

TEST(FilterTest, TheStrictestAnswerCounts) {
  auto make = [](uint32_t value, Ref<Filter> previous) {
    return MUST(Filter::Create(Make({Return(value)}), false, std::move(previous)));
  };
  Ref<Filter> old = make(SECCOMP_RET_ERRNO | 7, nullptr);
  Ref<Filter> log = make(SECCOMP_RET_LOG, old);
  EXPECT_EQ(log->Ask({}).value, SECCOMP_RET_ERRNO | 7u);
  EXPECT_EQ(log->Ask({}).filter, old.get());
  Ref<Filter> kill = make(SECCOMP_RET_KILL_PROCESS, log);
  EXPECT_EQ(kill->Ask({}).action(), SECCOMP_RET_KILL_PROCESS);
  // Of equals, the newest.
  Ref<Filter> again = make(SECCOMP_RET_ERRNO | 9, old);
  EXPECT_EQ(again->Ask({}).data(), 9);
  EXPECT_EQ(kill->depth(), 3);
  EXPECT_TRUE(old->IsAncestorOfOrSame(kill.get()));
  EXPECT_FALSE(again->IsAncestorOfOrSame(kill.get()));
}

TEST(FilterTest, AlwaysAllowedNeedsTheWholeChain) {
  Ref<Filter> allow = MUST(Filter::Create(Make({Return(SECCOMP_RET_ALLOW)}), false, nullptr));
  EXPECT_TRUE(allow->AlwaysAllows(3));
  EXPECT_FALSE(allow->AlwaysAllows(100000));
  Ref<Filter> three =
      MUST(Filter::Create(Make({Load(kNumber), Jump(BPF_JMP | BPF_JEQ | BPF_K, 3, 0, 1),
                                Return(SECCOMP_RET_ERRNO), Return(SECCOMP_RET_ALLOW)}),
                          false, allow));
  EXPECT_FALSE(three->AlwaysAllows(3));
  EXPECT_TRUE(three->AlwaysAllows(4));
}

TEST(FilterTest, AChainHasALimit) {
  Ref<Filter> chain;
  Program long_one = Make(std::vector<sock_filter>(4096, Return(SECCOMP_RET_ALLOW)));
  int count = 0;
  for (;; count++) {
    auto next = Filter::Create(long_one, false, chain);
    if (!next.ok()) {
      EXPECT_TRUE(next.Is(Errno::kENOMEM));
      break;
    }
    chain = *next;
  }
  EXPECT_EQ(count, 7);
}

TEST(FilterTest, LongChainsEndWithoutRecursion) {
  Ref<Filter> chain;
  for (int i = 0; i < 3000; i++) {
    chain = MUST(Filter::Create(Make({Return(SECCOMP_RET_ALLOW)}), false, chain));
  }
  EXPECT_EQ(chain->depth(), 3000);
}

}  // namespace
}  // namespace sandboxd::seccomp
