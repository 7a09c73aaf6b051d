"""One GoogleTest program from outside: its cases, and what its output says of each while it runs.

Nothing here knows where the program runs; places.py does.
"""

import collections
import re
import selectors
import time

PASS, FAIL, SKIP, CRASH, HANG, ABSENT = "pass", "fail", "skip", "crash", "hang", "absent"

# `retried`: the outcome is that of a second run, alone; `first` is then the outcome before.
Result = collections.namedtuple("Result", "outcome seconds detail retried first", defaults=("", False, ""))

# Output lines that matter, wherever a child of the test that writes to the same pipe has put them.
_MARK = re.compile(r"\[ (?:RUN      |      OK|  FAILED |  SKIPPED) \] ([^\s,(]+)")
_RUN = "[ RUN      ] "
_VERDICTS = {"[       OK ] ": PASS, "[  FAILED  ] ": FAIL, "[  SKIPPED ] ": SKIP}
_DETAIL = 4000


def cases_of(listing):
    """Names from what --gtest_list_tests printed: "Suite.Case", disabled ones left out."""
    names, suite = [], ""
    for line in listing.splitlines():
        name = line.split("#")[0].rstrip()
        if line.startswith("  ") and suite:
            names.append(suite + name.strip())
        elif re.fullmatch(r"[\w/]+\.", name):
            suite = name
    return [n for n in names if not any(p.startswith("DISABLED_") for p in re.split(r"[./]", n))]


class Reader:
    """Follows the output of a run: `results` so far, and the case that is running."""

    def __init__(self):
        self.results = {}
        self.running = None
        self._since = 0.0
        self._text = []
        self._tail = ""

    def feed(self, text, now):
        lines = (self._tail + text).split("\n")
        self._tail = lines.pop()
        for line in lines:
            self._line(line, now)

    def _line(self, line, now):
        if _RUN in line:
            self.running, self._since, self._text = line.split(_RUN)[1].split()[0], now, []
            return
        for mark, outcome in _VERDICTS.items():
            # The summary at the end names failed cases again: by then none is running.
            if self.running and mark in line and line.split(mark)[1].split()[0].rstrip(",") == self.running:
                self._end(outcome, now)
                return
        self._text.append(line)

    def _end(self, outcome, now):
        keep = "" if outcome == PASS else "\n".join(self._text)[-_DETAIL:]
        self.results[self.running] = Result(outcome, now - self._since, keep)
        self.running = None

    def abandon(self, outcome, now, why):
        """The running case brought the program down, or does not end."""
        self._text += [self._tail, why]
        self._tail = ""
        self._end(outcome, now)


def follow(process, reader, case_limit, clock=time.monotonic):
    """Reads until the program ends or a case exceeds its limit; HANG if it did, else None.

    The limit is for one case, whatever it prints. A program that runs no case (start and end) has it too.
    """
    started = clock()
    case, since = None, started
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if selector.select(min(1.0, case_limit)):
                data = process.stdout.read1(65536)
                if not data:
                    return None
                reader.feed(data.decode("utf-8", "replace"), clock())
            progress = (reader.running, len(reader.results))
            if progress != case:
                case, since = progress, clock()
            elif clock() - since > case_limit:
                return HANG


def run_batch(place, binary, cases, case_limit):
    """Runs cases in one process; {case: Result} of those that it got to, at least one."""
    reader = Reader()
    process = place.start(binary, cases)
    try:
        hung = follow(process, reader, case_limit)
        status = "" if hung else place.ended(process)
    finally:
        place.stop(process)
    now = time.monotonic()
    if reader.running:
        why = "no end after %g s" % case_limit if hung else "the program ended: " + status
        reader.abandon(HANG if hung else CRASH, now, why)
    results = {c: r for c, r in reader.results.items() if c in cases}
    if not results:
        # It does not even begin: the first case takes the blame, so that every batch gets somewhere.
        why = "no case began within %g s" % case_limit if hung else "no case began; the program ended: " + status
        results[cases[0]] = Result(HANG if hung else CRASH, 0.0, (why + "\n" + "\n".join(reader._text))[-_DETAIL:])
    return results


def run_binary(place, binary, cases, case_limit, retries=1, give_up=10):
    """Runs all cases, as many as possible in one process, and what failed again by itself.

    After a crash or a hang the cases that were not reached go on in a new process, without the one to
    blame. After `give_up` hangs the rest counts as hung: such a binary would take hours.
    """
    results = {}
    left = list(cases)
    while left:
        if sum(r.outcome == HANG for r in results.values()) >= give_up:
            results.update({c: Result(HANG, 0.0, "not run: too many cases of this program hung") for c in left})
            break
        results.update(run_batch(place, binary, left, case_limit))
        left = [c for c in left if c not in results]
    for _ in range(retries):
        for case in [c for c in cases if results[c].outcome in (FAIL, CRASH)]:
            before = results[case]
            again = run_batch(place, binary, [case], case_limit)[case]
            results[case] = again._replace(retried=True, first=before.first or before.outcome)
    return results
