#!/usr/bin/python3
"""Starts programs and adopts what they leave behind; the harness runs one for each private sandboxd.

As a child subreaper (prctl(2)) it becomes the parent of every orphan below it, so that a process that
outlives its daemon can be named, and reaps the dead, as an init would. Commands, one a line on stdin,
one line of JSON answered on stdout:

  {"start": [ARGV...], "log": PATH, "env": {...}}  ->  {"pid": N}
  {"wait": PID}                                    ->  {"status": waitstatus}, when that child has ended
  {"descendants": true}                            ->  {"processes": [[PID, "name", "command line"], ...]}
  {"killall": true}                                ->  {"killed": N}

End of stdin kills every descendant and exits.
"""

import ctypes
import json
import os
import selectors
import signal
import sys

_PR_SET_CHILD_SUBREAPER = 36


def _children(pid):
    try:
        found = []
        for task in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/children" % (pid, task), encoding="ascii") as file:
                found += [int(p) for p in file.read().split()]
        return found
    except (FileNotFoundError, ProcessLookupError):
        return []


def _describe(pid):
    """[pid, name, command line], or None for one that is gone or dead."""
    try:
        with open("/proc/%d/stat" % pid, encoding="utf-8", errors="replace") as file:
            stat = file.read()
        with open("/proc/%d/cmdline" % pid, "rb") as file:
            command = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    name = stat[stat.index("(") + 1:stat.rindex(")")]
    return None if stat[stat.rindex(")") + 2] in "ZX" else [pid, name, command]


def descendants():
    found, queue = [], _children(os.getpid())
    while queue:
        pid = queue.pop()
        queue += _children(pid)
        described = _describe(pid)
        if described:
            found.append(described)
    return sorted(found)


def kill_all():
    """Kills every descendant, and what they start meanwhile, until none is left."""
    killed = 0
    while True:
        alive = descendants()
        if not alive:
            return killed
        for pid, _, _ in alive:
            try:
                os.kill(pid, signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                pass
        reap({})
        # A dying process answers to nothing; wait for any one of our direct children to end.
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            pass


def reap(ended):
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        ended[pid] = status


def start(argv, log, env):
    with open(log, "ab") as out:
        pid = os.fork()
        if pid != 0:
            return pid
        try:
            os.setsid()
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.execve(argv[0], argv, env)
        except OSError as error:
            os.write(2, ("reaper: %s: %s\n" % (argv[0], error)).encode())
        os._exit(127)


def serve():
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write)
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(wake_read, selectors.EVENT_READ)
    ended, waiting, buffered = {}, None, b""

    def answer(value):
        os.write(1, json.dumps(value).encode() + b"\n")

    while True:
        for key, _ in selector.select():
            if key.fd == wake_read:
                os.read(wake_read, 512)
                reap(ended)
                continue
            data = os.read(0, 65536)
            if not data:
                kill_all()
                return
            buffered += data
        while b"\n" in buffered:
            line, buffered = buffered.split(b"\n", 1)
            command = json.loads(line)
            if "start" in command:
                answer({"pid": start(command["start"], command["log"], command["env"])})
            elif "wait" in command:
                waiting = command["wait"]
            elif "descendants" in command:
                reap(ended)
                answer({"processes": descendants()})
            elif "killall" in command:
                answer({"killed": kill_all()})
        if waiting in ended:
            answer({"status": ended.pop(waiting)})
            waiting = None


if __name__ == "__main__":
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("reaper: PR_SET_CHILD_SUBREAPER: " + os.strerror(ctypes.get_errno()))
    serve()
