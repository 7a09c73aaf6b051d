#!/usr/bin/python3
"""tools/quickstart shows a program running and leaves nothing, from an installed tree that was moved."""

import glob
import os
import shutil
import subprocess
import tempfile
import unittest

import harness
import testing


class QuickstartTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        programs = harness.Programs.find()
        cls.prefix = tempfile.mkdtemp(prefix="sbx-prefix-", dir="/tmp")
        cls.addClassCleanup(shutil.rmtree, cls.prefix)
        os.chmod(cls.prefix, 0o755)
        os.makedirs(os.path.join(cls.prefix, "bin"))
        os.makedirs(os.path.join(cls.prefix, "libexec/sandboxd"))
        for source, target in ((programs.sandboxd, "bin/sandboxd"), (programs.sandboxctl, "bin/sandboxctl"),
                               (programs.kernel, "libexec/sandboxd/sandbox-kernel"),
                               (programs.gofer, "libexec/sandboxd/sandbox-gofer")):
            shutil.copy(source, os.path.join(cls.prefix, target))

    def quickstart(self, *arguments):
        before = set(glob.glob("/tmp/sandboxd-quickstart.*"))
        done = subprocess.run([os.path.abspath("tools/quickstart"), "--prefix", self.prefix, *arguments],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=harness.PATIENCE * 2, check=False)
        self.assertEqual(set(), set(glob.glob("/tmp/sandboxd-quickstart.*")) - before, "a folder was left")
        return done

    def test_the_demonstration_runs(self):
        done = self.quickstart()
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        self.assertIn("Hello from process 1 of a sandbox.", done.stdout)
        self.assertIn("1 4 9 16 25", done.stdout)
        self.assertIn("What to try next", done.stdout)

    def test_a_command_of_ones_own_gives_its_status(self):
        done = self.quickstart("--", "/bin/sh", "-c", "echo mine; exit 3")
        self.assertEqual(3, done.returncode, done.stdout + done.stderr)
        self.assertIn("mine\n", done.stdout)


if __name__ == "__main__":
    testing.main()
