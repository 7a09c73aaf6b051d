#!/usr/bin/python3
"""containerd with containerd-shim-sandboxd-v1: ctr run, exec, kill, pause, metrics, a restart, deaths.

The shim's sockets and fifos are under /run whatever containerd's configuration says, so the test runs itself again in
a mount namespace of its own with an empty /run.
"""

import os
import re
import signal
import subprocess
import sys

import engines
import harness
import testing

CONFIG = """version = 2
root = "%(folder)s/root"
state = "%(folder)s/cstate"
oom_score = 0
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "%(folder)s/c.sock"
[ttrpc]
  address = "%(folder)s/c.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "%(folder)s/opt"
"""


class ContainerdTest(harness.SandboxdTestCase):
    def setUp(self):
        engines.need("containerd", "ctr")
        engines.need_root()
        shim = engines.program("SANDBOXD_SHIM")
        super().setUp()
        self.folder = self.daemon.folder
        self.bin = os.path.join(self.folder, "bin")
        os.makedirs(self.bin)
        engines.write_script(os.path.join(self.bin, "containerd-shim-sandboxd-v1"),
                             "#!/bin/sh\nexport SANDBOXD_ADDRESS=%s SANDBOXD_PLATFORM=%s\nexec %s \"$@\"\n"
                             % (self.daemon.address, harness.PLATFORM, shim))
        with open(os.path.join(self.folder, "c.toml"), "w", encoding="utf-8") as config:
            config.write(CONFIG % {"folder": self.folder})
        self.containerd = None
        self.addCleanup(self.stop_all)
        self.start_containerd()

    def start_containerd(self):
        with open(os.path.join(self.folder, "containerd.log"), "ab") as log:
            self.containerd = subprocess.Popen(["containerd", "--config", os.path.join(self.folder, "c.toml")], stdout=log, stderr=log,
                                               env={**os.environ, "PATH": self.bin + ":" + os.environ["PATH"]})
        harness.wait_until(lambda: self.ctr("version").returncode == 0, "containerd answers")

    def stop_containerd(self, signo=signal.SIGTERM):
        self.containerd.send_signal(signo)
        self.containerd.wait(harness.PATIENCE)

    def stop_all(self):
        for name in self.ctr("task", "ls", "-q").stdout.split():
            self.ctr("task", "delete", "-f", name)
        for name in self.ctr("container", "ls", "-q").stdout.split():
            self.ctr("container", "delete", name)
        self.stop_containerd()

    def log_text(self):
        with open(os.path.join(self.folder, "containerd.log"), encoding="utf-8", errors="replace") as log:
            return log.read()[-4000:]

    def ctr(self, *arguments, **kwargs):
        return engines.run("ctr", "--address", os.path.join(self.folder, "c.sock"), *arguments, **kwargs)

    def run_it(self, name, *command, flags=(), **kwargs):
        return self.ctr("run", "--runtime", "io.containerd.sandboxd.v1", *flags, "--rootfs", self.rootfs, name, *command, **kwargs)

    def start_detached(self, name, *command, flags=()):
        done = self.run_it(name, *command, flags=("-d", *flags))
        self.assertEqual(0, done.returncode, done.stderr + self.log_text())

    def task_status(self, name):
        for line in self.ctr("task", "ls").stdout.splitlines():
            words = line.split()
            if words and words[0] == name:
                return words[2]
        return "none"

    def wait_for(self, name, status):
        harness.wait_until(lambda: self.task_status(name) == status, "%s is %s" % (name, status))

    def test_run(self):
        done = self.run_it("c", "sh", "-c", "echo out; echo err >&2; exit 3", flags=("--rm",))
        self.assertEqual((3, "out\n"), (done.returncode, done.stdout), done.stderr + self.log_text())
        self.assertIn("err\n", done.stderr)
        done = self.run_it("c", "uname", "-r", flags=("--rm",))
        self.assertTrue(done.stdout.startswith("6.1"), done.stdout + done.stderr)

    def test_input(self):
        done = self.run_it("c", "sh", "-c", "read a; echo got $a", flags=("--rm",), input="hello\n")
        self.assertEqual("got hello\n", done.stdout, done.stderr)

    def test_a_terminal(self):
        done = engines.run("script", "-qec", "ctr --address %s/c.sock run --rm -t --runtime io.containerd.sandboxd.v1 --rootfs %s c "
                           "sh -c 'tty; echo done'" % (self.folder, self.rootfs), "/dev/null")
        self.assertIn("/dev/pts/", done.stdout, done.stderr)
        self.assertIn("done", done.stdout)

    def test_exec_pause_metrics_kill_delete(self):
        self.start_detached("c", "sleep", "1000", flags=("--memory-limit", str(256 << 20)))
        self.assertEqual("RUNNING", self.task_status("c"))
        done = self.ctr("task", "exec", "--exec-id", "e", "c", "sh", "-c", "echo inside; exit 4")
        self.assertEqual((4, "inside\n"), (done.returncode, done.stdout), done.stderr)
        self.assertEqual(0, self.ctr("task", "pause", "c").returncode)
        self.assertEqual("PAUSED", self.task_status("c"))
        self.assertEqual(0, self.ctr("task", "resume", "c").returncode)
        self.assertEqual("RUNNING", self.task_status("c"))
        metrics = self.ctr("task", "metrics", "c")
        self.assertTrue(re.search(r"memory.*%d" % (256 << 20), metrics.stdout), metrics.stdout + metrics.stderr)
        self.assertEqual(0, self.ctr("task", "kill", "-s", "KILL", "c").returncode)
        self.wait_for("c", "STOPPED")
        self.assertIn("exit code 137", self.ctr("task", "delete", "c").stderr)
        self.assertEqual(0, self.ctr("container", "delete", "c").returncode)
        self.assertEqual([], self.daemon.list())

    def test_a_restart_of_containerd(self):
        self.start_detached("c", "sh", "-c", "until [ -e /go ]; do sleep 0.1; done; exit 6")
        self.stop_containerd(signal.SIGKILL)
        self.start_containerd()
        self.wait_for("c", "RUNNING")
        done = self.ctr("task", "exec", "--exec-id", "e", "c", "echo", "after")
        self.assertEqual("after\n", done.stdout, done.stderr)
        open(os.path.join(self.rootfs, "go"), "w", encoding="utf-8").close()
        self.wait_for("c", "STOPPED")
        self.assertIn("exit code 6", self.ctr("task", "delete", "c").stderr)

    def test_a_restart_of_the_daemon(self):
        self.start_detached("c", "sleep", "1000")
        self.daemon.kill()
        self.daemon.start()
        done = self.ctr("task", "exec", "--exec-id", "e", "c", "echo", "after")
        self.assertEqual("after\n", done.stdout, done.stderr)
        self.ctr("task", "kill", "-s", "KILL", "c")
        self.wait_for("c", "STOPPED")

    def test_a_killed_shim_leaves_nothing(self):
        self.start_detached("c", "sleep", "1000")
        shims = engines.run("pgrep", "-f", "containerd-shim-sandboxd-v1.*-id c.*serve").stdout.split()
        mine = [p for p in shims if self.folder in open("/proc/%s/environ" % p, encoding="utf-8", errors="replace").read()]
        self.assertEqual(1, len(mine), shims)
        os.kill(int(mine[0]), signal.SIGKILL)
        harness.wait_until(lambda: not self.daemon.list(), "its sandbox is deleted")
        harness.wait_until(lambda: self.task_status("c") in ("STOPPED", "none"), "its task has ended")

    def test_a_killed_kernel_is_an_exit(self):
        self.start_detached("c", "sleep", "1000")
        os.kill(int(self.daemon.list()[0]["host_pid"]), signal.SIGKILL)
        self.wait_for("c", "STOPPED")
        self.assertIn("exit code 137", self.ctr("task", "delete", "c").stderr)

    def test_a_program_that_is_not_there(self):
        done = self.run_it("c", "/no/such/program", flags=("--rm",))
        self.assertNotEqual(0, done.returncode)
        self.assertIn("/no/such/program", done.stderr)


def in_own_run():
    """Runs this file again where /run is ours; its status."""
    if os.geteuid() != 0 or os.environ.get("OWN_RUN"):
        return None
    script = "mount -t tmpfs tmpfs /run && exec \"$@\""
    done = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", sys.executable,
                           os.path.abspath(__file__), *sys.argv[1:]], env={**os.environ, "OWN_RUN": "1"}, check=False)
    return done.returncode


if __name__ == "__main__":
    status = in_own_run()
    if status is not None:
        sys.exit(status)
    testing.main()
