// Where x86-64 instructions end (Intel SDM volume 2, chapter 2 and appendix A; 64-bit mode only).
// Just enough to tell which instruction stands before another one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace sandboxd::arch {

struct Instruction {
  uint8_t length = 0;
  uint8_t map = 0;        // 0: one byte; 1: 0f; 2: 0f 38; 3: 0f 3a
  bool vector = false;    // VEX or EVEX encoding
  bool prefixed = false;  // legacy prefixes (66, f2, f3, lock, segments, 67)
  uint8_t rex = 0;        // 0x40 to 0x4f, or 0
  uint8_t opcode = 0;
  bool has_modrm = false;
  uint8_t modrm = 0;

  // Its memory operand lies relative to the instruction.
  bool RipRelative() const { return has_modrm && (modrm & 0xc7) == 0x05; }
};

// The instruction at the start of `code`. Nothing if those bytes are none in 64-bit mode, or
// end before it does.
std::optional<Instruction> DecodeInstruction(std::span<const std::byte> code);

}  // namespace sandboxd::arch
