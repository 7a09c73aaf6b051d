"""A real terminal for a test, driven through tmux: type keys, look at the screen, change its size.

    with terminal.Terminal([sandboxctl, "run", "-it", ...], env) as screen:
        screen.wait_for("$ ")
        screen.type("echo hello", "Enter")

Keys are tmux's: "Enter", "C-c", "C-z", "Escape", "Up"; everything else is typed as it is.
"""

import os
import shlex
import shutil
import subprocess
import tempfile
import unittest

import harness

_KEYS = {"Enter", "Escape", "Space", "Tab", "Up", "Down", "Left", "Right", "BSpace"}


class Terminal:
    def __init__(self, argv, env, columns=80, lines=24):
        if not shutil.which("tmux"):
            raise unittest.SkipTest("there is no tmux (tools/dev setup installs it)")
        self._folder = tempfile.mkdtemp(prefix="sbx-tmux-", dir="/tmp")
        self._argv = argv
        self._env = {**env, "TERM": "xterm", "LC_ALL": "C.UTF-8"}
        self._env.pop("TMUX", None)
        self._size = ["-x", str(columns), "-y", str(lines)]

    def _tmux(self, *arguments):
        return subprocess.run(["tmux", "-S", os.path.join(self._folder, "tmux"), "-f", "/dev/null", *arguments],
                              env=self._env, capture_output=True, text=True, check=False)

    def __enter__(self):
        # The closing line tells the exit status, and what the terminal's modes are afterwards.
        script = ("%s; echo \"[status $?]\"; stty -a | grep -qw -- '-icanon' && echo '[raw]' || echo '[cooked]'; exec cat"
                  % shlex.join(self._argv))
        done = self._tmux("new-session", "-d", *self._size, "/bin/sh", "-c", script)
        if done.returncode != 0:
            raise AssertionError("tmux: " + done.stderr)
        self._tmux("set-option", "-g", "remain-on-exit", "on")
        return self

    def __exit__(self, *_):
        self._tmux("kill-server")
        shutil.rmtree(self._folder, ignore_errors=True)

    def type(self, *keys):
        for key in keys:
            named = key in _KEYS or (len(key) == 3 and key.startswith("C-"))
            self._tmux("send-keys", *(() if named else ("-l", "--")), key)

    def text(self):
        """The screen as lines joined by newlines, without trailing spaces."""
        return self._tmux("capture-pane", "-p", "-S", "-500").stdout.rstrip()

    def resize(self, columns, lines):
        self._tmux("resize-window", "-x", str(columns), "-y", str(lines))

    def wait_for(self, *texts):
        """Waits until the screen shows all of the texts; returns what it shows."""
        try:
            harness.wait_until(lambda: all(t in self.text() for t in texts), "the screen shows %s" % (texts,))
        except TimeoutError as error:
            raise AssertionError("%s; it shows:\n%s" % (error, self.text())) from None
        return self.text()
