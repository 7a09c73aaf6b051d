#include "platform/systrap/call_site_x86_64.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>

#include "platform/arch/instruction.h"
#include "platform/base/check.h"
#include "platform/stub/region_stub.h"

namespace sandboxd::platform::systrap {
namespace {

constexpr size_t kMaxInstruction = 15;
// A displacement that reaches to there and back, whatever is added for lengths.
constexpr uint64_t kReach = 0x7fff'0000;

// Instructions that do the same anywhere: no jumps, nothing relative to the instruction.
bool IsMovable(const arch::Instruction& i) {
  if (i.vector || i.RipRelative()) return false;
  const uint8_t op = i.opcode;
  const uint8_t extension = i.modrm >> 3 & 7;
  if (i.map == 1) {
    return op == 0x1e || op == 0x1f || (op & 0xf0) == 0x40 || (op & 0xf0) == 0x90 || op == 0xaf ||
           op == 0xb6 || op == 0xb7 || op == 0xbe || op == 0xbf || (op & 0xf8) == 0xc8;
  }
  if (i.map != 0) return false;
  if (op < 0x40) return true;
  if (op >= 0x50 && op < 0x60) return true;
  if (op >= 0x84 && op <= 0x8b) return true;
  if (op >= 0xb0 && op < 0xc0) return true;
  switch (op) {
    case 0x63:
    case 0x69:
    case 0x6b:
    case 0x80:
    case 0x81:
    case 0x83:
    case 0x8d:
    case 0x90:
    case 0x98:
    case 0x99:
    case 0xc0:
    case 0xc1:
    case 0xd1:
    case 0xd3:
      return true;
    case 0xc6:
    case 0xc7:
      return extension == 0;
    case 0xf7:
      return extension == 2 || extension == 3;
    case 0xfe:
    case 0xff:
      return extension < 2;
    default:
      return false;
  }
}

// What the instruction leaves in eax if that is plain to see.
std::optional<uint32_t> LoadedNumber(const arch::Instruction& i, ConstBytes bytes) {
  if (i.map != 0 || i.prefixed || i.rex != 0) return std::nullopt;
  if (i.opcode == 0xb8) {
    uint32_t value;
    std::memcpy(&value, bytes.data() + 1, sizeof(value));
    return value;
  }
  const bool clears = (i.opcode == 0x31 || i.opcode == 0x33) && i.modrm == 0xc0;
  if (clears) return 0;
  return std::nullopt;
}

// If the code in front of `syscall` is one instruction after the other, one of the kMaxInstruction
// places that are tried is where one of them begins, and from there on all are found. So if every
// try that arrives at `syscall` at all comes by the same last instruction, it is the true one.
// One doubt can be dispelled: a try that ends inside of `mov $number, %eax`. The zeros at the end
// of it would be an access to (%rax), that is, to where nothing is ever mapped.
std::optional<arch::Instruction> InstructionInFront(ConstBytes code, uint64_t number) {
  const size_t goal = kBytesBefore;
  std::optional<arch::Instruction> found;
  bool doubtful = false;
  for (size_t start = goal - 2 * kMaxInstruction; start < goal - kMaxInstruction; start++) {
    std::optional<arch::Instruction> last;
    size_t at = start;
    while (at < goal) {
      last = arch::DecodeInstruction(code.subspan(at, goal - at));
      if (!last) break;
      at += last->length;
    }
    if (!last || at != goal) continue;
    doubtful = doubtful || (found && found->length != last->length);
    if (!found || found->length < last->length) found = last;
  }
  if (!found) return std::nullopt;
  auto loaded = LoadedNumber(*found, code.last(found->length));
  if (loaded && *loaded != number) return std::nullopt;
  if (doubtful && !(loaded && found->length == kJumpSize)) return std::nullopt;
  return found;
}

AddrRange WindowOf(const CallSite& site, ConstBytes from) {
  const uint64_t next = (site.start() + kJumpSize).value;
  uint64_t low, size;
  if (site.size >= kJumpSize) {
    low = next - std::min(next, kReach);
    size = next + kReach - low;
  } else {
    // The displacement's bytes that are there already, as its high part.
    uint32_t fixed = 0;
    const size_t free_bytes = site.size - 1;
    for (size_t i = free_bytes; i < sizeof(fixed); i++) {
      fixed |= static_cast<uint32_t>(from[i - free_bytes]) << (8 * i);
    }
    low = next + static_cast<uint64_t>(int64_t{static_cast<int32_t>(fixed)});
    size = uint64_t{1} << (8 * free_bytes);
    // Back from there has to be in reach too.
    if (int64_t{static_cast<int32_t>(fixed)} < -int64_t{kReach}) size = 0;
    if (int64_t{static_cast<int32_t>(fixed)} > int64_t{kReach}) size = 0;
  }
  return {UserAddr(low), UserAddr(low + size)};
}

// Puts instructions together.
class Assembler {
 public:
  explicit Assembler(UserAddr at) : at_(at) { code_.fill(std::byte{0xcc}); }
  void Bytes(std::initializer_list<int> bytes) {
    for (int b : bytes) code_[size_++] = static_cast<std::byte>(b);
  }
  void Bytes(ConstBytes bytes) {
    std::copy(bytes.begin(), bytes.end(), code_.begin() + size_);
    size_ += bytes.size();
  }
  void Word(uint32_t value) {
    for (int i = 0; i < 4; i++) Bytes({static_cast<int>(value >> (8 * i) & 0xff)});
  }
  // The last part of an instruction that refers to `target` relative to its end.
  void Relative(UserAddr target) {
    Word(static_cast<uint32_t>(target.value - (at_.value + size_ + 4)));
  }
  const std::array<std::byte, kTrampolineSize>& code() const { return code_; }

