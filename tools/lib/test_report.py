#!/usr/bin/python3
"""Counts test cases from a Bazel build event file and prints "N passed, N failed, N skipped".

A target's cases come from its test.xml (GoogleTest and test/util/testing.py write one). A target that
failed without naming a failed case (a crash, a timeout, a build error) counts as one failure. Names
the failures and the skips, with the reason for each skip. Exits 1 if anything failed.

usage: test_report.py EVENTS [--build-failed]    (a build that failed is a failure of its own)
"""

import collections
import json
import sys
import urllib.parse
import xml.etree.ElementTree as ElementTree

Case = collections.namedtuple("Case", "name outcome reason")  # outcome: passed, failed, skipped

# Bazel's words for a test attempt that did not fail.
_GOOD = ("PASSED", "FLAKY")


def cases_of_xml(text):
    """The cases in the text of a test.xml."""
    cases = []
    for case in ElementTree.fromstring(text).iter("testcase"):
        name = "%s.%s" % (case.get("classname") or "", case.get("name") or "")
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            cases.append(Case(name, "failed", ""))
        elif skipped is not None or case.get("status") == "notrun" or case.get("result") == "skipped":
            reason = "" if skipped is None else (skipped.get("message") or skipped.text or "")
            # GoogleTest puts "file:line" first and the message after it.
            lines = [line for line in reason.strip().splitlines() if line.strip()]
            cases.append(Case(name, "skipped", lines[-1].strip() if lines else ""))
        else:
            cases.append(Case(name, "passed", ""))
    return cases


def cases_of_target(label, status, xml_texts):
    """The cases of one target, from its status and the test.xml of each shard."""
    cases = []
    for text in xml_texts:
        try:
            cases.extend(cases_of_xml(text))
        except ElementTree.ParseError:
            pass  # cut short by a crash; the status tells
    good = status in _GOOD
    if not good and not any(c.outcome == "failed" for c in cases):
        cases.append(Case("(%s)" % status.lower(), "failed", ""))
    if good and not cases:
        cases.append(Case("(whole test)", "passed", ""))
    return [c._replace(name="%s %s" % (label, c.name)) for c in cases]


def read_events(lines):
    """{label: (status, [path of test.xml, ...])} from the lines of a build event file."""
    statuses = {}
    files = collections.defaultdict(dict)
    for line in lines:
        event = json.loads(line)
        key = event.get("id", {})
        if "testResult" in event:
            where = key["testResult"]
            for output in event["testResult"].get("testActionOutput", []):
                if output.get("name") == "test.xml":
                    # A later attempt of the same shard replaces an earlier one.
                    slot = (where.get("run", 1), where.get("shard", 1))
                    files[where["label"]][slot] = urllib.parse.unquote(output["uri"][len("file://"):])
        elif "testSummary" in event:
            statuses[key["testSummary"]["label"]] = event["testSummary"]["overallStatus"]
        elif "aborted" in event and "targetCompleted" in key:
            statuses.setdefault(key["targetCompleted"]["label"], "FAILED_TO_BUILD")
        elif "completed" in event and not event["completed"].get("success", False):
            if event["completed"].get("targetKind", "").endswith("_test rule") or "testSize" in event["completed"]:
                statuses.setdefault(key["targetCompleted"]["label"], "FAILED_TO_BUILD")
    return {label: (status, list(files[label].values())) for label, status in statuses.items()}


def report(cases, out):
    """Prints names and the closing line; returns whether nothing failed."""
    counts = collections.Counter(c.outcome for c in cases)
    for case in cases:
        if case.outcome == "skipped":
            print("skipped: %s%s" % (case.name, ": " + case.reason if case.reason else ""), file=out)
    for case in cases:
        if case.outcome == "failed":
            print("failed: %s" % case.name, file=out)
    print("%d passed, %d failed, %d skipped" % (counts["passed"], counts["failed"], counts["skipped"]), file=out)
    return counts["failed"] == 0


def main(path, *flags):
    with open(path, encoding="utf-8") as events:
        targets = read_events(events)
    cases = []
    for label in sorted(targets):
        status, paths = targets[label]
        texts = []
        for xml in paths:
            with open(xml, encoding="utf-8", errors="replace") as file:
                texts.append(file.read())
        cases.extend(cases_of_target(label, status, texts))
    if "--build-failed" in flags:
        cases.append(Case("the build (see above)", "failed", ""))
    return 0 if report(cases, sys.stdout) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
