// Terminal: one pseudo-terminal pair (pty(7)). The slave side is what programs see as their
// terminal, the master side belongs to a terminal emulator: a program with /dev/ptmx open, or a
// relay thread of kernel/boot.
//
// Thread-safe. Nothing blocks: EAGAIN, and a wait queue for each side. Signals are sent with no
// lock held.
#pragma once

#include <sys/types.h>

#include <memory>
#include <set>

#include "kernel/fs/pts/job_control.h"
#include "kernel/fs/pts/line_discipline.h"
#include "kernel/fs/pts/termios.h"
#include "kernel/mm/io.h"
#include "kernel/time/timer.h"
#include "kernel/vfs/caller.h"
#include "kernel/wait/wait_queue.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"
#include "platform/base/types.h"

namespace sandboxd::pts {

// The numbers of one devpts instance; a number is free again when both sides of its pair are
// closed.
class IndexPool : public RefCounted {
 public:
  explicit IndexPool(uint32_t max) : max_(max) {}
  Result<uint32_t> Take();  // ENOSPC
  void Return(uint32_t index);

 private:
  const uint32_t max_;
  Mutex mutex_{LockRank::kLeaf};
  std::set<uint32_t> taken_ GUARDED_BY(mutex_);
};

class Terminal : public RefCounted {
 public:
  // `jobs` and `timers` may be null in unit tests: then there are no signals, and VTIME never
  // passes. Both outlive every terminal. Takes a number; ENOSPC.
  static Result<Ref<Terminal>> Create(Ref<IndexPool> pool, JobControl* jobs,
                                      time::TimerService* timers);

  uint32_t index() const { return index_; }  // /dev/pts/N

  // --- the master side. Created open; Close hangs the slave side up. ---
  // EAGAIN when nothing is there, EIO once the last slave is closed and all is read. In packet mode
  // each read begins with a control byte (ioctl_tty(2), TIOCPKT).
  Result<size_t> MasterRead(Bytes out);
  // Typed input: how much was taken; EAGAIN if none for now.
  Result<size_t> MasterWrite(ConstBytes bytes);
  wait::EventMask MasterPoll(wait::EventMask interest);
  wait::WaitQueue& master_queue() { return master_queue_; }
  void MasterClose();
  // SIGWINCH goes to the foreground group if it changed.
  void SetWindowSize(const WindowSize& size);
  WindowSize window_size() const;

  // --- the slave side ---
  // What a slave file remembers: it is dead once the terminal was hung up after its opening.
  using Generation = uint64_t;
  // EIO while locked (unlockpt(3)) or when the master is gone; EBUSY by TIOCEXCL.
  Result<Generation> SlaveOpen(vfs::Caller& c);
  void SlaveClose(Generation g);
  Result<size_t> SlaveRead(vfs::Caller& c, mm::IoSink& dst, bool nonblocking, Generation g);
  Result<size_t> SlaveWrite(vfs::Caller& c, mm::IoSource& src, Generation g);
  wait::EventMask SlavePoll(wait::EventMask interest, Generation g);
  wait::WaitQueue& slave_queue() { return slave_queue_; }
  bool IsHungUp(Generation g) const;

  // vhangup(2), and the end of a session leader: files that have the slave open are dead. Sends no
  // signals.
  void VHangup();

  // ioctl_tty(2). TIOCGPTPEER is the master file's own.
  enum class Side : uint8_t { kMaster, kSlave };
  Result<uint64_t> Ioctl(vfs::Caller& c, uint32_t command, uint64_t argument, Side side);

  Termios termios() const;
  void SetTermios(const Termios& termios);
  void set_locked(bool locked);

  // For JobControl alone: the session whose controlling terminal this is (borrowed, opaque here),
  // guarded by JobControl's own lock.
  RefCounted* session = nullptr;

 private:
  template <typename T, typename... Args>
  friend Ref<T> sandboxd::MakeRef(Args&&...);
  Terminal(Ref<IndexPool> pool, uint32_t index, JobControl* jobs, time::TimerService* timers);
  ~Terminal() override;

  // Packet-mode reports of what input did, and the queues that should hear of it.
  void NoteEffects(const LineDiscipline::Effects& effects) REQUIRES(mutex_);
  void NotePacket(uint8_t bits) REQUIRES(mutex_);
  void NotifyAll();
  Result<size_t> ReadReady(Bytes out, bool nonblocking) REQUIRES(mutex_);
  Result<size_t> ReadRaw(Bytes out, bool nonblocking) REQUIRES(mutex_);
  bool TimeIsUp() REQUIRES(mutex_);
  void OnTimer();
  void SendSignals(const std::vector<int>& signals);
  Result<void> CheckChange(vfs::Caller& c, Side side);

  // The groups of ioctls; ENOTTY for one that isn't theirs.
  Result<uint64_t> MasterIoctl(vfs::Caller& c, uint32_t command, uint64_t argument);
  Result<uint64_t> TermiosIoctl(vfs::Caller& c, uint32_t command, uint64_t argument, Side side);
  Result<uint64_t> QueueIoctl(vfs::Caller& c, uint32_t command, uint64_t argument, Side side);
  Result<uint64_t> SessionIoctl(vfs::Caller& c, uint32_t command, uint64_t argument, Side side);
  Result<void> Flush(int which, Side side);
  Result<void> FlowControl(int action);

  const Ref<IndexPool> pool_;
  const uint32_t index_;
  JobControl* const jobs_;
  time::TimerService* const timers_;
  wait::WaitQueue master_queue_;
  wait::WaitQueue slave_queue_;

  mutable Mutex mutex_{LockRank::kTty};
  LineDiscipline line_ GUARDED_BY(mutex_);
  WindowSize window_ GUARDED_BY(mutex_);
  bool master_open_ GUARDED_BY(mutex_) = true;
  bool locked_ GUARDED_BY(mutex_) = true;
  bool exclusive_ GUARDED_BY(mutex_) = false;
  bool slave_was_open_ GUARDED_BY(mutex_) = false;
  int slaves_ GUARDED_BY(mutex_) = 0;  // open files of this generation
  Generation generation_ GUARDED_BY(mutex_) = 1;
  bool packet_mode_ GUARDED_BY(mutex_) = false;
  uint8_t packet_status_ GUARDED_BY(mutex_) = 0;  // TIOCPKT_* to report
  // VTIME: when a read that waits shall end. Zero: nobody waits so.
  Nanos time_limit_ GUARDED_BY(mutex_){0};
  std::unique_ptr<time::Timer> timer_ GUARDED_BY(mutex_);
};

}  // namespace sandboxd::pts
