#!/usr/bin/python3
"""A sandbox whose programs all sleep costs the host nothing: no thread of its processes is ever woken."""

import os
import time

import harness
import testing

SLEEPERS = 20
SECONDS = 10.0  # not a measurement: what has happened after them is counted


def _switches(pids):
    """How often each host thread of these processes has given up its processor by itself."""
    counts = {}
    for pid in pids:
        for tid in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/status" % (pid, tid), encoding="utf-8") as status:
                for line in status:
                    if line.startswith("voluntary_ctxt_switches:"):
                        counts[int(tid)] = int(line.split()[1])
    return counts


class IdleTest(harness.SandboxdTestCase):
    def _sandbox_processes(self):
        return [pid for pid, name, _ in self.daemon.processes() if name not in ("sandboxd", "sandboxctl")]

    def _asleep(self):
        """The threads, if nothing has happened to them since the last look."""
        now = _switches(self._sandbox_processes())
        before, self._last = self._last, now
        return now if now == before else None

    def test_sleepers_are_never_woken(self):
        self._last = None
        # The shell computes first, so that its stub and its kernel thread have looked for each other.
        script = ("i=0; while [ $i -lt 2000 ]; do : $((i += 1)); done; n=0; "
                  "while [ $n -lt %d ]; do sleep 1000 & n=$((n + 1)); done; wait" % SLEEPERS)
        self.daemon.create("idle", "/bin/sh", "-c", script, rootfs=self.rootfs)
        self.daemon.ctl("start", "idle", check=True)
        harness.wait_until(lambda: len(self._sandbox_processes()) > SLEEPERS, "the sleepers are there")
        # A second without anything is quiet enough to begin to count.
        before = harness.wait_until(lambda: time.sleep(1) or self._asleep(), "all of them sleep")
        time.sleep(SECONDS)
        after = _switches(self._sandbox_processes())
        self.assertEqual({}, {tid: (n, after.get(tid)) for tid, n in before.items() if after.get(tid) != n})
        self.assertEqual(before.keys(), after.keys())
        self.daemon.ctl("delete", "--force", "idle", check=True)


if __name__ == "__main__":
    testing.main()
