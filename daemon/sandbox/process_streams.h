// The standard streams of one process, outside: reads its output from FIFOs (or a terminal's
// socket) into a log and to the client that is attached, and writes its input.
//
// Nothing is buffered but one chunk on its way to the client: as long as the client has not taken
// it nothing more is read, the FIFO fills, and the program waits. Loop thread only, except Create.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "daemon/error/error.h"
#include "daemon/loop/event_loop.h"
#include "daemon/sandbox/process_log.h"
#include "platform/base/ref.h"
#include "proto/sandboxd/v1/types.pb.h"

namespace sandboxd::daemon {

// An attached client. Called on the loop's thread; must not call back into the streams from there
// except Ready.
class StreamSink {
 public:
  virtual ~StreamSink() = default;
  // `stream` is 1 or 2. The next one comes after ProcessStreams::Ready.
  virtual void OnOutput(int stream, std::string bytes) = 0;
  // All output was delivered and taken. Last.
  virtual void OnExit(const v1::ExitStatus& exit) = 0;
  // Another client has this place now, or the process's sandbox was deleted. Last.
  virtual void OnRemoved(const Error& why) = 0;
};

class ProcessStreams : public RefCounted {
 public:
  struct Options {
    std::string folder;  // of FIFOs and logs, absolute
    std::string name;    // of this process's files there
    v1::StdioSpec stdio;
    bool terminal = false;
  };
  // What the kernel process gets. Invalid where a stream is not connected.
  struct KernelEnds {
    UniqueFd in, out, err;
    UniqueFd terminal;
  };
  // Makes the FIFOs, or with `reopen` takes those that are there (a terminal gets a new socket).
  static Outcome<Ref<ProcessStreams>> Create(EventLoop& loop, const Options& options, bool reopen,
                                             KernelEnds* ends);

  // Of a process that is gone: only its log is left.
  static Ref<ProcessStreams> CreateEnded(EventLoop& loop, const Options& options);

  // Begins to read.
  void Start();

  // The process has ended.
  void SetExit(const v1::ExitStatus& exit);
  // All output is in the FIFOs, or nobody is there to write any more. `on_logged` is called once,
  // when a log has it all; at once for the other modes.
  void ProducerDone(std::function<void()> on_logged);

  // ALREADY_ATTACHED unless `take_over`.
  Outcome<void> Attach(StreamSink* sink, bool take_over);
  // No call to `sink` after it. Does nothing if it is not the attached one.
  void Detach(StreamSink* sink);
  bool attached() const { return sink_ != nullptr; }
  // The sink has taken the last chunk.
  void Ready(StreamSink* sink);

  bool has_stdin() const { return in_.valid(); }
  bool terminal() const { return options_.terminal; }
  bool keeps_log() const { return log_ != nullptr; }
  // `done` when all of it is in the FIFO, or nobody reads it any more. One at a time.
  void WriteStdin(std::string bytes, std::function<void()> done);
  // After what was written: `closed` is called when the kernel process may be told.
  void CloseStdin(std::function<void()> closed);

  // Log followers are told of new records and of the end.
  using FollowerId = uint64_t;
  FollowerId Follow(std::function<void()> changed);
  void Unfollow(FollowerId id);
  // Nothing will be added to the log any more.
  bool finished() const { return producer_done_ && out_done_ && err_done_; }
  std::string folder() const { return options_.folder; }
  std::string name() const { return options_.name; }
  uint64_t dropped_log_bytes() const { return log_ ? log_->dropped_bytes() : 0; }

  // Ends everything; the sink gets OnRemoved. `remove_files` deletes FIFOs and log.
  void Shutdown(const Error& why, bool remove_files);

 private:
  ProcessStreams(EventLoop& loop, Options options) : loop_(loop), options_(std::move(options)) {}
  Outcome<void> Open(bool reopen, KernelEnds* ends);
  Outcome<void> OpenTerminal(KernelEnds* ends);
  Outcome<UniqueFd> OpenOutput(const char* suffix, bool reopen, UniqueFd* kernel_end);

  bool MayRead() const;
  void Update();
  void UpdateWatch();
  // False when there is nothing to read now.
  bool Pump(int stream);
  void Deliver(int stream, const char* data, size_t size);
  void PumpStdin();
  void TryFinish();
  void OpenLog();
  void NotifyFollowers();
  std::string FifoPath(const char* suffix) const {
    return options_.folder + "/" + options_.name + "." + suffix;
  }

  EventLoop& loop_;
  const Options options_;
  UniqueFd in_, out_, err_;  // with a terminal, in_ and out_ are two descriptors of one socket
  bool started_ = false;
  bool out_done_ = false, err_done_ = false;
  bool out_watched_ = false, err_watched_ = false, in_watched_ = false;
  bool producer_done_ = false;
  std::function<void()> on_logged_;
  std::optional<v1::ExitStatus> exit_;
  std::unique_ptr<LogWriter> log_;

  StreamSink* sink_ = nullptr;  // detaches before it goes away
  bool sink_busy_ = false;
  bool exit_sent_ = false;

  std::string stdin_buffer_;
  size_t stdin_begin_ = 0;
  std::function<void()> stdin_done_;
  std::function<void()> stdin_closed_;

  std::map<FollowerId, std::function<void()>> followers_;
  FollowerId next_follower_ = 1;
};

}  // namespace sandboxd::daemon
