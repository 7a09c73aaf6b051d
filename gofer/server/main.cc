// sandbox-gofer: serves one container's files (options.h) until its clients are gone.
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "gofer/server/lockdown.h"
#include "gofer/server/options.h"
#include "gofer/server/seccomp.h"
#include "gofer/server/session.h"
#include "platform/base/log.h"
#include "platform/base/mutex.h"

namespace sandboxd::gofer {
namespace {

constexpr int kExitFailure = 1, kExitUsage = 2;

// Holds threads between their start and the loading of the list of system calls, so that making
// threads need not be on it.
class Gate {
 public:
  // Called by each thread.
  void Pass() {
    MutexLock lock(mutex_);
    ++arrived_;
    changed_.NotifyAll();
    while (!open_) changed_.Wait(mutex_);
  }
  void AwaitArrivals(size_t n) {
    MutexLock lock(mutex_);
    while (arrived_ < n) changed_.Wait(mutex_);
  }
  void Open() {
    MutexLock lock(mutex_);
    open_ = true;
    changed_.NotifyAll();
  }

 private:
  Mutex mutex_{LockRank::kLeaf};
  CondVar changed_;
  size_t arrived_ GUARDED_BY(mutex_) = 0;
  bool open_ GUARDED_BY(mutex_) = false;
};

int Serve(const Options& options) {
  Result<std::vector<AttachPoint>> points = Lockdown(options);
  if (!points.ok()) return kExitFailure;
  Host host(SelfFds::Where::kWorkingDirectory);

  Gate gate;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < options.trees.size(); ++i) {
    UniqueFd socket(options.trees[i].socket_fd);
    threads.emplace_back([&host, &gate, &point = (*points)[i], s = std::move(socket)]() mutable {
      gate.Pass();
      Session(host, point, std::move(s)).Run();
    });
  }
  gate.AwaitArrivals(threads.size());
  Result<void> loaded = LoadSeccomp();
  if (!loaded.ok()) {
    LOG_ERROR("can't restrict system calls: %s", ErrnoMessage(loaded.error()));
    // Not exit(): the threads still wait at the gate.
    ::_exit(kExitFailure);
  }
  gate.Open();
  for (std::thread& thread : threads) thread.join();
  // Nothing is left to do, and exit handlers may want calls that are not on the list.
  ::_exit(0);
}

int Main(int argc, char** argv) {
  auto parsed = ParseOptions(std::vector<std::string>(argv + std::min(argc, 1), argv + argc));
  if (auto* error = std::get_if<UsageError>(&parsed)) {
    ::fprintf(stderr, "sandbox-gofer: %s\n", error->message.c_str());
    return kExitUsage;
  }
  const Options& options = std::get<Options>(parsed);
  if (options.print_seccomp) {
    ::fputs(SeccompTable().c_str(), stdout);
    return 0;
  }
  SetLogFd(options.log_fd);
  // One heap: with more, the allocator would ask for the number of CPUs.
  ::mallopt(M_ARENA_MAX, 1);
  return Serve(options);
}

}  // namespace
}  // namespace sandboxd::gofer

int main(int argc, char** argv) { return sandboxd::gofer::Main(argc, argv); }
