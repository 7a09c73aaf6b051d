#!/usr/bin/python3
"""The closing line of `tools/dev test` says what happened."""

import contextlib
import io
import json
import tempfile
import unittest

import test_report
import testing

XML = """<?xml version="1.0"?>
<testsuites><testsuite name="S">
<testcase name="Good" status="run" result="completed" classname="S"/>
<testcase name="Bad" status="run" result="completed" classname="S"><failure message="x"/></testcase>
<testcase name="Absent" status="run" result="skipped" classname="S">
<skipped message="a_test.cc:5&#x0A;no /dev/kvm here&#x0A;"/></testcase>
<testcase name="DISABLED_Old" status="notrun" result="suppressed" classname="S"/>
</testsuite></testsuites>"""


class TestReportTest(unittest.TestCase):
    def closing_line(self, cases):
        out = io.StringIO()
        good = test_report.report(cases, out)
        return good, out.getvalue().splitlines()

    def test_counts_cases_and_names_the_reason_of_a_skip(self):
        good, lines = self.closing_line(test_report.cases_of_target("//a:b", "FAILED", [XML]))
        self.assertFalse(good)
        self.assertEqual("1 passed, 1 failed, 2 skipped", lines[-1])
        self.assertIn("skipped: //a:b S.Absent: no /dev/kvm here", lines)
        self.assertIn("failed: //a:b S.Bad", lines)

    def test_a_crash_counts_as_one_failure(self):
        for status in ("FAILED", "TIMEOUT", "FAILED_TO_BUILD", "NO_STATUS"):
            good, lines = self.closing_line(test_report.cases_of_target("//a:b", status, ["<testsui"]))
            self.assertFalse(good)
            self.assertEqual("0 passed, 1 failed, 0 skipped", lines[-1])

    def test_a_build_that_failed_is_a_failure(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as events:
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                status = test_report.main(events.name, "--build-failed")
        self.assertEqual((1, "0 passed, 1 failed, 0 skipped"), (status, out.getvalue().splitlines()[-1]))

    def test_shards_add_up(self):
        one = '<testsuites><testsuite><testcase name="A" classname="S"/></testsuite></testsuites>'
        cases = test_report.cases_of_target("//a:b", "PASSED", [one, one])
        self.assertEqual((True, ["2 passed, 0 failed, 0 skipped"]), self.closing_line(cases))

    def test_reads_bazel_events(self):
        events = [
            {"id": {"testResult": {"label": "//a:b", "run": 1, "shard": 1, "attempt": 1}},
             "testResult": {"testActionOutput": [{"name": "test.log", "uri": "file:///l"},
                                                 {"name": "test.xml", "uri": "file:///x%20y"}]}},
            {"id": {"testSummary": {"label": "//a:b"}}, "testSummary": {"overallStatus": "PASSED"}},
            {"id": {"targetCompleted": {"label": "//a:c"}}, "aborted": {"reason": "ANALYSIS_FAILURE"}},
        ]
        self.assertEqual({"//a:b": ("PASSED", ["/x y"]), "//a:c": ("FAILED_TO_BUILD", [])},
                         test_report.read_events(json.dumps(e) for e in events))


if __name__ == "__main__":
    testing.main()
