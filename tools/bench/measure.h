// How a micro-benchmark measures, and the list of all of them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace sandboxd::bench {

uint64_t NowNs();

// Ends the program with a sentence, errno included; for setup that can't fail in a right
// environment.
[[noreturn]] void Die(const char* what);
void Check(bool right, const char* what);

struct Settings {
  // How long one benchmark may measure, after its warm-up.
  uint64_t budget_ns = 60'000'000;
  // A folder in memory and one of the root file system; both can be written.
  std::string memory_folder = "/dev/shm";
  std::string disk_folder = "/tmp";
  // This program, as what runs inside can execute it.
  std::string self;
};

// The median cost of one `operation`, in nanoseconds. Runs it in batches that are long enough for
// the clock, until the budget is used, five at least.
double Measure(const Settings& settings, const std::function<void()>& operation);

// Its result is in `unit`; smaller is better.
struct Benchmark {
  const char* name;
  const char* unit;
  const char* what;  // a line for the table's reader
  std::function<double(const Settings&)> run;
};

std::vector<Benchmark> CallBenchmarks();
std::vector<Benchmark> FileBenchmarks();
std::vector<Benchmark> MemoryBenchmarks();
std::vector<Benchmark> ProcessBenchmarks();
std::vector<Benchmark> MessageBenchmarks();
std::vector<Benchmark> BusyBenchmarks();

}  // namespace sandboxd::bench
