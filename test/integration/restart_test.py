#!/usr/bin/python3
"""sandboxd dies and comes back; what runs in its sandboxes does not notice, and nothing is forgotten."""

import os

import harness
import testing


class RestartTest(harness.SandboxdTestCase):
    def release(self):
        """Lets the programs of `start_waiting` go on."""
        with open(os.path.join(self.rootfs, "go"), "w", encoding="utf-8"):
            pass

    def start_waiting(self, name, status):
        """A sandbox whose program waits for release() and exits with `status`."""
        self.daemon.create(name, "/bin/sh", "-c", "until [ -e /go ]; do sleep 0.2; done; exit %d" % status,
                           rootfs=self.rootfs)
        self.daemon.ctl("start", name, check=True)

    def test_fifty_exit_statuses_survive_a_crash(self):
        boxes = {"box%d" % n: n for n in range(50)}
        for name, status in boxes.items():
            self.start_waiting(name, status)
        self.daemon.kill()
        self.release()
        self.daemon.start()
        found = {name: self.daemon.ctl("wait", name).returncode for name in boxes}
        self.assertEqual(boxes, found)
        self.daemon.ctl("delete", *boxes, check=True)
        self.assertEqual([], self.daemon.list())

    def test_a_running_sandbox_is_adopted(self):
        self.start_waiting("box", 7)
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(["box"], [s["id"] for s in self.daemon.list()])
        done = self.daemon.ctl("exec", "box", "--", "/bin/sh", "-c", "echo still here", check=True)
        self.assertEqual("still here\n", done.stdout)
        self.release()
        self.assertEqual(7, self.daemon.ctl("wait", "box").returncode)
        self.daemon.ctl("delete", "box", check=True)

    def test_an_exit_that_was_known_is_still_known(self):
        self.release()
        self.start_waiting("box", 9)
        self.assertEqual(9, self.daemon.ctl("wait", "box").returncode)
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(9, self.daemon.ctl("wait", "box").returncode)
        self.daemon.ctl("delete", "box", check=True)

    def test_what_died_with_the_daemon_is_reported_and_can_be_deleted(self):
        self.start_waiting("box", 0)
        before = {p[0] for p in self.daemon.processes()} - {self.daemon.pid}
        self.daemon.kill()
        for pid in before:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        self.daemon.start()
        self.assertNotEqual(0, self.daemon.ctl("wait", "box").returncode)
        self.daemon.ctl("delete", "--force", "box", check=True)
        self.assertEqual([], self.daemon.list())


if __name__ == "__main__":
    testing.main()
