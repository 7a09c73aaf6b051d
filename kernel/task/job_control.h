// TerminalJobs: what terminals ask of sessions and process groups (kernel/fs/pts/job_control.h).
#pragma once

#include "kernel/fs/pts/job_control.h"
#include "kernel/task/kernel.h"

namespace sandboxd::task {

class TerminalJobs final : public pts::JobControl, public Kernel::Attachment {
 public:
  // `kernel` outlives it. Callers are tasks of that kernel.
  explicit TerminalJobs(Kernel& kernel) : kernel_(kernel) {}

  Result<void> SetControllingTerminal(vfs::Caller& c, Ref<pts::Terminal> terminal,
                                      bool steal) override;
  Result<void> DropControllingTerminal(vfs::Caller& c, pts::Terminal& terminal) override;
  Result<int32_t> ForegroundGroup(vfs::Caller& c, pts::Terminal& terminal,
                                  bool from_master) override;
  Result<void> SetForegroundGroup(vfs::Caller& c, pts::Terminal& terminal, int32_t pgid) override;
  Result<int32_t> SessionId(vfs::Caller& c, pts::Terminal& terminal, bool from_master) override;
  Result<void> CheckBackground(vfs::Caller& c, pts::Terminal& terminal, int signo) override;
  void SignalForeground(pts::Terminal& terminal, int signo) override;
  void Hangup(pts::Terminal& terminal) override;
  Ref<pts::Terminal> ControllingTerminal(vfs::Caller& c) override;

 private:
  static Session* SessionOf(vfs::Caller& c);  // tree mutex; null for callers that are no tasks
  Result<Session*> SessionWith(vfs::Caller& c, const pts::Terminal& terminal, bool from_master);
  Kernel& kernel_;
};

}  // namespace sandboxd::task
