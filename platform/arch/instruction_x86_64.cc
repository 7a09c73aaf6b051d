#include "platform/arch/instruction_x86_64.h"

namespace sandboxd::arch {
namespace {

constexpr size_t kMaxLength = 15;

// What follows an opcode.
enum class Tail : uint8_t {
  kInvalid,
  kNone,
  kImm8,
  kImm16,
  kImm32,    // 16 bits with the prefix 66
  kImmFull,  // mov to a register: 64 bits with REX.W
  kMoffs,    // a 64-bit address
  kEnter,    // imm16 and imm8
  kModrm,
  kModrmImm8,
  kModrmImm32,
  kGroup3Byte,  // test has an immediate, its neighbours don't
  kGroup3,
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> code) : code_(code) {}
  bool Next(uint8_t& byte) {
    if (at_ >= code_.size() || at_ >= kMaxLength) return false;
    byte = static_cast<uint8_t>(code_[at_++]);
    return true;
  }
  bool Skip(size_t count) {
    at_ += count;
    return at_ <= code_.size() && at_ <= kMaxLength;
  }
  size_t at() const { return at_; }

 private:
  std::span<const std::byte> code_;
  size_t at_ = 0;
};

Tail TailOfArithmetic(uint8_t op) {  // 00 to 3f
  switch (op & 7) {
    case 4:
      return Tail::kImm8;
    case 5:
      return Tail::kImm32;
    case 6:
    case 7:
      return Tail::kInvalid;
    default:
      return Tail::kModrm;
  }
}

Tail TailOfMap0(uint8_t op) {
  if (op < 0x40) return TailOfArithmetic(op);
  if (op >= 0x50 && op < 0x60) return Tail::kNone;
  if (op >= 0x70 && op < 0x80) return Tail::kImm8;
  if (op >= 0x84 && op < 0x8f) return Tail::kModrm;
  if (op >= 0x90 && op < 0xa0) return op == 0x9a ? Tail::kInvalid : Tail::kNone;
  if (op >= 0xa0 && op < 0xa4) return Tail::kMoffs;
  if (op >= 0xb0 && op < 0xb8) return Tail::kImm8;
  if (op >= 0xb8 && op < 0xc0) return Tail::kImmFull;
  if (op >= 0xd0 && op < 0xd4) return Tail::kModrm;
  if (op >= 0xd8 && op < 0xe0) return Tail::kModrm;
  if (op >= 0xe0 && op < 0xe8) return Tail::kImm8;
  switch (op) {
    case 0x63:
    case 0x8f:
    case 0xfe:
    case 0xff:
      return Tail::kModrm;
    case 0x68:
    case 0xa9:
    case 0xe8:
    case 0xe9:
      return Tail::kImm32;
    case 0x69:
    case 0x81:
    case 0xc7:
      return Tail::kModrmImm32;
    case 0x6b:
    case 0x80:
    case 0x83:
    case 0xc0:
    case 0xc1:
    case 0xc6:
      return Tail::kModrmImm8;
    case 0x6a:
    case 0xa8:
    case 0xcd:
    case 0xeb:
      return Tail::kImm8;
    case 0xc2:
    case 0xca:
      return Tail::kImm16;
    case 0xc8:
      return Tail::kEnter;
    case 0xf6:
      return Tail::kGroup3Byte;
    case 0xf7:
      return Tail::kGroup3;
    case 0x60:
    case 0x61:
    case 0x82:
    case 0xce:
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xea:
      return Tail::kInvalid;
    default:
      return Tail::kNone;
  }
}

Tail TailOfMap1(uint8_t op) {
  if (op >= 0x05 && op < 0x0a) return Tail::kNone;
  if (op >= 0x30 && op < 0x38) return Tail::kNone;
  if (op >= 0x80 && op < 0x90) return Tail::kImm32;
  if (op >= 0xc8 && op < 0xd0) return Tail::kNone;
  switch (op) {
    case 0x04:
    case 0x0a:
    case 0x0c:
    case 0x24:
    case 0x25:
    case 0x26:
    case 0x27:
    case 0x39:
    case 0x3b:
    case 0x3c:
    case 0x3d:
    case 0x3e:
    case 0x3f:
    case 0xa6:
    case 0xa7:
      return Tail::kInvalid;
    case 0x0b:
    case 0x0e:
    case 0x77:
    case 0xa0:
    case 0xa1:
    case 0xa2:
    case 0xa8:
    case 0xa9:
    case 0xaa:
      return Tail::kNone;
    case 0x0f:
    case 0x70:
    case 0x71:
    case 0x72:
    case 0x73:
    case 0xa4:
    case 0xac:
    case 0xba:
    case 0xc2:
    case 0xc4:
    case 0xc5:
    case 0xc6:
      return Tail::kModrmImm8;
    default:
      return Tail::kModrm;
  }
}

Tail TailOfVector(uint8_t map, uint8_t op) {
  if (map == 3) return Tail::kModrmImm8;
  if (map != 1) return Tail::kModrm;
  if (op == 0x77) return Tail::kNone;
  const bool has_immediate = (op >= 0x70 && op <= 0x73) || op == 0xc2 || (op >= 0xc4 && op <= 0xc6);
  return has_immediate ? Tail::kModrmImm8 : Tail::kModrm;
}

bool SkipModrm(Reader& in, Instruction& found) {
  if (!in.Next(found.modrm)) return false;
  found.has_modrm = true;
  const uint8_t mod = found.modrm >> 6, rm = found.modrm & 7;
  if (mod == 3) return true;
  uint8_t base = rm;
  if (rm == 4) {
    uint8_t sib;
    if (!in.Next(sib)) return false;
    base = sib & 7;
  }
  if (mod == 1) return in.Skip(1);
  if (mod == 2 || (mod == 0 && base == 5)) return in.Skip(4);
  return true;
}

bool SkipTail(Reader& in, Tail tail, bool operand16, Instruction& found) {
  const size_t immediate = operand16 ? 2 : 4;
  switch (tail) {
    case Tail::kInvalid:
      return false;
    case Tail::kNone:
      return true;
    case Tail::kImm8:
      return in.Skip(1);
    case Tail::kImm16:
      return in.Skip(2);
    case Tail::kImm32:
      return in.Skip(immediate);
    case Tail::kImmFull:
      return in.Skip((found.rex & 8) != 0 ? 8 : immediate);
    case Tail::kMoffs:
      return in.Skip(8);
    case Tail::kEnter:
      return in.Skip(3);
    case Tail::kModrm:
      return SkipModrm(in, found);
    case Tail::kModrmImm8:
      return SkipModrm(in, found) && in.Skip(1);
    case Tail::kModrmImm32:
      return SkipModrm(in, found) && in.Skip(immediate);
    case Tail::kGroup3Byte:
      return SkipModrm(in, found) && ((found.modrm >> 3 & 7) > 1 || in.Skip(1));
    case Tail::kGroup3:
      return SkipModrm(in, found) && ((found.modrm >> 3 & 7) > 1 || in.Skip(immediate));
  }
  return false;
}

bool IsLegacyPrefix(uint8_t b) {
  switch (b) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64:
    case 0x65:
    case 0x66:
    case 0x67:
    case 0xf0:
    case 0xf2:
    case 0xf3:
      return true;
    default:
      return false;
  }
}

