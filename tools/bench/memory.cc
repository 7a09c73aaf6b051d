// Page faults and mappings.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/bench/measure.h"

namespace sandboxd::bench {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kPages = 4096;  // 16 MiB

char* Map(size_t size, int prot = PROT_READ | PROT_WRITE) {
  void* at = mmap(nullptr, size, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  Check(at != MAP_FAILED, "mmap");
  return static_cast<char*>(at);
}

void Touch(char* at, size_t pages) {
  for (size_t i = 0; i < pages; ++i) static_cast<volatile char*>(at)[i * kPage] = 1;
}

// First touches, the mapping's making and unmaking left out.
double PageFault(const Settings& settings) {
  double best = 0;
  const uint64_t start = NowNs();
  for (int round = 0; round < 5 || NowNs() - start < settings.budget_ns; ++round) {
    char* at = Map(kPages * kPage);
    madvise(at, kPages * kPage, MADV_NOHUGEPAGE);
    const uint64_t before = NowNs();
    Touch(at, kPages);
    const double took = static_cast<double>(NowNs() - before) / kPages;
    if (best == 0 || took < best) best = took;
    munmap(at, kPages * kPage);
  }
  return best;
}

double MapUnmap(const Settings& settings) {
  return Measure(settings, [] { munmap(Map(kPage), kPage); });
}

double MapTouchUnmap(const Settings& settings) {
  return Measure(settings, [] {
    char* at = Map(kPage);
    Touch(at, 1);
    munmap(at, kPage);
  });
}

double Protect(const Settings& settings) {
  char* at = Map(kPage);
  Touch(at, 1);
  return Measure(settings, [&] {
    mprotect(at, kPage, PROT_READ);
    mprotect(at, kPage, PROT_READ | PROT_WRITE);
  });
}

double MapFile(const Settings& settings) {
  const std::string path = settings.disk_folder + "/bench-map";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  Check(fd >= 0 && ftruncate(fd, 16 * kPage) == 0, "a file to map");
  return Measure(settings, [&] {
    void* at = mmap(nullptr, 16 * kPage, PROT_READ, MAP_PRIVATE, fd, 0);
    Check(at != MAP_FAILED, "mmap of a file");
    for (size_t i = 0; i < 16; ++i) (void)static_cast<volatile char*>(at)[i * kPage];
    munmap(at, 16 * kPage);
  });
}

double Grow(const Settings& settings) {
  return Measure(settings, [] {
    Check(sbrk(static_cast<intptr_t>(kPage)) != reinterpret_cast<void*>(-1), "sbrk");
    sbrk(-static_cast<intptr_t>(kPage));
  });
}

}  // namespace

std::vector<Benchmark> MemoryBenchmarks() {
  return {
      {"page_fault", "ns", "first touch of an anonymous page", PageFault},
      {"map_unmap", "ns", "mmap and munmap of a page", MapUnmap},
      {"map_touch_unmap", "ns", "mmap, touch, munmap of a page", MapTouchUnmap},
      {"mprotect", "ns", "two mprotect of a page", Protect},
      {"map_file", "ns", "map, read and unmap 64 KiB of a file", MapFile},
      {"brk", "ns", "grow and shrink the heap by a page", Grow},
  };
}

}  // namespace sandboxd::bench
