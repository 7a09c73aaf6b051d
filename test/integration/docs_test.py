#!/usr/bin/python3
"""The generated documents say what the code says; `tools/dev docs` writes them anew."""

import os
import subprocess
import unittest

import testing


class DocsTest(unittest.TestCase):
    maxDiff = None

    def same(self, document, *command):
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        with open(document, encoding="utf-8") as file:
            self.assertEqual(file.read(), printed, "%s is out of date: run `tools/dev docs`" % document)

    def test_syscalls(self):
        self.same("docs/syscalls.md", os.environ["PRINT_DOCS"])

    def test_seccomp(self):
        self.same("docs/seccomp.md", "tools/lib/seccomp_docs", os.environ["SANDBOX_KERNEL"], os.environ["SANDBOX_GOFER"])


if __name__ == "__main__":
    testing.main()
