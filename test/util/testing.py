"""unittest for tests that Bazel runs: `testing.main()` in place of `unittest.main()`.

Writes each case to $XML_OUTPUT_FILE the way GoogleTest does, so that `tools/dev test` counts cases and
skips, and prints the reason of each skip.
"""

import os
import sys
import time
import unittest
from xml.sax import saxutils


class _Result(unittest.TextTestResult):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.cases = []  # (test, seconds, kind, text); kind is "", "failure", "error" or "skipped"
        self._started = 0.0

    def startTest(self, test):
        super().startTest(test)
        self._started = time.monotonic()

    def _note(self, test, kind, text):
        self.cases.append((test, time.monotonic() - self._started, kind, text))

    def addSuccess(self, test):
        super().addSuccess(test)
        self._note(test, "", "")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._note(test, "failure", self._exc_info_to_string(err, test))

    def addError(self, test, err):
        super().addError(test, err)
        self._note(test, "error", self._exc_info_to_string(err, test))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._note(test, "skipped", reason)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._note(subtest, "failure", self._exc_info_to_string(err, test))


def _attribute(text):
    printable = "".join(c if c in "\t\n\r" or " " <= c <= "\ufffd" else "?" for c in str(text))
    return saxutils.quoteattr(printable)


def write_xml(path, cases):
    with open(path, "w", encoding="utf-8") as out:
        out.write('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites><testsuite name="unittest" tests="%d">\n'
                  % len(cases))
        for test, seconds, kind, text in cases:
            parts = test.id().split(".")
            out.write("<testcase classname=%s name=%s time=\"%.3f\"" %
                      (_attribute(parts[-2] if len(parts) > 1 else ""), _attribute(parts[-1]), seconds))
            out.write("><%s message=%s/></testcase>\n" % (kind, _attribute(text)) if kind else "/>\n")
        out.write("</testsuite></testsuites>\n")


def main(module="__main__"):
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[module])
    if len(sys.argv) > 1:
        suite = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:], sys.modules[module])
    result = unittest.TextTestRunner(verbosity=2, resultclass=_Result, stream=sys.stdout).run(suite)
    if "XML_OUTPUT_FILE" in os.environ:
        write_xml(os.environ["XML_OUTPUT_FILE"], result.cases)
    sys.exit(0 if result.wasSuccessful() and result.testsRun > 0 else 1)
