// poll(2), ppoll(2), select(2), pselect6(2).
#include <poll.h>

#include <deque>

#include "kernel/ipc/poll_file.h"
#include "kernel/syscalls/deadlines.h"
#include "kernel/syscalls/families.h"
#include "kernel/syscalls/signal_mask.h"

namespace sandboxd::syscalls {
namespace {

// The files of one call, and the caller's place in their queues.
class PollSet {
 public:
  explicit PollSet(wait::Blocker& blocker) : blocker_(blocker) {}

  // Only events of `interest` count: poll adds POLLERR and POLLHUP itself, select does not always.
  void Add(Ref<vfs::File> file, wait::EventMask interest) {
    watched_.emplace_back(std::move(file), interest, blocker_);
  }
  // What holds for the file that was added as number `i`.
  wait::EventMask Ready(size_t i) const { return watched_[i].ready; }

  // Waits until something is ready or the deadline passes: how many files are. ERESTARTSYS.
  Result<int> Wait(wait::Deadline deadline) {
    int count = Scan();
    if (count > 0 || (deadline.has_value() && *deadline <= time::MonotonicNow())) return count;
    for (Watched& w : watched_) {
      w.file->AddWaiter(w.entry, ipc::WithAliases(w.interest));
    }
    for (;;) {
      count = Scan();
      if (count > 0) return count;
      Result<void> r = blocker_.Block(deadline);
      if (r.Is(Errno::kETIMEDOUT)) return Scan();
      TRY(r);
    }
  }

 private:
  struct Watched {
    Watched(Ref<vfs::File> f, wait::EventMask i, wait::Blocker& b)
        : file(std::move(f)), interest(i), entry(b) {}
    Ref<vfs::File> file;  // outlives the entry's place in its queue
    wait::EventMask interest;
    wait::EventMask ready = 0;
    wait::BlockerEntry entry;
  };

  int Scan() {
    int count = 0;
    for (Watched& w : watched_) {
      w.ready = ipc::PollFile(*w.file, w.interest) & w.interest;
      if (w.ready != 0) count++;
    }
    return count;
  }

