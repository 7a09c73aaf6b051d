// Threads that compute and make a system call each millisecond: what a busy sandbox costs.
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tools/bench/measure.h"

namespace sandboxd::bench {
namespace {

// In milliseconds of computing on a processor of some 3 GHz, shared out evenly. The same work
// everywhere: what is measured is how long it takes.
constexpr int kTotal = 480;

volatile uint64_t sink;

void ComputeForAMillisecond() {
  uint64_t value = sink;
  // A chain of multiplications, three or four cycles each.
  for (int i = 0; i < 750'000; ++i) value = value * 6364136223846793005u + 1442695040888963407u;
  sink = value;
}

double Busy(int threads) {
  std::atomic<bool> go{false};
  std::vector<std::thread> all;
  for (int i = 0; i < threads; ++i) {
    all.emplace_back([&] {
      while (!go.load(std::memory_order_acquire)) usleep(1000);
      for (int unit = 0; unit < kTotal / threads; ++unit) {
        ComputeForAMillisecond();
        syscall(SYS_getppid);
      }
    });
  }
  const uint64_t start = NowNs();
  go.store(true, std::memory_order_release);
  for (std::thread& thread : all) thread.join();
  return static_cast<double>(NowNs() - start) / 1e6;
}

}  // namespace

std::vector<Benchmark> BusyBenchmarks() {
  return {
      {"busy_1", "ms", "0.5 s of computing, a call each ms, 1 thread",
       [](const Settings&) { return Busy(1); }},
      {"busy_2", "ms", "the same work, 2 threads", [](const Settings&) { return Busy(2); }},
      {"busy_4", "ms", "the same work, 4 threads", [](const Settings&) { return Busy(4); }},
      {"busy_8", "ms", "the same work, 8 threads", [](const Settings&) { return Busy(8); }},
      {"busy_16", "ms", "the same work, 16 threads", [](const Settings&) { return Busy(16); }},
  };
}

}  // namespace sandboxd::bench
