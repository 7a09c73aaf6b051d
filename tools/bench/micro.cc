// micro: the micro-benchmarks, as a static program that runs natively and in any sandbox.
//
// Prints a line a benchmark, "name <tab> unit <tab> value", or "name <tab> failed <tab> why". Each
// one runs in a process of its own, so that one which hangs or breaks takes no other along.
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <thread>

#include "tools/bench/measure.h"

namespace sandboxd::bench {
namespace {

constexpr unsigned kPatienceSeconds = 20;

constexpr char kUsage[] =
    "usage: micro [--ms N] [--memory DIR] [--disk DIR] [NAME...]   measure all, or these\n"
    "       micro --list                       names, units and what they measure\n"
    "       micro --programs N SCRIPT...       the milliseconds of each script: the best of N\n"
    "       micro --sleepers N                 N threads that sleep for ever\n"
    "       micro --exit                       end at once\n";

std::vector<Benchmark> All() {
  std::vector<Benchmark> all;
  for (auto& group : {CallBenchmarks(), FileBenchmarks(), MemoryBenchmarks(), ProcessBenchmarks(),
                      MessageBenchmarks(), BusyBenchmarks()}) {
    all.insert(all.end(), group.begin(), group.end());
  }
  return all;
}

void RunOne(const Benchmark& benchmark, const Settings& settings) {
  const pid_t pid = fork();
  Check(pid >= 0, "fork");
  if (pid == 0) {
    alarm(kPatienceSeconds);
    printf("%s\t%s\t%.4g\n", benchmark.name, benchmark.unit, benchmark.run(settings));
    fflush(stdout);
    _exit(0);
  }
  int status;
  while (waitpid(pid, &status, 0) < 0) continue;
  if (WIFSIGNALED(status)) printf("%s\tfailed\tsignal %d\n", benchmark.name, WTERMSIG(status));
  if (WIFEXITED(status) && WEXITSTATUS(status) != 0) {
    printf("%s\tfailed\tstatus %d\n", benchmark.name, WEXITSTATUS(status));
  }
  fflush(stdout);
}

// "name=shell command": its wall time, the best of `times`.
void RunProgram(std::string_view script, int times) {
  const size_t equals = script.find('=');
  const std::string name(script.substr(0, equals));
  const std::string command(script.substr(equals + 1));
  double best = INFINITY;
  for (int i = 0; i < times; ++i) {
    const uint64_t start = NowNs();
    const pid_t pid = fork();
    if (pid == 0) {
      execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      _exit(127);
    }
    int status = -1;
    while (waitpid(pid, &status, 0) < 0) continue;
    if (status != 0) {
      printf("%s\tfailed\twait status %d\n", name.c_str(), status);
      fflush(stdout);
      return;
    }
    best = std::fmin(best, static_cast<double>(NowNs() - start) / 1e6);
  }
  printf("%s\tms\t%.4g\n", name.c_str(), best);
  fflush(stdout);
}

[[noreturn]] void Sleepers(int count) {
  for (int i = 1; i < count; ++i) {
    std::thread([] {
      for (;;) pause();
    }).detach();
  }
  puts("sleeping");
  fflush(stdout);
  for (;;) pause();
}

int Main(int argc, char** argv) {
  Settings settings;
  settings.self = "/proc/self/exe";
  char path[4096];
  const ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
  if (n > 0) settings.self.assign(path, static_cast<size_t>(n));
  std::vector<std::string_view> names;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    const bool more = i + 1 < argc;
    if (arg == "--exit") return 0;
    if (arg == "--list") {
      for (const Benchmark& b : All()) printf("%s\t%s\t%s\n", b.name, b.unit, b.what);
      return 0;
    }
    if (arg == "--sleepers" && more) Sleepers(atoi(argv[i + 1]));
    if (arg == "--programs" && more) {
      const int times = atoi(argv[i + 1]);
      for (i += 2; i < argc; ++i) RunProgram(argv[i], times);
      return 0;
    }
    if (arg == "--ms" && more) {
      settings.budget_ns = strtoull(argv[++i], nullptr, 10) * 1'000'000;
    } else if (arg == "--memory" && more) {
      settings.memory_folder = argv[++i];
    } else if (arg == "--disk" && more) {
      settings.disk_folder = argv[++i];
    } else if (arg.substr(0, 1) == "-") {
      fputs(kUsage, stderr);
      return 2;
    } else {
      names.push_back(arg);
    }
  }
  for (const Benchmark& benchmark : All()) {
    bool wanted = names.empty();
    for (const std::string_view name : names) wanted |= name == benchmark.name;
    if (wanted) RunOne(benchmark, settings);
  }
  return 0;
}

}  // namespace
}  // namespace sandboxd::bench

int main(int argc, char** argv) { return sandboxd::bench::Main(argc, argv); }
