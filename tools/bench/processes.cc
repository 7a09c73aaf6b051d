// Processes and threads: made, run and ended.
#include <pthread.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/bench/measure.h"

extern char** environ;

namespace sandboxd::bench {
namespace {

void Wait(pid_t pid) {
  int status;
  Check(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0, "a child");
}

double ForkExit(const Settings& settings) {
  return Measure(settings, [] {
    const pid_t pid = fork();
    if (pid == 0) _exit(0);
    Wait(pid);
  });
}

// The same with 64 MiB of touched memory, as a program with a heap has it.
double ForkLarge(const Settings& settings) {
  constexpr size_t kSize = 64 << 20;
  void* at = mmap(nullptr, kSize, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  Check(at != MAP_FAILED, "mmap");
  for (size_t i = 0; i < kSize; i += 4096) static_cast<volatile char*>(at)[i] = 1;
  return ForkExit(settings);
}

double ForkExec(const Settings& settings) {
  const char* argv[] = {"micro", "--exit", nullptr};
  return Measure(settings, [&] {
    const pid_t pid = fork();
    if (pid == 0) {
      execv(settings.self.c_str(), const_cast<char**>(argv));
      _exit(127);
    }
    Wait(pid);
  });
}

double Spawn(const Settings& settings) {
  const char* argv[] = {"micro", "--exit", nullptr};
  return Measure(settings, [&] {
    pid_t pid = 0;
    Check(posix_spawn(&pid, settings.self.c_str(), nullptr, nullptr, const_cast<char**>(argv),
                      environ) == 0,
          "posix_spawn");
    Wait(pid);
  });
}

void* Nothing(void*) { return nullptr; }

double ThreadJoin(const Settings& settings) {
  return Measure(settings, [] {
    pthread_t thread;
    Check(pthread_create(&thread, nullptr, Nothing, nullptr) == 0, "pthread_create");
    pthread_join(thread, nullptr);
  });
}

}  // namespace

std::vector<Benchmark> ProcessBenchmarks() {
  return {
      {"fork_exit", "us", "fork, exit, wait", [](const Settings& s) { return ForkExit(s) / 1e3; }},
      {"fork_exit_64m", "us", "the same with 64 MiB of touched memory",
       [](const Settings& s) { return ForkLarge(s) / 1e3; }},
      {"fork_exec", "us", "fork, exec, exit, wait",
       [](const Settings& s) { return ForkExec(s) / 1e3; }},
      {"spawn", "us", "posix_spawn (vfork), exec, exit, wait",
       [](const Settings& s) { return Spawn(s) / 1e3; }},
      {"thread_join", "us", "thread created and joined",
       [](const Settings& s) { return ThreadJoin(s) / 1e3; }},
  };
}

}  // namespace sandboxd::bench
