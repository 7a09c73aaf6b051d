#!/usr/bin/python3
"""The harness finds what a daemon leaves behind. The daemon here is a script that leaves what it is told."""

import os
import shutil
import signal
import tempfile
import unittest

import harness
import testing

# Serves nothing; says it is up by writing its pid to a file beside its socket, where the fake sandboxctl looks.
SANDBOXD = """#!/usr/bin/python3
import os, signal, subprocess, sys
state = sys.argv[sys.argv.index("--state-dir") + 1]
os.makedirs(state + "/tables", exist_ok=True)
leave = os.environ.get("FAKE_LEAVE", "")
if leave == "process":
    subprocess.Popen(["setsid", "sleep", "1000"])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
up = os.path.dirname(state) + "/up"
with open(up + ".new", "w") as file:
    file.write(str(os.getpid()))
os.rename(up + ".new", up)
signal.sigwait([signal.SIGTERM])
if leave == "folder":
    os.makedirs(state + "/sandboxes/box")
sys.exit(7 if leave == "status" else 0)
"""
SANDBOXCTL = """#!/bin/sh
socket=${SANDBOXD_ADDRESS#unix://}
kill -0 "$(cat "${socket%/*}/up" 2>/dev/null)" 2>/dev/null || exit 1
[ "$1" != list ] || echo "[]"
"""


class HarnessTest(unittest.TestCase):
    def daemon(self, leave=""):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        paths = {}
        for name, text in (("sandboxd", SANDBOXD), ("sandboxctl", SANDBOXCTL),
                           ("sandbox-kernel", "#!/bin/sh\n"), ("sandbox-gofer", "#!/bin/sh\n")):
            paths[name] = os.path.join(folder, name)
            with open(paths[name], "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(paths[name], 0o755)
        os.environ["FAKE_LEAVE"] = leave
        self.addCleanup(os.environ.pop, "FAKE_LEAVE")
        daemon = harness.Daemon(harness.Programs(paths))
        daemon.start()
        return daemon

    def test_a_clean_daemon_passes(self):
        daemon = self.daemon()
        self.assertEqual(["sandboxd"], [os.path.basename(p[2].split()[1]) for p in daemon.processes()])
        daemon.stop()
        self.assertFalse(os.path.exists(daemon.folder))

    def test_a_process_left_behind_is_named_and_ended(self):
        daemon = self.daemon(leave="process")
        left = [p[0] for p in daemon.processes() if "sleep" in p[2]]
        with self.assertRaisesRegex(harness.Left, "sleep 1000"):
            daemon.stop()
        self.assertEqual(1, len(left))
        self.assertFalse(os.path.exists("/proc/%d" % left[0]))

    def test_a_folder_left_behind_is_named(self):
        with self.assertRaisesRegex(harness.Left, "folder state/sandboxes/box"):
            self.daemon(leave="folder").stop()

    def test_a_bad_exit_status_is_told(self):
        with self.assertRaisesRegex(harness.Left, "wait status %d" % (7 << 8)):
            self.daemon(leave="status").stop()

    def test_kill_and_start_is_a_restart(self):
        daemon = self.daemon()
        self.assertEqual(signal.SIGKILL, daemon.kill())
        daemon.start()
        self.assertEqual([], daemon.list())
        daemon.stop()

    def test_busybox_rootfs_has_a_shell(self):
        with tempfile.TemporaryDirectory() as folder:
            root = harness.busybox_rootfs(os.path.join(folder, "root"))
            self.assertTrue(os.access(os.path.join(root, "bin/sh"), os.X_OK))
            self.assertTrue(os.path.isdir(os.path.join(root, "proc")))


if __name__ == "__main__":
    testing.main()