  wait::Blocker& blocker_;
  std::deque<Watched> watched_;
};

// The common part of poll and ppoll.
Result<uint64_t> Poll(Task& t, UserAddr list, uint32_t count, wait::Deadline deadline) {
  if (count > t.fd_limit()) return Errno::kEINVAL;
  std::vector<pollfd> fds = TRY(t.memory().ReadArray<pollfd>(list, count));
  PollSet set(t);
  std::vector<int> place(count, -1);  // of each entry in the set
  int added = 0, invalid = 0;
  for (uint32_t i = 0; i < count; i++) {
    fds[i].revents = 0;
    if (fds[i].fd < 0) continue;
    Result<Ref<vfs::File>> file = t.files().GetForIo(FdNum(fds[i].fd));
    if (!file.ok()) {
      fds[i].revents = POLLNVAL;
      invalid++;
      continue;
    }
    set.Add(std::move(*file), static_cast<uint16_t>(fds[i].events) | EPOLLERR | EPOLLHUP);
    place[i] = added++;
  }
  if (invalid > 0) deadline = Nanos(0);
  int ready = TRY(set.Wait(deadline));
  for (uint32_t i = 0; i < count; i++) {
    if (place[i] >= 0) {
      fds[i].revents = static_cast<int16_t>(set.Ready(static_cast<size_t>(place[i])));
    }
    TRY(t.memory().Write(list + i * sizeof(pollfd) + offsetof(pollfd, revents), fds[i].revents));
  }
  return static_cast<uint64_t>(ready + invalid);
}

Result<uint64_t> PollUntil(Task& t, UserAddr list, uint32_t count, wait::Deadline deadline) {
  Result<uint64_t> r = Poll(t, list, count, deadline);
  if (!r.Is(Errno::kERESTARTSYS)) return r;
  // signal(7): poll is not restarted after a handler; without one it goes on for the rest of its
  // time.
  t.set_restart([=](Task& task) { return PollUntil(task, list, count, deadline); });
  return Errno::kERESTART_RESTARTBLOCK;
}

Result<uint64_t> SysPoll(Task& t, UserAddr list, uint32_t count, int32_t timeout_ms) {
  return PollUntil(t, list, count, DeadlineInMs(timeout_ms));
}

// Linux writes what is left of the timeout back; whether that works doesn't change the result.
Result<uint64_t> FinishTimed(Task& t, Result<uint64_t> r, UserAddr timeout, wait::Deadline deadline,
                             bool microseconds) {
  if (deadline.has_value() && !timeout.null()) {
    Nanos left = TimeLeft(*deadline);
    bool written = microseconds ? t.memory().Write(timeout, time::Timeval::From(left)).ok()
                                : t.memory().Write(timeout, time::Timespec::From(left)).ok();
    // Without the new timeout the call can't be made again.
    if (!written && r.Is(Errno::kERESTARTSYS)) return Errno::kEINTR;
  }
  if (r.Is(Errno::kERESTARTSYS)) return Errno::kERESTARTNOHAND;
  return r;
}

Result<uint64_t> SysPpoll(Task& t, UserAddr list, uint32_t count, UserAddr timeout, UserAddr mask,
                          uint64_t mask_size) {
  wait::Deadline deadline = TRY(ReadRelativeTimeout(t, timeout));
  TRY(UseSignalMask(t, mask, mask_size));
  return FinishTimed(t, Poll(t, list, count, deadline), timeout, deadline, false);
}

// select's view of what is ready (select(2), "Correspondence between select() and poll()").
constexpr wait::EventMask kReadSet = EPOLLRDNORM | EPOLLRDBAND | EPOLLIN | EPOLLHUP | EPOLLERR;
constexpr wait::EventMask kWriteSet = EPOLLWRBAND | EPOLLWRNORM | EPOLLOUT | EPOLLERR;
constexpr wait::EventMask kExceptSet = EPOLLPRI;
constexpr int32_t kMaxSelect = 1 << 20;

struct SelectSet {
  UserAddr addr;
  wait::EventMask events = 0;
  std::vector<uint64_t> wanted, ready;
  static bool Has(const std::vector<uint64_t>& bits, size_t fd) {
    return !bits.empty() && ((bits[fd / 64] >> (fd % 64)) & 1) != 0;
  }
};

Result<uint64_t> Select(Task& t, int32_t n, std::array<SelectSet, 3>& sets,
                        wait::Deadline deadline) {
  if (n < 0) return Errno::kEINVAL;
  n = std::min(n, kMaxSelect);
  const size_t words = (static_cast<size_t>(n) + 63) / 64;
  for (SelectSet& s : sets) {
    if (s.addr.null()) continue;
    s.wanted = TRY(t.memory().ReadArray<uint64_t>(s.addr, words));
    s.ready.assign(words, 0);
  }
  PollSet set(t);
  std::vector<size_t> fds;
  for (size_t fd = 0; fd < static_cast<size_t>(n); fd++) {
    wait::EventMask interest = 0;
    for (const SelectSet& s : sets) interest |= SelectSet::Has(s.wanted, fd) ? s.events : 0;
    if (interest == 0) continue;
    set.Add(TRY(t.files().GetForIo(FdNum(static_cast<int32_t>(fd)))), interest);
    fds.push_back(fd);
  }
  TRY(set.Wait(deadline));
  for (size_t i = 0; i < fds.size(); i++) {
    for (SelectSet& s : sets) {
      if (!SelectSet::Has(s.wanted, fds[i]) || (set.Ready(i) & s.events) == 0) continue;
      s.ready[fds[i] / 64] |= uint64_t{1} << (fds[i] % 64);
    }
  }
  uint64_t count = 0;
  for (SelectSet& s : sets) {
    if (s.addr.null()) continue;
    for (uint64_t w : s.ready) count += static_cast<uint64_t>(__builtin_popcountll(w));
    TRY(t.memory().CopyOut(s.addr, std::as_bytes(std::span(s.ready))));
  }
  return count;
}

std::array<SelectSet, 3> MakeSets(UserAddr in, UserAddr out, UserAddr except) {
  return {SelectSet{in, kReadSet, {}, {}}, SelectSet{out, kWriteSet, {}, {}},
          SelectSet{except, kExceptSet, {}, {}}};
}

Result<uint64_t> SysSelect(Task& t, int32_t n, UserAddr in, UserAddr out, UserAddr except,
                           UserAddr timeout) {
  wait::Deadline deadline;
  if (!timeout.null()) {
    auto tv = TRY(t.memory().Read<time::Timeval>(timeout));
    // More than a second's worth of microseconds is carried over, not refused.
    auto sec = CheckedAdd<int64_t>(tv.sec, tv.usec / 1'000'000);
    if (tv.sec < 0 || tv.usec < 0 || !sec.has_value()) return Errno::kEINVAL;
    deadline = DeadlineIn(time::Timespec{*sec, tv.usec % 1'000'000 * 1000}.ToNanos());
  }
  auto sets = MakeSets(in, out, except);
  return FinishTimed(t, Select(t, n, sets, deadline), timeout, deadline, true);
}

struct SigsetArgument {  // the sixth argument of pselect6(2)
  uint64_t addr = 0;
  uint64_t size = 0;
};

Result<uint64_t> SysPselect6(Task& t, int32_t n, UserAddr in, UserAddr out, UserAddr except,
                             UserAddr timeout, UserAddr mask) {
  SigsetArgument argument;
  if (!mask.null()) argument = TRY(t.memory().Read<SigsetArgument>(mask));
  wait::Deadline deadline = TRY(ReadRelativeTimeout(t, timeout));
  TRY(UseSignalMask(t, UserAddr(argument.addr), argument.size));
  auto sets = MakeSets(in, out, except);
  return FinishTimed(t, Select(t, n, sets, deadline), timeout, deadline, false);
}

constexpr Row kRows[] = {
    Full<SysPoll>(SYS_poll, "poll"),
    Full<SysPpoll>(SYS_ppoll, "ppoll"),
    Full<SysSelect>(SYS_select, "select"),
    Full<SysPselect6>(SYS_pselect6, "pselect6"),
};

}  // namespace

std::span<const Row> PollRows() { return kRows; }

}  // namespace sandboxd::syscalls
