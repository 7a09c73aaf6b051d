#include "platform/kvm/machine_probe.h"

#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "platform/base/types.h"
#include "platform/base/unique_fd.h"
#include "platform/kvm/machine_settings.h"
#include "platform/stub/machine.h"

namespace sandboxd::platform::kvm {
namespace {

// One GDT entry of code for ring 0 and 3 each; an IDT whose every entry is a `hlt` of its own; page
// tables that map all of it for ring 0 at its physical address, and one page of code for ring 3.
constexpr size_t kMemorySize = 16 * kPageSize;
constexpr uint64_t kTables = 0x1000, kGdt = 0x5000, kIdt = 0x6000, kEntries = 0x7000;
constexpr uint64_t kTss = 0x8000, kCode = 0x9000;
constexpr uint64_t kPresent = 1, kWritable = 2, kUser = 4;
constexpr uint64_t kPageFault = 14;

class Memory {
 public:
  Memory()
      : at_(mmap(nullptr, kMemorySize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                 0)) {}
  ~Memory() {
    if (valid()) munmap(at_, kMemorySize);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  bool valid() const { return at_ != MAP_FAILED; }
  uint8_t* bytes(uint64_t offset) { return static_cast<uint8_t*>(at_) + offset; }
  uint64_t* words(uint64_t offset) { return reinterpret_cast<uint64_t*>(bytes(offset)); }

 private:
  void* at_;
};

void Fill(Memory& m) {
  for (uint64_t level = 0; level < 3; level++) {
    *m.words(kTables + level * kPageSize) =
        (kTables + (level + 1) * kPageSize) | kPresent | kWritable | kUser;
  }
  for (uint64_t page = 0; page < kMemorySize; page += kPageSize) {
    m.words(kTables + 3 * kPageSize)[page / kPageSize] =
        page | kPresent | kWritable | (page == kCode ? kUser : 0);
  }
  m.words(kGdt)[stub::kSystemCs / 8] = 0x00af'9b00'0000'ffff;
  m.words(kGdt)[stub::kGuestDs / 8] = 0x00cf'f300'0000'ffff;
  m.words(kGdt)[stub::kGuestCs / 8] = 0x00af'fb00'0000'ffff;
  for (uint64_t vector = 0; vector < 256; vector++) {
    const uint64_t entry = kEntries + vector * stub::kVectorStride;
    m.words(kIdt)[vector * 2] = entry | uint64_t{stub::kSystemCs} << 16 | uint64_t{0x8e} << 40;
    *m.bytes(entry) = 0xf4;  // hlt
  }
  *m.bytes(kEntries + stub::kCallOffset) = 0xf4;
  const uint64_t stack = kTss + kPageSize;
  std::memcpy(m.bytes(kTss + 4), &stack, sizeof(stack));
  std::memcpy(m.bytes(kCode), "\x0f\x05\x0f\x0b", 4);  // syscall; ud2
}

kvm_segment Flat(uint16_t selector, uint8_t type) {
  kvm_segment s{};
  s.limit = 0xffff'ffff;
  s.selector = selector;
  s.type = type;
  s.present = s.s = s.g = 1;
  s.dpl = 3;
  s.l = type == 0xb;
  s.db = !s.l;
  return s;
}

bool SetUp(int vcpu, stub::MachineState& state) {
  if (ioctl(vcpu, stub::kSetCpuid2Request, &state.cpuid) != 0) return false;
  kvm_sregs s{};
  if (ioctl(vcpu, KVM_GET_SREGS, &s) != 0) return false;
  s.cr0 = 0x8005'0033;
  s.cr3 = kTables;
  s.cr4 = 0x6a0;
  s.efer = 0xd01;
  s.cs = Flat(stub::kGuestCs, 0xb);
  s.ss = s.ds = s.es = s.fs = s.gs = Flat(stub::kGuestDs, 0x3);
  s.gdt.base = kGdt;
  s.gdt.limit = stub::kGdtLimit;
  s.idt.base = kIdt;
  s.idt.limit = 0xfff;
  s.tr = Flat(stub::kTssSelector, 0xb);
  s.tr.base = kTss;
  s.tr.limit = stub::kTssSize - 1;
  s.tr.dpl = s.tr.s = s.tr.g = s.tr.l = s.tr.db = 0;
  if (ioctl(vcpu, KVM_SET_SREGS, &s) != 0) return false;
  struct {
    uint32_t count = 3, padding = 0;
    kvm_msr_entry entries[3]{};
  } msrs;
  msrs.entries[0] = {.index = 0xc000'0081, .data = uint64_t{stub::kSystemCs} << 32};
  msrs.entries[1] = {.index = 0xc000'0082, .data = kEntries + stub::kCallOffset};
  msrs.entries[2] = {.index = 0xc000'0084, .data = 0x4'7700};
  if (ioctl(vcpu, stub::kSetMsrsRequest, &msrs) != 3) return false;
  kvm_regs regs{};
  regs.rip = kCode;
  regs.rsp = kCode + kPageSize;
  regs.rflags = 0x202;
  return ioctl(vcpu, KVM_SET_REGS, &regs) == 0;
}

}  // namespace

CallPath ProbeCallPath(int kvm_fd) {
  Memory memory;
  auto settings = ReadMachineSettings(kvm_fd);
  if (!memory.valid() || !settings.ok()) return CallPath::kNone;
  Fill(memory);
  const UniqueFd machine(ioctl(kvm_fd, KVM_CREATE_VM, 0));
  kvm_userspace_memory_region slot{};
  slot.memory_size = kMemorySize;
  slot.userspace_addr = reinterpret_cast<uint64_t>(memory.bytes(0));
  if (!machine.valid() || ioctl(machine.get(), KVM_SET_USER_MEMORY_REGION, &slot) != 0) {
    return CallPath::kNone;
  }
  const UniqueFd vcpu(ioctl(machine.get(), KVM_CREATE_VCPU, 0));
  if (!vcpu.valid() || !SetUp(vcpu.get(), (*settings)->state)) return CallPath::kNone;
  int ran;
  while ((ran = ioctl(vcpu.get(), KVM_RUN, 0)) != 0 && errno == EINTR) continue;
  kvm_regs regs{};
  if (ran != 0 || ioctl(vcpu.get(), KVM_GET_REGS, &regs) != 0) return CallPath::kNone;
  if (regs.rip == kEntries + stub::kCallOffset + 1) return CallPath::kEntry;
  if (regs.rip == kEntries + kPageFault * stub::kVectorStride + 1) return CallPath::kPageFault;
  return CallPath::kNone;
}

}  // namespace sandboxd::platform::kvm
