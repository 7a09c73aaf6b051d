"""What tests need that run container engines over sandboxd-oci and the shim."""

import os
import shutil
import stat
import subprocess
import unittest

import harness


def need(*programs):
    """Skips the test where one of these programs is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            raise unittest.SkipTest("there is no %s (apt install podman docker.io containerd)" % program)


def need_root():
    if os.geteuid() != 0:
        raise unittest.SkipTest("container engines need root here")


def program(variable):
    """A program of ours that Bazel hands over in an environment variable."""
    path = os.environ.get(variable)
    if not path or not os.access(path, os.X_OK):
        raise unittest.SkipTest("there is no %s (run it with Bazel)" % variable)
    return os.path.abspath(path)


def run(*argv, timeout=None, **kwargs):
    """A program to its end: returncode, stdout, stderr."""
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout or harness.PATIENCE, check=False, **kwargs)


def unmount_all(folder):
    """What an engine leaves mounted of its own storage."""
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        places = [line.split()[4] for line in mounts]
    for place in reversed(places):
        if place.startswith(folder + "/"):
            subprocess.run(["umount", "-l", place], check=False)


def write_script(path, text):
    with open(path, "w", encoding="utf-8") as script:
        script.write(text)
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return path


class OciTestCase(harness.SandboxdTestCase):
    """A daemon, and `self.runtime`: a script that is sandboxd-oci over that daemon."""

    def setUp(self):
        need_root()
        binary = program("SANDBOXD_OCI")
        super().setUp()
        self.folder = self.daemon.folder
        self.runtime = write_script(
            os.path.join(self.folder, "runtime"),
            "#!/bin/sh\nexec %s --sandboxd-address %s --platform %s \"$@\"\n" % (binary, self.daemon.address, harness.PLATFORM))
