#include "kernel/task/job_control.h"

#include <linux/capability.h>
#include <signal.h>

#include "kernel/fs/pts/terminal.h"
#include "kernel/task/task.h"
#include "kernel/task/tree.h"

namespace sandboxd::task {
namespace {

void HangUp(ProcessGroup& group) {
  group.SendSignal(SIGHUP);
  group.SendSignal(SIGCONT);
}

Task* TaskOf(vfs::Caller& c) { return static_cast<Task*>(c.task()); }

}  // namespace

Session* TerminalJobs::SessionOf(vfs::Caller& c) {
  Task* task = TaskOf(c);
  if (task == nullptr || task->group().process_group_ == nullptr) return nullptr;
  return task->group().process_group_->session().get();
}

Result<Session*> TerminalJobs::SessionWith(vfs::Caller& c, const pts::Terminal& terminal,
                                           bool from_master) {
  Session* session = from_master ? kernel_.SessionOfTerminal(&terminal) : SessionOf(c);
  if (session == nullptr || session->terminal != &terminal) return Errno::kENOTTY;
  return session;
}

Result<void> TerminalJobs::SetControllingTerminal(vfs::Caller& c, Ref<pts::Terminal> terminal,
                                                  bool steal) {
  Debris debris;
  creds::CredRef creds = c.credentials();
  MutexLock lock(kernel_.tree_mutex());
  Session* session = SessionOf(c);
  if (session == nullptr) return Errno::kEPERM;
  if (session->terminal == terminal.get()) return Ok();
  if (session->leader != &TaskOf(c)->group() || session->terminal != nullptr) return Errno::kEPERM;
  if (Session* owner = kernel_.SessionOfTerminal(terminal.get())) {
    if (!steal || !creds->CapableInit(CAP_SYS_ADMIN)) return Errno::kEPERM;
    TreeOps::DropTerminal(kernel_, *owner, debris);
  }
  kernel_.SetSessionOfTerminal(terminal.get(), session);
  session->foreground = TaskOf(c)->group().process_group_.get();
  session->terminal = std::move(terminal);
  return Ok();
}

Result<void> TerminalJobs::DropControllingTerminal(vfs::Caller& c, pts::Terminal& terminal) {
  Debris debris;
  MutexLock lock(kernel_.tree_mutex());
  Session* session = TRY(SessionWith(c, terminal, false));
  if (session->leader != &TaskOf(c)->group()) return Ok();
  if (session->foreground != nullptr) HangUp(*session->foreground);
  TreeOps::DropTerminal(kernel_, *session, debris);
  return Ok();
}

Result<int32_t> TerminalJobs::ForegroundGroup(vfs::Caller& c, pts::Terminal& terminal,
                                              bool from_master) {
  MutexLock lock(kernel_.tree_mutex());
  auto session = SessionWith(c, terminal, from_master);
  if (from_master && !session.ok()) return 0;
  if (!session.ok()) return session.error();
  ProcessGroup* group = (*session)->foreground;
  Task* task = TaskOf(c);
  if (group == nullptr || task == nullptr) return 0;
  return group->IdIn(*task->pid_ns()).value;
}

Result<void> TerminalJobs::SetForegroundGroup(vfs::Caller& c, pts::Terminal& terminal,
                                              int32_t pgid) {
  MutexLock lock(kernel_.tree_mutex());
  Session* session = TRY(SessionWith(c, terminal, false));
  if (pgid < 0) return Errno::kEINVAL;
  ProcessGroup* group = TaskOf(c)->pid_ns()->FindProcessGroup(Tid(pgid));
  if (group == nullptr) return Errno::kESRCH;
  if (group->session() != session) return Errno::kEPERM;
  session->foreground = group;
  return Ok();
}

Result<int32_t> TerminalJobs::SessionId(vfs::Caller& c, pts::Terminal& terminal, bool from_master) {
  MutexLock lock(kernel_.tree_mutex());
  Session* session = TRY(SessionWith(c, terminal, from_master));
  Task* task = TaskOf(c);
  if (task == nullptr) return 0;
  return session->IdIn(*task->pid_ns()).value;
}

Result<void> TerminalJobs::CheckBackground(vfs::Caller& c, pts::Terminal& terminal, int signo) {
  Task* task = TaskOf(c);
  if (task == nullptr) return Ok();
  MutexLock lock(kernel_.tree_mutex());
  Session* session = SessionOf(c);
  if (session == nullptr || session->terminal != &terminal) return Ok();
  ProcessGroup& own = *task->group().process_group_;
  if (session->foreground == nullptr || session->foreground == &own) return Ok();
  const bool deaf =
      task->signal_mask().Has(signo) || task->group().handlers()->Get(signo).is_ignore();
  if (deaf) return signo == SIGTTIN ? Result<void>(Errno::kEIO) : Ok();
  // Nobody could continue it.
  if (own.IsOrphaned()) return Errno::kEIO;
  own.SendSignal(signo);
  return Errno::kERESTARTSYS;
}

void TerminalJobs::SignalForeground(pts::Terminal& terminal, int signo) {
  MutexLock lock(kernel_.tree_mutex());
  Session* session = kernel_.SessionOfTerminal(&terminal);
  if (session != nullptr && session->foreground != nullptr) session->foreground->SendSignal(signo);
}

void TerminalJobs::Hangup(pts::Terminal& terminal) {
  Debris debris;
  MutexLock lock(kernel_.tree_mutex());
  Session* session = kernel_.SessionOfTerminal(&terminal);
  if (session == nullptr) return;
  if (ThreadGroup* leader = session->leader) {
    // Standard signals always have room.
    (void)leader->SendSignal(signal::SigInfo::Kernel(SIGHUP));
    (void)leader->SendSignal(signal::SigInfo::Kernel(SIGCONT));
  }
  if (session->foreground != nullptr) HangUp(*session->foreground);
  TreeOps::DropTerminal(kernel_, *session, debris);
}

Ref<pts::Terminal> TerminalJobs::ControllingTerminal(vfs::Caller& c) {
  MutexLock lock(kernel_.tree_mutex());
  Session* session = SessionOf(c);
  if (session == nullptr || session->terminal == nullptr) return nullptr;
  return Ref<pts::Terminal>(static_cast<pts::Terminal*>(session->terminal.get()));
}

}  // namespace sandboxd::task