 private:
  const UserAddr at_;
  std::array<std::byte, kTrampolineSize> code_;
  size_t size_ = 0;
};

}  // namespace

std::optional<CallSite> FindCallSite(UserAddr syscall, ConstBytes code, uint64_t number) {
  if (code.size() != kBytesBefore + kBytesFrom) return std::nullopt;
  const ConstBytes from = code.subspan(kBytesBefore);
  if (from[0] != std::byte{0x0f} || from[1] != std::byte{0x05}) return std::nullopt;
  auto instruction = InstructionInFront(code.first(kBytesBefore), number);
  if (!instruction || instruction->length < 2 || !IsMovable(*instruction)) return std::nullopt;
  CallSite site;
  site.syscall = syscall;
  site.size = instruction->length;
  const ConstBytes displaced = code.subspan(kBytesBefore - site.size, site.size);
  std::copy(displaced.begin(), displaced.end(), site.displaced.begin());
  site.window = WindowOf(site, from);
  if (site.window.empty()) return std::nullopt;
  return site;
}

std::vector<std::byte> MakeJump(const CallSite& site, UserAddr trampoline) {
  const auto displacement =
      static_cast<uint32_t>(trampoline.value - (site.start() + kJumpSize).value);
  std::vector<std::byte> jump(kJumpSize);
  jump[0] = std::byte{0xe9};
  std::memcpy(jump.data() + 1, &displacement, sizeof(displacement));
  jump.resize(std::min<size_t>(kJumpSize, site.size));
  return jump;
}

std::array<std::byte, kTrampolineSize> MakeTrampoline(const CallSite& site, UserAddr at,
                                                      UserAddr entry_pointer) {
  Assembler a(at);
  a.Bytes(ConstBytes(site.displaced).first(site.size));
  a.Bytes({0xf3, 0x49, 0x0f, 0xae, 0xcb});  // rdgsbase %r11
  a.Bytes({0x65, 0x48, 0x8b, 0x0c, 0x25});  // mov %gs:own_negative, %rcx
  a.Word(SANDBOXD_SLOT_OWN_NEGATIVE);       //
  a.Bytes({0x4a, 0x8d, 0x0c, 0x19});        // lea (%rcx,%r11), %rcx: 0 if it is a slot
  a.Bytes({0xe3, 0x05});                    // jrcxz over the next
  a.Bytes({0xe9});                          // jmp to the site's syscall
  a.Relative(site.syscall);
  a.Bytes({0x48, 0x8d, 0x0d});  // lea site.end(%rip), %rcx
  a.Relative(site.end());
  a.Bytes({0xff, 0x25});  // jmp *entry_pointer(%rip)
  a.Relative(entry_pointer);
  return a.code();
}

}  // namespace sandboxd::platform::systrap
