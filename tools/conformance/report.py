"""Native beside sandbox: which cases differ, counted per binary and in all."""

import json

from gtest_run import ABSENT, PASS, Result

_NOWHERE = Result(ABSENT, 0.0)


def differing(native, sandbox):
    """Cases that pass natively and not in the sandbox, with the sandbox's result. A skip there is a difference too."""
    return {case: sandbox.get(case, _NOWHERE) for case, result in native.items()
            if result.outcome == PASS and sandbox.get(case, _NOWHERE).outcome != PASS}


def row(native, sandbox):
    """(native passes, of these in the sandbox, differing, passes only after a retry in either)"""
    passes = sum(r.outcome == PASS for r in native.values())
    differ = len(differing(native, sandbox))
    retried = sum(r.outcome == PASS and r.retried for results in (native, sandbox) for r in results.values())
    return passes, passes - differ, differ, retried


def percentage(part, whole):
    return "%.1f %%" % (100.0 * part / whole) if whole else "-"


def table(native, sandbox, title):
    """The text of the comparison; native and sandbox are {binary: {case: Result}}."""
    rows = [(binary, *row(native[binary], sandbox.get(binary, {}))) for binary in sorted(native)]
    width = max([len(r[0]) for r in rows] + [len("total")])
    layout = "%-" + str(width) + "s %8s %8s %8s %8s"
    lines = [title, layout % ("binary", "native", "sandbox", "differs", "retried")]
    lines += [layout % r for r in rows]
    total = [sum(r[i] for r in rows) for i in range(1, 5)]
    lines.append(layout % ("total", *total))
    lines.append("%d of the %d cases that pass natively pass in the sandbox: %s"
                 % (total[1], total[0], percentage(total[1], total[0])))
    return "\n".join(lines)


def differences(native, sandbox):
    """One line for each difference: what happened instead of a pass."""
    lines = []
    for binary in sorted(native):
        for case, result in differing(native[binary], sandbox.get(binary, {})).items():
            lines.append("%-6s %s %s" % (result.outcome, binary, case))
    return "\n".join(lines)


def save(path, places):
    """{place: {binary: {case: Result}}} as JSON."""
    plain = {place: {binary: {case: result._asdict() for case, result in results.items()}
                     for binary, results in binaries.items()} for place, binaries in places.items()}
    with open(path, "w", encoding="utf-8") as out:
        json.dump(plain, out, indent=1)


def load(path):
    with open(path, encoding="utf-8") as file:
        plain = json.load(file)
    return {place: {binary: {case: Result(**result) for case, result in results.items()}
                    for binary, results in binaries.items()} for place, binaries in plain.items()}
