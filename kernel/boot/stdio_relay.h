// StdioRelay: moves bytes between the stdio of processes inside the sandbox and host descriptors,
// on one thread.
//
// A channel is one direction of one stream. It holds at most one buffer, so a slow reader outside
// slows the program, and nothing is lost. The thread sleeps when nothing can move.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "kernel/vfs/file.h"
#include "platform/base/mutex.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"
#include "platform/base/unique_fd.h"

namespace sandboxd::boot {

// The sandbox's end of a channel: a pipe or a terminal's master side. Used by the relay's thread
// only; its wait queue notifications may come from anywhere.
class RelayEnd {
 public:
  virtual ~RelayEnd() = default;
  // EAGAIN: nothing now. 0: end of file, nobody can write any more.
  virtual Result<size_t> Read(Bytes out) = 0;
  // EAGAIN: no room now. EPIPE: nobody will read.
  virtual Result<size_t> Write(ConstBytes in) = 0;
  virtual void AddWaiter(wait::WaitEntry& entry, wait::EventMask mask) = 0;
};

// The end that is a file inside the sandbox (a pipe's read or write end).
std::unique_ptr<RelayEnd> MakeFileEnd(Ref<vfs::File> file);

class StdioRelay {
 public:
  enum class Direction { kIntoSandbox, kOutOfSandbox };

  static Result<std::unique_ptr<StdioRelay>> Create();
  ~StdioRelay();

  // `key` names the process whose stdio this is. `host` may be invalid: output is dropped, input
  // ends at once (or waits for Resume if `resumable`). A host descriptor that fails ends the
  // channel, unless resumable.
  void Add(const std::string& key, std::unique_ptr<RelayEnd> end, UniqueFd host,
           Direction direction, int stream, bool resumable);
  // New host descriptor for `stream` (0, 1, 2) of `key`. False if there is no such channel any
  // more.
  void Resume(const std::string& key, UniqueFd host, Direction direction, int stream);
  // End of file for the program after what is readable right now.
  void CloseInput(const std::string& key);
  // Calls `drained` (on the relay's thread) once everything that the program wrote until now is
  // outside.
  void WhenDrained(const std::string& key, std::function<void()> drained);
  // Drops the channels of `key`.
  void Remove(const std::string& key);

 private:
  struct Impl;
  explicit StdioRelay(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandboxd::boot
