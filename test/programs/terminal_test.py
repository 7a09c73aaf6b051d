#!/usr/bin/python3
"""`sandboxctl run -it` is a terminal like any other: keys, job control, full-screen programs, resizing.

A marker that a command prints is always spelled differently from the command that was typed (by $((...)) or
quotes), so that the echo of the typing can't pass for the output.
"""

import os
import shutil
import tempfile

import harness
import terminal
import testing


class TerminalTest(harness.SandboxdTestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="sbx-terminal-", dir="/tmp")
        os.chmod(cls.folder, 0o755)
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.debian = harness.debian_rootfs(os.path.join(cls.folder, "debian"))

    def bash(self):
        """A bash prompt `$ ` in a sandbox on a terminal."""
        argv = [self.daemon.programs.sandboxctl, "run", "-it", "--platform", harness.PLATFORM, "--rootfs", self.debian, "--",
                "/usr/bin/env", "-i", "TERM=xterm", "PATH=/usr/bin:/bin", "HOME=/root", "PS1=ready$ ", "LC_ALL=C.UTF-8",
                "/bin/bash", "--norc", "--noprofile"]
        return terminal.Terminal(argv, self.daemon.env)

    def test_prompt_echo_and_exit_status(self):
        with self.bash() as screen:
            screen.wait_for("ready$")
            screen.type("tty; echo a''b $((6 * 7))", "Enter")
            screen.wait_for("/dev/pts/", "ab 42")
            screen.type("exit 5", "Enter")
            screen.wait_for("[status 5]", "[cooked]")

    def test_control_c_ends_the_foreground_job_only(self):
        with self.bash() as screen:
            screen.wait_for("ready$")
            screen.type("sh -c 'echo up''1; exec sleep 1000'", "Enter")
            screen.wait_for("up1")
            screen.type("C-c")
            screen.type("echo status$?", "Enter")
            screen.wait_for("status130")
            screen.type("exit", "Enter")
            screen.wait_for("[cooked]")

    def test_control_z_stops_and_fg_goes_on(self):
        with self.bash() as screen:
            screen.wait_for("ready$")
            # Typed before bash has set the terminal for its job, a line is not echoed, on Linux neither.
            screen.type("sh -c 'echo up''1; exec cat'", "Enter")
            screen.wait_for("up1")
            screen.type("first", "Enter")
            screen.wait_for("first\nfirst")
            screen.type("C-z")
            screen.wait_for("Stopped")
            screen.type("jobs; echo be''tween", "Enter")
            screen.wait_for("between")
            screen.type("fg", "Enter")
            screen.type("second", "Enter")
            screen.wait_for("\nsecond")  # if cat was not in the foreground, ^D would end bash
            screen.type("C-d")
            screen.type("echo en''d $?", "Enter")
            screen.wait_for("end 0")
            screen.type("exit", "Enter")
            screen.wait_for("[status 0]", "[cooked]")

    def test_resize_reaches_the_program(self):
        with self.bash() as screen:
            screen.wait_for("ready$")
            screen.type("stty size", "Enter")
            screen.wait_for("24 80")
            screen.type("trap 'echo chan''ged' WINCH; echo se''t", "Enter")
            screen.wait_for("\nset")
            screen.resize(100, 30)
            screen.type("stty size", "Enter")
            screen.wait_for("30 100")
            screen.wait_for("changed")
            screen.type("exit", "Enter")
            screen.wait_for("[cooked]")

    def test_vi_edits_a_file(self):
        with self.bash() as screen:
            screen.wait_for("ready$")
            screen.type("vi /tmp/new.txt", "Enter")
            screen.wait_for("new.txt", "~\n~")
            screen.type("i", "one", "Enter", "two", "Escape")
            screen.wait_for("one\ntwo")
            screen.type(":wq", "Enter")
            screen.wait_for("ready$")
            screen.type("clear; wc -l /tmp/new.txt; paste -sd+ /tmp/new.txt", "Enter")
            screen.wait_for("2 /tmp/new.txt", "one+two")
            screen.type("exit", "Enter")
            screen.wait_for("[status 0]", "[cooked]")

    def test_less_pages_and_quits(self):
        with self.bash() as screen:
            screen.wait_for("ready$")
            screen.type("seq 1000 | less", "Enter")
            screen.wait_for("1\n2\n3", "23\n:")
            screen.type("G")
            screen.wait_for("1000\n(END)")
            screen.type("q")
            screen.type("echo le''ft", "Enter")
            screen.wait_for("left")
            screen.type("exit", "Enter")
            screen.wait_for("[status 0]", "[cooked]")

    def test_terminal_is_restored_when_the_daemon_dies(self):
        with self.bash() as screen:
            screen.wait_for("ready$")
            self.daemon.kill()
            screen.wait_for("[status", "[cooked]")
            self.daemon.start()
            for box in self.daemon.list():
                self.daemon.ctl("delete", "--force", box["id"], check=True)


if __name__ == "__main__":
    testing.main()
