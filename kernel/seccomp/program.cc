#include "kernel/seccomp/program.h"

#include <array>
#include <cstddef>
#include <cstring>

namespace sandboxd::seccomp {
namespace {

constexpr uint32_t kDataSize = sizeof(seccomp_data);

bool IsJump(uint16_t code) { return BPF_CLASS(code) == BPF_JMP; }
bool IsReturn(uint16_t code) { return BPF_CLASS(code) == BPF_RET; }

// Is this an instruction that seccomp lets a filter have, with operands that are valid by
// themselves?
bool IsAllowed(const sock_filter& i) {
  switch (i.code) {
    case BPF_LD | BPF_W | BPF_ABS:
      return i.k < kDataSize && (i.k & 3) == 0;
    case BPF_LD | BPF_W | BPF_LEN:
    case BPF_LDX | BPF_W | BPF_LEN:
    case BPF_LD | BPF_IMM:
    case BPF_LDX | BPF_IMM:
    case BPF_MISC | BPF_TAX:
    case BPF_MISC | BPF_TXA:
    case BPF_RET | BPF_K:
    case BPF_RET | BPF_A:
    case BPF_ALU | BPF_ADD | BPF_K:
    case BPF_ALU | BPF_ADD | BPF_X:
    case BPF_ALU | BPF_SUB | BPF_K:
    case BPF_ALU | BPF_SUB | BPF_X:
    case BPF_ALU | BPF_MUL | BPF_K:
    case BPF_ALU | BPF_MUL | BPF_X:
    case BPF_ALU | BPF_DIV | BPF_X:
    case BPF_ALU | BPF_AND | BPF_K:
    case BPF_ALU | BPF_AND | BPF_X:
    case BPF_ALU | BPF_OR | BPF_K:
    case BPF_ALU | BPF_OR | BPF_X:
    case BPF_ALU | BPF_XOR | BPF_K:
    case BPF_ALU | BPF_XOR | BPF_X:
    case BPF_ALU | BPF_LSH | BPF_X:
    case BPF_ALU | BPF_RSH | BPF_X:
    case BPF_ALU | BPF_NEG:
    case BPF_JMP | BPF_JA:
    case BPF_JMP | BPF_JEQ | BPF_K:
    case BPF_JMP | BPF_JEQ | BPF_X:
    case BPF_JMP | BPF_JGE | BPF_K:
    case BPF_JMP | BPF_JGE | BPF_X:
    case BPF_JMP | BPF_JGT | BPF_K:
    case BPF_JMP | BPF_JGT | BPF_X:
    case BPF_JMP | BPF_JSET | BPF_K:
    case BPF_JMP | BPF_JSET | BPF_X:
      return true;
    case BPF_ALU | BPF_DIV | BPF_K:
      return i.k != 0;
    case BPF_ALU | BPF_LSH | BPF_K:
    case BPF_ALU | BPF_RSH | BPF_K:
      return i.k < 32;
    case BPF_LD | BPF_MEM:
    case BPF_LDX | BPF_MEM:
    case BPF_ST:
    case BPF_STX:
      return i.k < BPF_MEMWORDS;
    default:
      return false;
  }
}

// Jumps go forward, into the program.
bool JumpsInside(const sock_filter& i, size_t at, size_t size) {
  if (!IsJump(i.code)) return true;
  size_t left = size - at - 1;
  if (i.code == (BPF_JMP | BPF_JA)) return i.k < left;
  return i.jt < left && i.jf < left;
}

// No word of scratch memory is read on a path that has not written it.
bool MemoryIsWrittenFirst(const std::vector<sock_filter>& code) {
  std::vector<uint16_t> written(code.size(), 0xffff);  // on every path that leads here
  uint16_t now = 0;
  for (size_t at = 0; at < code.size(); at++) {
    const sock_filter& i = code[at];
    now &= written[at];
    if (i.code == BPF_ST || i.code == BPF_STX) {
      now |= static_cast<uint16_t>(1U << i.k);
    } else if (i.code == (BPF_LD | BPF_MEM) || i.code == (BPF_LDX | BPF_MEM)) {
      if ((now & (1U << i.k)) == 0) return false;
    } else if (i.code == (BPF_JMP | BPF_JA)) {
      written[at + 1 + i.k] &= now;
      now = 0xffff;
    } else if (IsJump(i.code)) {
      written[at + 1 + i.jt] &= now;
      written[at + 1 + i.jf] &= now;
      now = 0xffff;
    }
  }
  return true;
}

}  // namespace

Result<Program> Program::Create(std::vector<sock_filter> code) {
  if (code.empty() || code.size() > kMaxInstructions) return Errno::kEINVAL;
  for (size_t at = 0; at < code.size(); at++) {
    if (!IsAllowed(code[at]) || !JumpsInside(code[at], at, code.size())) return Errno::kEINVAL;
  }
  if (!IsReturn(code.back().code)) return Errno::kEINVAL;
  if (!MemoryIsWrittenFirst(code)) return Errno::kEINVAL;
  return Program(std::move(code));
}

uint32_t Program::Run(const seccomp_data& data) const { return *Execute(data, kDataSize); }

std::optional<uint32_t> Program::RunConstant(uint32_t number, uint32_t arch) const {
  seccomp_data data{};
  data.nr = static_cast<int>(number);
  data.arch = arch;
  return Execute(data, offsetof(seccomp_data, instruction_pointer));
}

std::optional<uint32_t> Program::Execute(const seccomp_data& data, size_t known) const {
  uint32_t a = 0, x = 0;
  std::array<uint32_t, BPF_MEMWORDS> memory{};
  // Every jump goes forward and the last instruction returns, as Create has checked.
  for (size_t pc = 0;; pc++) {
    const sock_filter& i = code_[pc];
    const uint32_t operand = BPF_SRC(i.code) == BPF_X ? x : i.k;
    auto jump = [&](bool taken) { pc += taken ? i.jt : i.jf; };
    switch (i.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        if (i.k >= known) return std::nullopt;
        std::memcpy(&a, reinterpret_cast<const char*>(&data) + i.k, sizeof(a));
        break;
      case BPF_LD | BPF_W | BPF_LEN:
        a = kDataSize;
        break;
      case BPF_LDX | BPF_W | BPF_LEN:
        x = kDataSize;
        break;
      case BPF_LD | BPF_IMM:
        a = i.k;
        break;
      case BPF_LDX | BPF_IMM:
        x = i.k;
        break;
      case BPF_LD | BPF_MEM:
        a = memory[i.k];
        break;
      case BPF_LDX | BPF_MEM:
        x = memory[i.k];
        break;
      case BPF_ST:
        memory[i.k] = a;
        break;
      case BPF_STX:
        memory[i.k] = x;
        break;
      case BPF_MISC | BPF_TAX:
        x = a;
        break;
      case BPF_MISC | BPF_TXA:
        a = x;
        break;
      case BPF_RET | BPF_K:
        return i.k;
      case BPF_RET | BPF_A:
        return a;
      case BPF_ALU | BPF_ADD | BPF_K:
      case BPF_ALU | BPF_ADD | BPF_X:
        a += operand;
        break;
      case BPF_ALU | BPF_SUB | BPF_K:
      case BPF_ALU | BPF_SUB | BPF_X:
        a -= operand;
        break;
      case BPF_ALU | BPF_MUL | BPF_K:
      case BPF_ALU | BPF_MUL | BPF_X:
        a *= operand;
        break;
      case BPF_ALU | BPF_DIV | BPF_K:
      case BPF_ALU | BPF_DIV | BPF_X:
        if (operand == 0) return uint32_t{0};  // as Linux: the program ends and returns 0
        a /= operand;
        break;
      case BPF_ALU | BPF_AND | BPF_K:
      case BPF_ALU | BPF_AND | BPF_X:
        a &= operand;
        break;
      case BPF_ALU | BPF_OR | BPF_K:
      case BPF_ALU | BPF_OR | BPF_X:
        a |= operand;
        break;
      case BPF_ALU | BPF_XOR | BPF_K:
      case BPF_ALU | BPF_XOR | BPF_X:
        a ^= operand;
        break;
      case BPF_ALU | BPF_LSH | BPF_K:
      case BPF_ALU | BPF_LSH | BPF_X:
        a <<= operand & 31;
        break;
      case BPF_ALU | BPF_RSH | BPF_K:
      case BPF_ALU | BPF_RSH | BPF_X:
        a >>= operand & 31;
        break;
      case BPF_ALU | BPF_NEG:
        a = 0 - a;
        break;
      case BPF_JMP | BPF_JA:
        pc += i.k;
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
      case BPF_JMP | BPF_JEQ | BPF_X:
        jump(a == operand);
        break;
      case BPF_JMP | BPF_JGE | BPF_K:
      case BPF_JMP | BPF_JGE | BPF_X:
        jump(a >= operand);
        break;
      case BPF_JMP | BPF_JGT | BPF_K:
      case BPF_JMP | BPF_JGT | BPF_X:
        jump(a > operand);
        break;
      case BPF_JMP | BPF_JSET | BPF_K:
      case BPF_JMP | BPF_JSET | BPF_X:
        jump((a & operand) != 0);
        break;
      default:
        return uint32_t{0};  // Create lets nothing else in
    }
  }
}

}  // namespace sandboxd::seccomp
