// A token that goes back and forth: between threads, between processes, on one processor.
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tools/bench/measure.h"

namespace sandboxd::bench {
namespace {

struct Ends {
  int ours[2], theirs[2];  // [0] to read, [1] to write
};

Ends Pipes() {
  int a[2], b[2];
  Check(pipe(a) == 0 && pipe(b) == 0, "pipe");
  return {{a[0], b[1]}, {b[0], a[1]}};
}
Ends Sockets() {
  int s[2];
  Check(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0, "socketpair");
  return {{s[0], s[0]}, {s[1], s[1]}};
}

void Echo(const int fds[2]) {
  char c;
  while (read(fds[0], &c, 1) == 1) {
    if (c == 'q' || write(fds[1], &c, 1) != 1) return;
  }
}

double Converse(const Settings& settings, const int fds[2]) {
  const double cost = Measure(settings, [&] {
    char c = 'x';
    Check(write(fds[1], &c, 1) == 1 && read(fds[0], &c, 1) == 1, "a round trip");
  });
  (void)!write(fds[1], "q", 1);
  return cost;
}

double BetweenThreads(const Settings& settings, Ends ends) {
  std::thread other([&] { Echo(ends.theirs); });
  const double cost = Converse(settings, ends.ours);
  other.join();
  return cost;
}

double BetweenProcesses(const Settings& settings, Ends ends) {
  const pid_t pid = fork();
  if (pid == 0) {
    Echo(ends.theirs);
    _exit(0);
  }
  const double cost = Converse(settings, ends.ours);
  waitpid(pid, nullptr, 0);
  return cost;
}

// Both on one processor: every round trip is two switches, and nothing is woken elsewhere.
double ContextSwitch(const Settings& settings) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(0, &one);
  sched_setaffinity(0, sizeof one, &one);
  return BetweenProcesses(settings, Pipes()) / 2;
}

// `word` is 0 when it is our turn, 1 when it is theirs, 2 at the end.
void Futex(std::atomic<uint32_t>* word, int operation, uint32_t value) {
  syscall(SYS_futex, word, operation, value, nullptr, nullptr, 0);
}
void AwaitTurn(std::atomic<uint32_t>* word, uint32_t other, int operation) {
  while (word->load(std::memory_order_acquire) == other) Futex(word, operation, other);
}
void GiveTurn(std::atomic<uint32_t>* word, uint32_t to, int operation) {
  word->store(to, std::memory_order_release);
  Futex(word, operation, 1);
}

void FutexEcho(std::atomic<uint32_t>* word, int scope) {
  for (;;) {
    AwaitTurn(word, 0, FUTEX_WAIT | scope);
    if (word->load(std::memory_order_acquire) == 2) return;
    GiveTurn(word, 0, FUTEX_WAKE | scope);
  }
}

double FutexConverse(const Settings& settings, std::atomic<uint32_t>* word, int scope) {
  const double cost = Measure(settings, [&] {
    GiveTurn(word, 1, FUTEX_WAKE | scope);
    AwaitTurn(word, 1, FUTEX_WAIT | scope);
  });
  GiveTurn(word, 2, FUTEX_WAKE | scope);
  return cost;
}

std::atomic<uint32_t>* SharedWord() {
  void* at = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  Check(at != MAP_FAILED, "mmap");
  return new (at) std::atomic<uint32_t>(0);
}

double FutexThreads(const Settings& settings) {
  std::atomic<uint32_t>* word = SharedWord();
  std::thread other([&] { FutexEcho(word, FUTEX_PRIVATE_FLAG); });
  const double cost = FutexConverse(settings, word, FUTEX_PRIVATE_FLAG);
  other.join();
  return cost;
}

double FutexProcesses(const Settings& settings) {
  std::atomic<uint32_t>* word = SharedWord();
  const pid_t pid = fork();
  if (pid == 0) {
    FutexEcho(word, 0);
    _exit(0);
  }
  const double cost = FutexConverse(settings, word, 0);
  waitpid(pid, nullptr, 0);
  return cost;
}

// eventfds, each waited for with epoll.
struct EpollEnd {
  int event = eventfd(0, EFD_NONBLOCK);
  int epoll = epoll_create1(0);
  EpollEnd() {
    epoll_event want{};
    want.events = EPOLLIN;
    Check(event >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, event, &want) == 0, "epoll");
  }
  uint64_t Await() const {
    epoll_event got;
    uint64_t value = 0;
    Check(epoll_wait(epoll, &got, 1, -1) == 1 && read(event, &value, 8) == 8, "epoll_wait");
    return value;
  }
  void Post(uint64_t value) const { Check(write(event, &value, 8) == 8, "write of an eventfd"); }
};

double Epoll(const Settings& settings, bool process) {
  EpollEnd ours, theirs;
  const auto echo = [&] {
    while (theirs.Await() == 1) ours.Post(1);
  };
  std::thread thread;
  const pid_t pid = process ? fork() : -1;
  if (pid == 0) {
    echo();
    _exit(0);
  }
  if (!process) thread = std::thread(echo);
  const double cost = Measure(settings, [&] {
    theirs.Post(1);
    ours.Await();
  });
  theirs.Post(2);
  if (process) {
    waitpid(pid, nullptr, 0);
  } else {
    thread.join();
  }
  return cost;
}

double PipeAlone(const Settings& settings) {
  int fds[2];
  Check(pipe(fds) == 0, "pipe");
  return Measure(settings, [&] {
    char c = 'x';
    Check(write(fds[1], &c, 1) == 1 && read(fds[0], &c, 1) == 1, "a pipe");
  });
}

}  // namespace

std::vector<Benchmark> MessageBenchmarks() {
  using S = const Settings&;
  return {
      {"pipe_alone", "ns", "a byte into a pipe and out again, one thread", PipeAlone},
      {"pipe_threads", "us", "round trip over pipes, two threads",
       [](S s) { return BetweenThreads(s, Pipes()) / 1e3; }},
      {"pipe_processes", "us", "round trip over pipes, two processes",
       [](S s) { return BetweenProcesses(s, Pipes()) / 1e3; }},
      {"socket_processes", "us", "round trip over a unix socket, two processes",
       [](S s) { return BetweenProcesses(s, Sockets()) / 1e3; }},
      {"futex_threads", "us", "round trip over a futex, two threads",
       [](S s) { return FutexThreads(s) / 1e3; }},
      {"futex_processes", "us", "round trip over a futex, two processes",
       [](S s) { return FutexProcesses(s) / 1e3; }},
      {"epoll_threads", "us", "round trip over eventfds and epoll, two threads",
       [](S s) { return Epoll(s, false) / 1e3; }},
      {"epoll_processes", "us", "round trip over eventfds and epoll, two processes",
       [](S s) { return Epoll(s, true) / 1e3; }},
      {"context_switch", "us", "a switch between two processes on one processor",
       [](S s) { return ContextSwitch(s) / 1e3; }},
  };
}

}  // namespace sandboxd::bench
