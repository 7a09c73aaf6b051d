// What a stub thread and its kernel thread share: one slot of memory, and the rules of taking
// turns.
//
// The application can write all of it at any time. The kernel side reads each field once into its
// own memory and believes nothing but what concerns that application alone.
#pragma once

#include <cstddef>
#include <cstdint>

#include "platform/arch/registers.h"

namespace sandboxd::platform::stub {

// An element of a robust futex list (set_robust_list(2)): when the thread dies, the host sets
// FUTEX_OWNER_DIED in each word that holds the thread's number, and wakes a waiter.
struct RobustWord {
  uint64_t next = 0;  // address, in the stub, of the next element
  uint32_t word = 0;
  uint32_t padding = 0;
};

// Whose turn it is: 0 means the kernel thread's, the stub thread's number means that of the stub
// thread. Who waits sets kWaiting before it sleeps on the word; who hands over wakes if it was set.
inline constexpr uint32_t kWaiting = 0x8000'0000;    // FUTEX_WAITERS
inline constexpr uint32_t kOwnerDied = 0x4000'0000;  // FUTEX_OWNER_DIED
inline constexpr uint32_t kTidMask = 0x3fff'ffff;    // FUTEX_TID_MASK

enum class Command : uint32_t {
  kRun,              // go on with the application
  kHostCall,         // number, args
  kCopyFromGuest,    // args[0] address, args[1] size; into buffer. result: bytes not copied
  kCopyToGuest,      // likewise, from buffer
  kLoad,             // args[0] address. result: the word, or ~0
  kCompareExchange,  // args[0] address, [1] expected, [2] desired. result: the word found, or ~0
  kGetVectorState,  // into buffer, args[0] bytes, [1] components. result: size, 0 if it isn't there
  kSetVectorState,  // from buffer, likewise. result: 0 or ~0
  kMapFd,           // receive a descriptor, mmap(args[0], [1], [2], [3], it, [4]), close it
  kFork,            // receive a descriptor, fork; it is the child's shared memory. result: pid
  kThread,          // args[0]: slot. result: pid
};

enum class Event : uint32_t {
  kSyscall,
  kForeignSyscall,  // int $0x80 or the like
  kFault,
  kInterrupt,
  // Of stubs with a virtual machine:
  kHostFault,  // the host could not provide a page that the guest's tables allow
  kBroken,     // the machine can't go on: number says at which step, result what the host said
};

// Where a stub thread is while it runs our code outside of a signal handler.
enum class Phase : uint32_t {
  kApplication,
  kServing,  // on its way to the kernel thread, or at its service
  kLeaving,  // its turn, registers in the slot, on the way to the application
};

struct SharedContext {
  // `alive` holds the thread's number as long as the thread lives; it comes first in the list, so
  // that who hands over to a dead thread sees one mark or the other.
  RobustWord alive;
  RobustWord turn;
  // struct robust_list_head.
  uint64_t robust_first = 0;
  int64_t robust_offset = 0;
  uint64_t robust_pending = 0;
  uint32_t spin = 0;   // how often the stub looks before it sleeps
  uint32_t ready = 0;  // 1 when the stub thread has set itself up; a futex

  // Of the stub alone, for calls that come by a patched call site (free_direct_stub.S).
  uint64_t own_negative = 0;  // 0 minus the slot's address: what proves a gs base to be a slot's
  uint64_t stack_end = 0;
  Phase phase = Phase::kApplication;
  uint32_t interrupted = 0;  // an interrupt has come that nobody has been told of

  alignas(64) Command command = Command::kRun;
  Event event = Event::kSyscall;
  uint64_t number = 0;
  uint64_t args[6] = {};
  uint64_t result = 0;

  alignas(64) arch::Registers regs;
  int32_t fault_signo = 0;
  int32_t fault_code = 0;
  uint64_t fault_address = 0;
  uint64_t fault_trapno = 0;
  uint64_t fault_error = 0;
  uint64_t exits = 0;  // of the virtual processor, since it was made

  // What the stub may answer by itself, by number of the call: one more than the result; 0:
  // nothing.
  alignas(1024) uint64_t answers[256] = {};

  alignas(4096) std::byte buffer[3 * 4096];
};
static_assert(offsetof(RobustWord, word) == 8);
static_assert(sizeof(SharedContext) == 4 * 4096);

inline constexpr uint64_t kMaxSlots = 2048;
inline constexpr uint64_t kSlotsSize = kMaxSlots * sizeof(SharedContext);

}  // namespace sandboxd::platform::stub
