// What the programs of stubs that run by themselves are made of: host calls, taking turns with the
// kernel thread, receiving descriptors. All of it is inlined into code of the section of
// stub/snippets_stub.h and keeps its rules: no data, no library, no vector registers.
#pragma once

#include <asm/unistd_64.h>

#include <cstddef>
#include <cstdint>

#include "platform/stub/free_main_stub.h"
#include "platform/stub/region_stub.h"
#include "platform/stub/shared_context.h"
#include "platform/stub/snippets_stub.h"

#define STUB_CODE __attribute__((section("sandboxd_stub"), used))
#define STUB_INLINE static inline __attribute__((always_inline))

namespace sandboxd::platform::stub {

STUB_INLINE long Host(long number, uint64_t a0 = 0, uint64_t a1 = 0, uint64_t a2 = 0,
                      uint64_t a3 = 0, uint64_t a4 = 0, uint64_t a5 = 0) {
  long result;
  register uint64_t r10 asm("r10") = a3;
  register uint64_t r8 asm("r8") = a4;
  register uint64_t r9 asm("r9") = a5;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a0), "S"(a1), "d"(a2), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

STUB_INLINE uint64_t Base() { return reinterpret_cast<uint64_t>(sandboxd_stub_begin); }
STUB_INLINE uint64_t Address(const char* label) { return reinterpret_cast<uint64_t>(label); }
STUB_INLINE SharedContext* ContextOfSlot(uint64_t slot) {
  return reinterpret_cast<SharedContext*>(Base() + SANDBOXD_STUB_SLOTS) + slot;
}
STUB_INLINE uint64_t StackOfSlot(uint64_t slot) {
  return Base() + SANDBOXD_STUB_STACKS + slot * SANDBOXD_STUB_STACK_SIZE;
}

// Hands over to the kernel thread. Release: what we wrote is there before the turn; pairs with the
// acquire of its wait.
STUB_INLINE void Post(SharedContext* c) {
  const uint32_t old = __atomic_exchange_n(&c->turn.word, 0, __ATOMIC_ACQ_REL);
  if ((old & kWaiting) != 0) {
    Host(__NR_futex, reinterpret_cast<uint64_t>(&c->turn.word), 1 /* FUTEX_WAKE */, 1);
  }
}

// Until it is our turn. Acquire: pairs with the release of the kernel thread's hand-over.
STUB_INLINE void Await(SharedContext* c) {
  for (uint32_t n = __atomic_load_n(&c->spin, __ATOMIC_RELAXED); n != 0; n--) {
    if ((__atomic_load_n(&c->turn.word, __ATOMIC_ACQUIRE) & kTidMask) != 0) return;
    __builtin_ia32_pause();
  }
  for (;;) {
    uint32_t seen = __atomic_load_n(&c->turn.word, __ATOMIC_ACQUIRE);
    if ((seen & kTidMask) != 0) return;
    if (seen == kWaiting || __atomic_compare_exchange_n(&c->turn.word, &seen, kWaiting, false,
                                                        __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
      Host(__NR_futex, reinterpret_cast<uint64_t>(&c->turn.word), 0 /* FUTEX_WAIT */, kWaiting, 0);
    }
  }
}

STUB_INLINE long ReceiveFd() {
  const uint64_t scratch = Base() + SANDBOXD_STUB_SCRATCH;
  auto* controllen = reinterpret_cast<volatile uint64_t*>(scratch + SANDBOXD_STUB_MSG_CONTROLLEN);
  auto* fd = reinterpret_cast<volatile int32_t*>(scratch + SANDBOXD_STUB_RECEIVED_FD);
  *controllen = SANDBOXD_STUB_CONTROL_SIZE;
  *fd = -1;
  const long n = Host(__NR_recvmsg, SANDBOXD_STUB_SOCKET, scratch, 0x40000000);
  return n < 0 ? n : *fd;
}

STUB_INLINE void RegisterThread(SharedContext* c) {
  c->robust_first = reinterpret_cast<uint64_t>(&c->alive);
  c->robust_offset = offsetof(RobustWord, word);
  c->robust_pending = 0;
  c->alive.next = reinterpret_cast<uint64_t>(&c->turn);
  c->turn.next = reinterpret_cast<uint64_t>(&c->robust_first);
  c->alive.word = static_cast<uint32_t>(Host(__NR_gettid));
  Host(__NR_set_robust_list, reinterpret_cast<uint64_t>(&c->robust_first), 24);
  Host(__NR_prctl, 1 /* PR_SET_PDEATHSIG */, 9 /* SIGKILL */);
  __atomic_store_n(&c->ready, 1, __ATOMIC_RELEASE);  // pairs with the kernel thread's acquire
  Host(__NR_futex, reinterpret_cast<uint64_t>(&c->ready), 1 /* FUTEX_WAKE */, 1);
}

STUB_INLINE uint64_t MapFd(const uint64_t* args) {
  const long fd = ReceiveFd();
  if (fd < 0) return static_cast<uint64_t>(fd);
  const long at =
      Host(__NR_mmap, args[0], args[1], args[2], args[3], static_cast<uint64_t>(fd), args[4]);
  Host(__NR_close, static_cast<uint64_t>(fd));
  return static_cast<uint64_t>(at);
}

// Whether the signal struck one of the instructions that may touch memory that isn't there; then
// execution goes on behind it.
STUB_INLINE bool FixUp(uint64_t& rip) {
  if (rip == Address(sandboxd_stub_copy_at)) {
    rip = Address(sandboxd_stub_copy_fixup);
    return true;
  }
  if (rip == Address(sandboxd_stub_load32_at) || rip == Address(sandboxd_stub_cas32_at)) {
    rip = Address(sandboxd_stub_word_fixup);
    return true;
  }
  return false;
}

}  // namespace sandboxd::platform::stub
