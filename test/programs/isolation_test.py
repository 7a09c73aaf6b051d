#!/usr/bin/python3
"""Programs that isolate or trace other programs do so inside a sandbox: unshare, bubblewrap, strace, gdb."""

import os
import shutil
import subprocess
import tempfile

import harness
import testing

PACKAGES = ("bubblewrap", "gdb", "strace", "util-linux")

# Fails in inner(), called by outer(): what a debugger has to tell.
CRASH = r"""
#include <stdio.h>
__attribute__((noinline)) static int inner(int *p) { return *p + 1; }
__attribute__((noinline)) static int outer(int n) { return inner((int *)(long)n) + 2; }
int main(int argc, char **argv) { (void)argv; puts("starting"); fflush(stdout); return outer(argc - 1); }
"""


class IsolationTest(harness.SandboxdTestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="sbx-isolation-", dir="/tmp")
        os.chmod(cls.folder, 0o755)
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.debian = harness.debian_rootfs(os.path.join(cls.folder, "root"), include=PACKAGES)
        source = os.path.join(cls.folder, "crash.c")
        with open(source, "w", encoding="ascii") as f:
            f.write(CRASH)
        subprocess.run(["gcc", "-g", "-O0", "-o", os.path.join(cls.debian, "crash"), source], check=True)

    def bash(self, script):
        done = self.run_program("/bin/bash", "-c", script, rootfs=self.debian, timeout=harness.PATIENCE * 3)
        self.assertEqual(0, done.returncode, "%s\n%s%s" % (script, done.stdout, done.stderr))
        return done.stdout + done.stderr

    def test_unshare(self):
        out = self.bash("unshare -Urmpf --mount-proc bash -c 'id -u; echo $$; ls -d /proc/[0-9]*'")
        self.assertEqual(["0", "1", "/proc/1"], out.split()[:3])

    def test_bubblewrap(self):
        out = self.bash("bwrap --unshare-user --unshare-pid --unshare-ipc --unshare-uts --hostname box --ro-bind / / "
                        "--proc /proc --dev /dev --tmpfs /tmp bash -c 'hostname; id -u; ls -A /tmp; touch /x' || echo refused")
        self.assertEqual(["box", "0"], out.split()[:2])
        self.assertIn("Read-only file system", out)
        self.assertIn("refused", out)

    def test_strace(self):
        out = self.bash("strace -e trace=openat ls /etc/hostname /etc/passwd")
        self.assertIn('openat(AT_FDCWD, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3', out)
        self.assertIn("+++ exited with 0 +++", out)

    def test_strace_follows_children(self):
        out = self.bash("strace -f -e trace=execve,exit_group bash -c '/bin/true; /bin/echo hi | cat'")
        for program in ("bash", "true", "echo", "cat"):
            self.assertRegex(out, r'execve\("[^"]*/%s"' % program)
        self.assertIn("hi", out)

    def test_gdb_backtrace(self):
        out = self.bash("gdb -batch -ex run -ex bt /crash")
        self.assertIn("received signal SIGSEGV", out)
        self.assertRegex(out, r"#0 .*inner \(p=0x0\)")
        self.assertRegex(out, r"#2 .*main \(")

    def test_gdb_breakpoint_and_step(self):
        out = self.bash("gdb -batch -ex 'break outer' -ex run -ex 'print n' -ex step -ex kill /crash")
        self.assertIn("Breakpoint 1, outer", out)
        self.assertIn("$1 = 0", out)
        self.assertIn("inner (p=0x0)", out)


if __name__ == "__main__":
    testing.main()
