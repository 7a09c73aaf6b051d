#!/usr/bin/python3
"""The conformance driver reads GoogleTest's output, gets past crashes and hangs, and counts differences right."""

import os
import subprocess
import sys
import tempfile
import unittest

import conformance
import gtest_run
import places
import report
import testing
from gtest_run import CRASH, FAIL, HANG, PASS, SKIP, Result

LISTING = """Running main() from gtest_main.cc
PipeTest.
  Flags
  DISABLED_Later
Sizes/PipeTest.
  Reads/0  # GetParam() = 1
  Reads/small  # GetParam() = 2
DISABLED_Old.
  Case
"""

# A GoogleTest program as seen from outside: each case does what its name says. It leaves out those before a crash.
PROGRAM = """
import os, signal, sys, time
for case in [a for a in sys.argv[1:] if "filter" in a][0].split("=")[1].split(":"):
    print("[ RUN      ] " + case, flush=True)
    word = case.split(".")[1]
    if word == "Crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if word == "Hang":
        time.sleep(1000)
    if word == "FailsInCompany" and sys.argv[-1].count(":"):
        word = "Fail"
    mark = {"Fail": "[  FAILED  ] ", "Skip": "[  SKIPPED ] "}.get(word, "[       OK ] ")
    print("why " + case)
    print(mark + case + ", where GetParam() = 1 (0 ms)" if word == "Fail" else mark + case + " (0 ms)")
print("[  FAILED  ] Suite.Pass, a summary names cases again")
"""


class FakePlace:
    def __init__(self, folder):
        self._program = os.path.join(folder, "program")
        self.starts = []
        with open(self._program, "w", encoding="utf-8") as out:
            out.write(PROGRAM)

    def start(self, _, cases):
        self.starts.append(list(cases))
        return subprocess.Popen([sys.executable, self._program, *places.gtest_flags(cases)], stdout=subprocess.PIPE)

    def ended(self, process):
        return "status %d" % process.wait()

    def stop(self, process):
        process.kill()
        process.wait()
        process.stdout.close()


class ReadingTest(unittest.TestCase):
    def test_cases_of_a_listing(self):
        self.assertEqual(["PipeTest.Flags", "Sizes/PipeTest.Reads/0", "Sizes/PipeTest.Reads/small"],
                         gtest_run.cases_of(LISTING))

    def test_a_line_may_come_in_pieces_and_after_a_childs_output(self):
        reader = gtest_run.Reader()
        for piece in ("[ RUN    ", "  ] A.B\nchild says[      ", " OK ] A.B (3 ms)\n"):
            reader.feed(piece, 0.0)
        self.assertEqual({"A.B": PASS}, {c: r.outcome for c, r in reader.results.items()})

    def test_a_failure_keeps_its_output(self):
        reader = gtest_run.Reader()
        reader.feed("[ RUN      ] A.B\nx.cc:3: Failure\n[  FAILED  ] A.B (0 ms)\n[  FAILED  ] A.B\n", 0.0)
        self.assertIn("x.cc:3", reader.results["A.B"].detail)

    def test_a_filter_never_outgrows_an_argument(self):
        cases = ["Suite.Case%05d" % i for i in range(20000)]
        self.assertLess(max(len(f) for f in places.gtest_flags(cases)), 128 * 1024)


class RunningTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.place = FakePlace(folder.name)

    def outcomes(self, *words, retries=0, limit=60):
        results = gtest_run.run_binary(self.place, "program", ["Suite." + w for w in words], limit, retries)
        return {c.split(".")[1]: r.outcome for c, r in results.items()}

    def test_verdicts(self):
        self.assertEqual({"Pass": PASS, "Fail": FAIL, "Skip": SKIP}, self.outcomes("Pass", "Fail", "Skip"))

    def test_goes_on_after_a_crash(self):
        self.assertEqual({"A": PASS, "Crash": CRASH, "B": PASS}, self.outcomes("A", "Crash", "B"))
        self.assertEqual([["Suite.A", "Suite.Crash", "Suite.B"], ["Suite.B"]], self.place.starts)

    def test_goes_on_after_a_hang(self):
        self.assertEqual({"Hang": HANG, "B": PASS}, self.outcomes("Hang", "B", limit=2))

    def test_a_retry_is_alone_and_marked(self):
        results = gtest_run.run_binary(self.place, "program", ["Suite.FailsInCompany", "Suite.Fail"], 60, 1)
        self.assertEqual((PASS, True, FAIL), (results["Suite.FailsInCompany"].outcome,
                                              results["Suite.FailsInCompany"].retried, results["Suite.FailsInCompany"].first))
        self.assertEqual((FAIL, True), (results["Suite.Fail"].outcome, results["Suite.Fail"].retried))


class ReportTest(unittest.TestCase):
    NATIVE = {"p": {"S.A": Result(PASS, 0.1), "S.B": Result(PASS, 0.1), "S.C": Result(SKIP, 0.1), "S.D": Result(PASS, 0.1)}}
    INSIDE = {"p": {"S.A": Result(PASS, 0.1, "", True, FAIL), "S.B": Result(SKIP, 0.1)}}

    def test_counts_only_what_passes_natively(self):
        self.assertEqual((3, 1, 2, 1), report.row(self.NATIVE["p"], self.INSIDE["p"]))
        self.assertIn("1 of the 3 cases that pass natively pass in the sandbox: 33.3 %",
                      report.table(self.NATIVE, self.INSIDE, "title"))

    def test_names_each_difference(self):
        self.assertEqual("skip   p S.B\nabsent p S.D", report.differences(self.NATIVE, self.INSIDE))

    def test_json_round_trip(self):
        with tempfile.NamedTemporaryFile() as file:
            report.save(file.name, {"native": self.NATIVE})
            self.assertEqual({"native": self.NATIVE}, report.load(file.name))

    def test_filter_chooses_programs_and_cases(self):
        self.assertEqual(["S.A"], conformance.chosen("q,p:*A", "p", ["S.A", "S.B"]))
        self.assertEqual([], conformance.chosen("q", "p", ["S.A"]))


if __name__ == "__main__":
    testing.main()
