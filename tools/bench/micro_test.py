#!/usr/bin/python3
"""micro: every benchmark gives a number natively, and a broken one takes no other along."""

import os
import subprocess
import tempfile
import unittest

import arithmetic
import testing


def micro(*arguments):
    return subprocess.run([os.environ["MICRO"], *arguments], capture_output=True, text=True, check=False, timeout=250)


class MicroTest(unittest.TestCase):
    def test_every_listed_benchmark_is_measured(self):
        listed = [line.split("\t")[0] for line in micro("--list").stdout.splitlines()]
        self.assertEqual(len(listed), len(set(listed)))
        cheap = [n for n in listed if not n.startswith("busy_")]
        with tempfile.TemporaryDirectory() as folder:
            done = micro("--ms", "1", "--disk", folder, "--memory", folder, *cheap)
        values, failures = arithmetic.parse(done.stdout)
        self.assertEqual({}, failures, done.stderr)
        self.assertEqual(cheap, list(values))
        for name, (_, value) in values.items():
            self.assertGreater(value, 0, name)

    def test_one_that_fails_is_named_and_the_next_still_runs(self):
        values, failures = arithmetic.parse(micro("--ms", "1", "--disk", "/no/such/folder", "stat", "brk").stdout)
        self.assertEqual((["brk"], {"stat": "status 1"}), (list(values), failures))

    def test_programs_are_timed(self):
        values, failures = arithmetic.parse(micro("--programs", "2", "yes=true", "no=exit 3").stdout)
        self.assertEqual("ms", values["yes"][0])
        self.assertIn("no", failures)

    def test_a_wrong_flag_is_refused(self):
        self.assertEqual(2, micro("--what").returncode)


if __name__ == "__main__":
    testing.main()
