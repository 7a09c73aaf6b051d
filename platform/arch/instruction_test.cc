#include "platform/arch/instruction.h"

#include <gtest/gtest.h>

#include <vector>

namespace sandboxd::arch {
namespace {

std::optional<Instruction> Decode(std::vector<int> bytes) {
  std::vector<std::byte> code;
  for (int b : bytes) code.push_back(static_cast<std::byte>(b));
  return DecodeInstruction(code);
}

int Length(std::vector<int> bytes) {
  bytes.resize(15, 0x90);
  auto found = Decode(bytes);
  return found ? found->length : 0;
}

TEST(InstructionTest, Lengths) {
  EXPECT_EQ(Length({0x90}), 1);
  EXPECT_EQ(Length({0x31, 0xc0}), 2);                                // xor %eax,%eax
  EXPECT_EQ(Length({0x0f, 0x05}), 2);                                // syscall
  EXPECT_EQ(Length({0xb8, 1, 2, 3, 4}), 5);                          // mov $imm,%eax
  EXPECT_EQ(Length({0x66, 0xb8, 1, 2}), 4);                          // mov $imm,%ax
  EXPECT_EQ(Length({0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8}), 10);       // movabs
  EXPECT_EQ(Length({0x4c, 0x8b, 0x4c, 0x24, 0x08}), 5);              // mov 8(%rsp),%r9
  EXPECT_EQ(Length({0x48, 0x8d, 0x35, 1, 2, 3, 4}), 7);              // lea x(%rip),%rsi
  EXPECT_EQ(Length({0x48, 0xc7, 0xc0, 1, 2, 3, 4}), 7);              // mov $imm,%rax
  EXPECT_EQ(Length({0x64, 0x48, 0x8b, 0x14, 0x25, 0, 0, 0, 0}), 9);  // mov %fs:0,%rdx
  EXPECT_EQ(Length({0xf7, 0xc1, 1, 2, 3, 4}), 6);                    // test $imm,%ecx
  EXPECT_EQ(Length({0xf7, 0xd9}), 2);                                // neg %ecx
  EXPECT_EQ(Length({0x0f, 0x84, 1, 2, 3, 4}), 6);                    // je
  EXPECT_EQ(Length({0x66, 0x0f, 0x3a, 0x0f, 0xc1, 8}), 6);           // palignr
  EXPECT_EQ(Length({0xc5, 0xf8, 0x77}), 3);                          // vzeroupper
  EXPECT_EQ(Length({0xc4, 0xe3, 0x7d, 0x39, 0xc0, 1}), 6);           // vextracti128
  EXPECT_EQ(Length({0x62, 0xf1, 0xfe, 0x48, 0x6f, 0x46, 0x01}), 7);  // vmovdqu64
  EXPECT_EQ(Length({0xc8, 0, 0, 0}), 4);                             // enter
}

TEST(InstructionTest, NoInstructions) {
  for (int byte : {0x06, 0x27, 0x60, 0x82, 0x9a, 0xce, 0xd5, 0xea}) {
    EXPECT_EQ(Length({byte, 0, 0, 0}), 0) << byte;
  }
  EXPECT_EQ(Length({0x0f, 0x04}), 0);
  // A prefix behind REX.
  EXPECT_EQ(Length({0x48, 0x66, 0x90}), 0);
  // Cut off.
  EXPECT_FALSE(Decode({}).has_value());
  EXPECT_FALSE(Decode({0xb8, 1, 2, 3}).has_value());
  EXPECT_FALSE(Decode({0x48, 0x8b}).has_value());
  // Longer than any.
  EXPECT_EQ(Length({0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x48, 0x81,
                    0xc0, 1, 2, 3, 4}),
            0);
}

TEST(InstructionTest, Parts) {
  auto lea = Decode({0x48, 0x8d, 0x35, 1, 2, 3, 4});
  ASSERT_TRUE(lea.has_value());
  EXPECT_TRUE(lea->RipRelative());
  EXPECT_EQ(lea->rex, 0x48);
  EXPECT_EQ(lea->opcode, 0x8d);
  auto mov = Decode({0x64, 0x48, 0x8b, 0x14, 0x25, 0, 0, 0, 0});
  ASSERT_TRUE(mov.has_value());
  EXPECT_TRUE(mov->prefixed);
  EXPECT_FALSE(mov->RipRelative());
}

}  // namespace
}  // namespace sandboxd::arch
