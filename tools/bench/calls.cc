// System calls that do next to nothing, and signals.
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstring>
#include <ctime>

#include "tools/bench/measure.h"

namespace sandboxd::bench {
namespace {

// The shape that compilers and C libraries make most: the number in eax right before the call.
long GetppidInline() {
  long result;
  asm volatile(
      "movl $110, %%eax\n\t"
      "syscall"
      : "=a"(result)
      :
      : "rcx", "r11", "memory");
  return result;
}

// A call from code that was made at run time, in memory that can still be written: nothing can be
// patched there once and for all.
using Code = long (*)(long number);
Code MakeCode() {
  const unsigned char bytes[] = {0x48, 0x89, 0xf8, 0x0f, 0x05, 0xc3};  // mov rax, rdi; syscall; ret
  void* page =
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  Check(page != MAP_FAILED, "mmap of code");
  memcpy(page, bytes, sizeof bytes);
  return reinterpret_cast<Code>(page);
}

double Unpatched(const Settings& settings) {
  const Code code = MakeCode();
  return Measure(settings, [&] { code(SYS_getpid); });
}

volatile sig_atomic_t taken;
void Take(int) { taken = taken + 1; }

double SignalToSelf(const Settings& settings) {
  struct sigaction action {};
  action.sa_handler = Take;
  Check(sigaction(SIGUSR1, &action, nullptr) == 0, "sigaction");
  const pid_t pid = getpid();
  const long tid = syscall(SYS_gettid);
  return Measure(settings, [&] { syscall(SYS_tgkill, pid, tid, SIGUSR1); });
}

volatile char* fault_page;
void Mend(int) { mprotect(const_cast<char*>(fault_page), 4096, PROT_READ | PROT_WRITE); }

// A write to a protected page, its SIGSEGV, and the two mprotect(2) that it takes.
double SegvAndMend(const Settings& settings) {
  struct sigaction action {};
  action.sa_handler = Mend;
  Check(sigaction(SIGSEGV, &action, nullptr) == 0, "sigaction");
  void* page = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  Check(page != MAP_FAILED, "mmap");
  fault_page = static_cast<char*>(page);
  return Measure(settings, [] {
    fault_page[0] = 1;
    mprotect(const_cast<char*>(fault_page), 4096, PROT_READ);
  });
}

}  // namespace

std::vector<Benchmark> CallBenchmarks() {
  return {
      {"getpid", "ns", "syscall(SYS_getpid) of the C library",
       [](const Settings& s) { return Measure(s, [] { syscall(SYS_getpid); }); }},
      {"getppid_inline", "ns", "mov $110,%eax; syscall",
       [](const Settings& s) { return Measure(s, [] { GetppidInline(); }); }},
      {"getpid_unpatched", "ns", "getpid from writable code made at run time", Unpatched},
      {"clock_gettime", "ns", "clock_gettime(CLOCK_MONOTONIC) through the vdso",
       [](const Settings& s) {
         return Measure(s, [] {
           timespec now;
           clock_gettime(CLOCK_MONOTONIC, &now);
         });
       }},
      {"signal_self", "ns", "tgkill to oneself, handler, return", SignalToSelf},
      {"segv_mend", "ns", "SIGSEGV, handler that mends it, two mprotect", SegvAndMend},
  };
}

}  // namespace sandboxd::bench
