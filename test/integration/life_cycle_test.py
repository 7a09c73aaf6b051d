#!/usr/bin/python3
"""The life of a sandbox, step by step, and what a step out of order gets. Other sandboxes never notice."""

import os
import signal
import subprocess

import harness
import testing


class LifeCycleTest(harness.SandboxdTestCase):
    def state(self, name):
        return next((s.get("state", "") for s in self.daemon.list() if s["id"] == name), "gone")

    def refused(self, done, *words):
        self.assertNotEqual(0, done.returncode, done.stdout)
        self.assertEqual(1, len(done.stderr.strip().splitlines()), done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def sleeper(self, name):
        self.daemon.create(name, "sleep", "1000", rootfs=self.rootfs)
        self.daemon.ctl("start", name, check=True)

    def sandbox_processes(self, name):
        """Those processes of the daemon's tree whose program is `name`."""
        found = []
        for pid, _, _ in self.daemon.processes():
            try:
                if os.path.basename(os.readlink("/proc/%d/exe" % pid)).startswith(name):
                    found.append(pid)
            except OSError:
                pass
        return found

    def test_create_start_wait_delete(self):
        self.daemon.create("box", "/bin/sh", "-c", "echo ran; exit 3", rootfs=self.rootfs)
        self.assertIn("CREATED", self.state("box"))
        self.daemon.ctl("start", "box", check=True)
        self.assertEqual(3, self.daemon.ctl("wait", "box").returncode)
        self.assertIn("STOPPED", self.state("box"))
        self.assertEqual("ran\n", self.daemon.ctl("logs", "box", check=True).stdout)
        self.daemon.ctl("delete", "box", check=True)
        self.assertEqual("gone", self.state("box"))

    def test_no_code_runs_before_start(self):
        self.daemon.create("box", "touch", "/ran", rootfs=self.rootfs)
        self.assertFalse(os.path.exists(os.path.join(self.rootfs, "ran")))
        self.daemon.ctl("start", "box", check=True)
        self.assertEqual(0, self.daemon.ctl("wait", "box").returncode)
        self.assertTrue(os.path.exists(os.path.join(self.rootfs, "ran")))
        self.daemon.ctl("delete", "box", check=True)

    def test_a_signal_ends_a_wait_and_not_the_program(self):
        self.sleeper("box")
        waiting = self.daemon.popen_ctl("wait", "box")
        harness.wait_until(lambda: len(os.listdir("/proc/%d/task" % waiting.pid)) > 1, "sandboxctl talks to sandboxd")
        waiting.send_signal(signal.SIGTERM)
        self.assertEqual(-signal.SIGTERM, waiting.wait(timeout=harness.PATIENCE))
        self.assertIn("RUNNING", self.state("box"))
        self.daemon.ctl("delete", "--force", "box", check=True)

    def test_a_signal_from_outside_ends_the_program(self):
        self.sleeper("box")
        self.daemon.ctl("kill", "box", "KILL", check=True)
        self.assertEqual(128 + 9, self.daemon.ctl("wait", "box").returncode)
        self.daemon.ctl("delete", "box", check=True)

    def test_delete_is_idempotent_and_force_kills(self):
        self.sleeper("box")
        self.refused(self.daemon.ctl("delete", "box"), "box")
        self.daemon.ctl("delete", "--force", "box", check=True)
        self.daemon.ctl("delete", "box", check=True)

    def test_a_name_in_use(self):
        self.sleeper("box")
        done = self.daemon.ctl("create", "--id", "box", "--rootfs", self.rootfs, "--", "true")
        self.refused(done, "box")
        self.daemon.ctl("delete", "--force", "box", check=True)

    def test_start_twice(self):
        self.sleeper("box")
        self.refused(self.daemon.ctl("start", "box"), "box")
        self.daemon.ctl("delete", "--force", "box", check=True)

    def test_exec_in_a_stopped_sandbox(self):
        self.daemon.create("box", "true", rootfs=self.rootfs)
        self.daemon.ctl("start", "box", check=True)
        self.daemon.ctl("wait", "box")
        self.refused(self.daemon.ctl("exec", "box", "--", "echo", "x"), "box")
        self.daemon.ctl("delete", "box", check=True)

    def test_no_such_sandbox(self):
        for command in (["start", "ghost"], ["wait", "ghost"], ["kill", "ghost"], ["exec", "ghost", "--", "true"],
                        ["attach", "ghost"], ["ps", "ghost"], ["logs", "ghost"], ["inspect", "ghost"]):
            self.refused(self.daemon.ctl(*command), "ghost")

    def test_exec_adds_a_process(self):
        self.sleeper("box")
        done = self.daemon.ctl("exec", "-i", "box", "--", "/bin/sh", "-c", "cat; exit 4", stdin="hello\n")
        self.assertEqual(("hello\n", 4), (done.stdout, done.returncode))
        self.assertIn("sleep", self.daemon.ctl("ps", "box", check=True).stdout)
        self.daemon.ctl("delete", "--force", "box", check=True)

    def test_a_client_that_vanishes_takes_its_run_along(self):
        client = self.daemon.popen_ctl("run", "--id", "box", "--rootfs", self.rootfs, "--", "/bin/sh", "-c",
                                       "echo up; sleep 1000", stdout=subprocess.PIPE)
        self.assertEqual(b"up\n", client.stdout.readline())
        client.send_signal(signal.SIGKILL)
        client.wait()
        client.stdout.close()
        harness.wait_until(lambda: "RUNNING" not in self.state("box"), "the sandbox is no longer running")
        self.daemon.ctl("delete", "--force", "box", check=True)

    def test_a_kernel_that_is_killed_harms_no_other_sandbox(self):
        self.sleeper("victim")
        victims = self.sandbox_processes("sandbox-kernel")
        self.assertNotEqual([], victims)
        self.sleeper("other")
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.assertNotEqual(0, self.daemon.ctl("wait", "victim").returncode)
        self.assertEqual("fine\n", self.daemon.ctl("exec", "other", "--", "echo", "fine", check=True).stdout)
        self.daemon.ctl("delete", "--force", "victim", "other", check=True)

    def test_many_side_by_side(self):
        runs = [self.daemon.popen_ctl("run", "--rootfs", self.rootfs, "--", "/bin/sh", "-c",
                                      "seq %d | tail -1; exit %d" % (n + 1, n), stdout=subprocess.PIPE, text=True)
                for n in range(20)]
        found = [(run.communicate(timeout=harness.PATIENCE * 2)[0], run.returncode) for run in runs]
        self.assertEqual([("%d\n" % (n + 1), n) for n in range(20)], found)


class FullDiskTest(harness.SandboxdTestCase):
    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("only root can mount a small file system for the state folder")
        super().setUp()
        self.daemon.ctl("list", check=True)

    def test_create_on_a_full_disk_is_refused_and_leaves_nothing(self):
        # The state folder moves to a file system that is then filled.
        self.daemon.kill(signal.SIGTERM)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", self.daemon.state], check=True)
        try:
            self.daemon.start()
            filler = os.open(os.path.join(self.daemon.state, "filler"), os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                while os.write(filler, b"x" * 4096) > 0:
                    pass
            except OSError:
                pass
            os.close(filler)
            done = self.daemon.ctl("create", "--id", "box", "--rootfs", self.rootfs, "--", "true")
            self.assertNotEqual(0, done.returncode)
            self.assertEqual(1, len(done.stderr.strip().splitlines()), done.stderr)
            self.assertEqual([], self.daemon.list())
            os.unlink(os.path.join(self.daemon.state, "filler"))
            self.assertEqual("ok\n", self.sh("echo ok"))
        finally:
            self.daemon.kill(signal.SIGTERM)
            subprocess.run(["umount", self.daemon.state], check=True)


if __name__ == "__main__":
    testing.main()
