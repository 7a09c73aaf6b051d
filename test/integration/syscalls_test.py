#!/usr/bin/python3
"""The system call tests (test/syscalls) in a sandbox: the same binaries that pass on native Linux.

One case a family, made from the files of $SANDBOXD_SYSCALL_TESTS. What failed inside is in the message.
"""

import os
import shutil

import harness
import testing


def _binaries():
    return sorted(os.path.abspath(p) for p in os.environ.get("SANDBOXD_SYSCALL_TESTS", "").split())


def _failures(output):
    """The part of GoogleTest's output that says what went wrong."""
    if "[  FAILED  ]" not in output and "Failure" not in output:
        return output[-4000:]
    lines, keep = [], False
    for line in output.splitlines():
        if line.startswith("[ RUN"):
            keep, case = True, []
        if keep:
            case.append(line)
        if line.startswith("[       OK ]") or line.startswith("[  SKIPPED ]"):
            keep = False
        if line.startswith("[  FAILED  ]") and keep:
            lines += case
            keep = False
    return "\n".join(lines)[-8000:]


class SyscallsTest(harness.SandboxdTestCase):
    def test_there_are_binaries(self):
        self.assertGreater(len(_binaries()), 10)

    def run_family(self, binary):
        name = os.path.basename(binary)
        if (harness.PLATFORM, name) in KNOWN_DEFECTS:
            self.skipTest(KNOWN_DEFECTS[harness.PLATFORM, name])
        shutil.copy(binary, os.path.join(self.rootfs, name))
        os.makedirs(os.path.join(self.rootfs, "tmp"), exist_ok=True)
        os.chmod(os.path.join(self.rootfs, "tmp"), 0o1777)
        done = self.run_program("/" + name)
        self.assertEqual(0, done.returncode, "%s\n%s" % (done.stderr, _failures(done.stdout)))


# What fails and is not mended yet, by platform and binary; docs/platforms.md tells users.
KNOWN_DEFECTS = {
    ("kvm", "call_site_test"): "defect: a fork beside busy threads and signals sometimes gets no stub on kvm",
}


def _case(binary):
    return lambda self: self.run_family(binary)


for _binary in _binaries():
    setattr(SyscallsTest, "test_" + os.path.basename(_binary)[:-len("_test")], _case(_binary))


if __name__ == "__main__":
    testing.main()
