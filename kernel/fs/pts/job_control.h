// JobControl: what terminals need to know of sessions and process groups (setsid(2), tcsetpgrp(3)).
// kernel/task implements it, kernel/boot injects it into the devpts file system. Called from any
// thread, never with a terminal's mutex held.
#pragma once

#include <cstdint>

#include "kernel/vfs/caller.h"
#include "platform/base/ref.h"
#include "platform/base/result.h"

namespace sandboxd::pts {

class Terminal;

class JobControl {
 public:
  virtual ~JobControl() = default;

  // TIOCSCTTY, and opening a terminal without O_NOCTTY. OK if it is the caller's already. EPERM if
  // the caller is no session leader, has another terminal, or the terminal belongs to another
  // session (unless `steal`: then CAP_SYS_ADMIN is checked and that session loses it).
  virtual Result<void> SetControllingTerminal(vfs::Caller& c, Ref<Terminal> terminal,
                                              bool steal) = 0;
  // TIOCNOTTY: ENOTTY if `terminal` isn't the caller's. A session leader gives it up for the whole
  // session, whose foreground group gets SIGHUP and SIGCONT.
  virtual Result<void> DropControllingTerminal(vfs::Caller& c, Terminal& terminal) = 0;
  // TIOCGPGRP, in the caller's pid namespace; 0 if the group is gone or not visible. ENOTTY if
  // `terminal` isn't the caller's controlling terminal. The master's side may ask about its own
  // slave: `from_master` skips that check.
  virtual Result<int32_t> ForegroundGroup(vfs::Caller& c, Terminal& terminal, bool from_master) = 0;
  // TIOCSPGRP: ENOTTY as above or if the caller's session isn't the terminal's, EINVAL for a
  // negative id, ESRCH for no such group, EPERM for a group of another session.
  virtual Result<void> SetForegroundGroup(vfs::Caller& c, Terminal& terminal, int32_t pgid) = 0;
  // TIOCGSID: ENOTTY as above.
  virtual Result<int32_t> SessionId(vfs::Caller& c, Terminal& terminal, bool from_master) = 0;

  // May the caller go on with what a background group may not do (read: SIGTTIN; write with TOSTOP,
  // changing settings: SIGTTOU)? OK if `terminal` isn't its controlling terminal, if its group is
  // in the foreground, or if it is SIGTTOU and the caller blocks or ignores it. EIO for an orphaned
  // group, and for SIGTTIN blocked or ignored. Otherwise the group gets `signo` and ERESTARTSYS
  // comes back.
  virtual Result<void> CheckBackground(vfs::Caller& c, Terminal& terminal, int signo) = 0;

  // SIGINT, SIGQUIT, SIGTSTP from a key, SIGWINCH: to the foreground group, from the kernel.
  virtual void SignalForeground(Terminal& terminal, int signo) = 0;
  // The other side went away: SIGHUP and SIGCONT to the session's leader, and to the foreground
  // group; the session has no terminal any more.
  virtual void Hangup(Terminal& terminal) = 0;
  // For /dev/tty: null if the caller's session has none.
  virtual Ref<Terminal> ControllingTerminal(vfs::Caller& c) = 0;
};

}  // namespace sandboxd::pts