// Reads the rest of a VEX or EVEX prefix and the opcode.
bool ReadVectorPrefix(Reader& in, uint8_t first, Instruction& found) {
  uint8_t p0;
  if (!in.Next(p0)) return false;
  found.vector = true;
  found.map = 1;
  if (first == 0xc4) {
    found.map = p0 & 0x1f;
    if (!in.Skip(1)) return false;
  } else if (first == 0x62) {
    found.map = p0 & 7;
    if (!in.Skip(2)) return false;
  }
  if (found.map == 0 || found.map > 6 || found.map == 4) return false;
  return in.Next(found.opcode);
}

}  // namespace

std::optional<Instruction> DecodeInstruction(std::span<const std::byte> code) {
  Reader in(code);
  Instruction found;
  bool operand16 = false;
  uint8_t b;
  for (;;) {
    if (!in.Next(b)) return std::nullopt;
    if (!IsLegacyPrefix(b)) break;
    found.prefixed = true;
    operand16 = operand16 || b == 0x66;
  }
  if ((b & 0xf0) == 0x40) {
    found.rex = b;
    if (!in.Next(b)) return std::nullopt;
  }
  Tail tail;
  if (b == 0xc4 || b == 0xc5 || b == 0x62) {
    if (found.rex != 0 || !ReadVectorPrefix(in, b, found)) return std::nullopt;
    tail = TailOfVector(found.map, found.opcode);
  } else if (b == 0x0f) {
    found.map = 1;
    if (!in.Next(b)) return std::nullopt;
    if (b == 0x38 || b == 0x3a) {
      found.map = b == 0x38 ? 2 : 3;
      if (!in.Next(b)) return std::nullopt;
    }
    found.opcode = b;
    tail = found.map == 1 ? TailOfMap1(b) : found.map == 2 ? Tail::kModrm : Tail::kModrmImm8;
  } else {
    // A prefix that follows REX makes the processor forget REX; no compiler writes that.
    if ((b & 0xf0) == 0x40 || IsLegacyPrefix(b)) return std::nullopt;
    found.opcode = b;
    tail = TailOfMap0(b);
  }
  if (found.rex != 0 && (found.rex & 8) != 0) operand16 = false;
  // Near branches ignore the prefix 66 on one make of processor and not on the other.
  if (operand16 && (found.opcode == 0xe8 || found.opcode == 0xe9) && found.map == 0) {
    return std::nullopt;
  }
  if (!SkipTail(in, tail, operand16, found)) return std::nullopt;
  found.length = static_cast<uint8_t>(in.at());
  return found;
}

}  // namespace sandboxd::arch
