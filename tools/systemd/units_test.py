#!/usr/bin/python3
"""The units are what systemd-analyze understands without a word."""

import os
import shutil
import subprocess
import tempfile
import unittest

import testing

HERE = os.path.dirname(os.path.realpath(__file__))


class UnitsTest(unittest.TestCase):
    def setUp(self):
        if shutil.which("systemd-analyze") is None:
            self.skipTest("there is no systemd-analyze")

    def test_verify_says_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("sandboxd.service", "sandboxd.socket"):
                with open(os.path.join(HERE, name), encoding="utf-8") as unit:
                    # The program need not be installed here.
                    text = unit.read().replace("/usr/bin/sandboxd", "/bin/true")
                with open(os.path.join(folder, name), "w", encoding="utf-8") as unit:
                    unit.write(text)
            done = subprocess.run(["systemd-analyze", "verify", "--man=no",
                                   *(os.path.join(folder, n) for n in ("sandboxd.service", "sandboxd.socket"))],
                                  capture_output=True, text=True, check=False)
        said = [line for line in (done.stdout + done.stderr).splitlines() if "sandboxd" in line]
        self.assertEqual([], said)
        self.assertEqual(0, done.returncode, done.stderr)

    def test_sandboxes_survive_the_daemon(self):
        with open(os.path.join(HERE, "sandboxd.service"), encoding="utf-8") as unit:
            self.assertIn("\nKillMode=process\n", unit.read())

    def test_the_group_of_the_socket_is_made(self):
        with open(os.path.join(HERE, "sandboxd.socket"), encoding="utf-8") as unit:
            self.assertIn("\nSocketGroup=sandboxd\n", unit.read())
        with open(os.path.join(HERE, "sandboxd.sysusers"), encoding="utf-8") as users:
            self.assertIn("\ng sandboxd - -\n", "\n" + users.read())


if __name__ == "__main__":
    testing.main()
