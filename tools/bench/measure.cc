#include "tools/bench/measure.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace sandboxd::bench {
namespace {
constexpr uint64_t kBatchNs = 1'000'000;
constexpr size_t kMinBatches = 5;
}  // namespace

uint64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

void Die(const char* what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  _exit(1);
}

void Check(bool right, const char* what) {
  if (!right) Die(what);
}

double Measure(const Settings& settings, const std::function<void()>& operation) {
  const auto batch = [&](uint64_t count) {
    const uint64_t start = NowNs();
    for (uint64_t i = 0; i < count; ++i) operation();
    return NowNs() - start;
  };
  operation();  // what only the first one has to do
  uint64_t count = 1;
  uint64_t took = batch(count);
  while (took < kBatchNs) {
    count *= 2;
    took = batch(count);
  }
  std::vector<double> costs;
  const uint64_t start = NowNs();
  while (costs.size() < kMinBatches || NowNs() - start < settings.budget_ns) {
    costs.push_back(static_cast<double>(batch(count)) / static_cast<double>(count));
  }
  std::nth_element(costs.begin(), costs.begin() + costs.size() / 2, costs.end());
  return costs[costs.size() / 2];
}

}  // namespace sandboxd::bench
