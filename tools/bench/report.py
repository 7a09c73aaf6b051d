"""Results as a table for a terminal, as Markdown, and as an SVG chart. Pure functions of the numbers."""

import math
from xml.sax.saxutils import escape

from arithmetic import median, spread
from goals import GOALS, RUNSC_FACTOR, met

_STEPS = {"ns": [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns")], "us": [(1e6, "s"), (1e3, "ms"), (1, "µs")],
          "ms": [(1e3, "s"), (1, "ms")]}


def amount(value, unit):
    """1234.5, "ns" → "1.23 µs"; three digits that matter."""
    if value is None:
        return "–"
    for size, name in _STEPS.get(unit, []):
        if abs(value) >= size:
            value, unit = value / size, name
            break
    if value == 0:
        return "0 " + unit
    digits = max(0, 2 - int(math.floor(math.log10(abs(value)))))
    return "%.*f %s" % (digits, value, unit)


def times(share):
    if share is None:
        return ""
    return "%.*f×" % (2 if share < 10 else 0, share)


def cell(results, name, environment, base):
    """The median, and how many times the base's that is."""
    values = results.of(name, environment)
    if not values:
        why = results.failures.get(name, {}).get(environment)
        return "failed: " + why if why else "–"
    text = amount(median(values), results.units.get(name, ""))
    if environment != base:
        share = times(results.ratio(name, environment, base))
        text += " " + share if share else ""
    return text


def rows(results, base="native"):
    """The header and a row a benchmark, as lists of strings."""
    header = ["benchmark"] + results.environments
    return [header] + [[name] + [cell(results, name, e, base) for e in results.environments]
                       for name in results.names()]


def text_table(lines):
    widths = [max(len(row[i]) for row in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in lines) + "\n"


def markdown_table(lines):
    head, body = lines[0], lines[1:]
    out = ["| " + " | ".join(head) + " |", "|" + "|".join(["---"] + ["--:"] * (len(head) - 1)) + "|"]
    return "\n".join(out + ["| " + " | ".join(row) + " |" for row in body]) + "\n"


def goal_rows(results, environment, base="native"):
    lines = [["goal", "limit", "native", environment, "met"]]
    for goal in GOALS:
        reached, limit = met(goal, results, environment, base)
        lines.append(["%s (`%s`)" % (results.whats.get(goal.name, ""), goal.name), limit,
                      cell(results, goal.name, base, base), cell(results, goal.name, environment, base),
                      {True: "yes", False: "**no**", None: "not measured"}[reached]])
    return lines


def against_peer(results, environment, peer, base="native"):
    """Rows of the benchmarks where the peer is slower than native, with how many times faster we are."""
    lines = [["benchmark", "native", environment, peer, "faster than " + peer]]
    for name in results.names():
        slower = results.ratio(name, peer, base)
        gain = results.ratio(name, peer, environment)
        if slower is None or gain is None or slower <= 1:
            continue
        lines.append([name, cell(results, name, base, base), cell(results, name, environment, base),
                      cell(results, name, peer, base), times(gain) + ("" if gain >= RUNSC_FACTOR else " (goal 3×)")])
    return lines


def spread_line(results):
    """One sentence about how steady the numbers are."""
    spreads = [s for s in (spread(results.of(n, e)) for n in results.names() for e in results.environments)
               if s is not None]
    if not spreads:
        return "One or two rounds only: no spread is known."
    return ("Half of a benchmark's rounds lie within %.0f %% of each other in the median case, within %.0f %% in the "
            "worst tenth." % (100 * median(spreads), 100 * sorted(spreads)[int(len(spreads) * 0.9)]))


# The chart: a group of bars a benchmark, a bar an environment, its length the ratio to native, logarithmic.
_COLOURS = ["#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377"]
_LEFT, _WIDTH, _BAR, _GAP, _TOP = 170, 700, 7, 7, 58


def _position(share, low, high):
    share = min(max(share, low), high)
    return _LEFT + _WIDTH * math.log(share / low) / math.log(high / low)


def svg(results, base="native"):
    others = [e for e in results.environments if e != base]
    names = [n for n in results.names() if any(results.ratio(n, e, base) for e in others)]
    shares = [results.ratio(n, e, base) for n in names for e in others]
    shares = [s for s in shares if s]
    low = min([0.5] + [10 ** math.floor(math.log10(s)) for s in shares])
    high = max([10.0] + [10 ** math.ceil(math.log10(s)) for s in shares])
    height = _TOP + len(names) * (len(others) * _BAR + _GAP) + 30
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">'
           % (_LEFT + _WIDTH + 60, height),
           '<rect width="100%" height="100%" fill="white"/>',
           '<text x="10" y="18" font-size="14">Cost as a multiple of %s (logarithmic; shorter is better)</text>'
           % escape(base)]
    for i, environment in enumerate(others):
        x = 10 + i * 150
        out.append('<rect x="%d" y="28" width="10" height="10" fill="%s"/>' % (x, _COLOURS[i % len(_COLOURS)]))
        out.append('<text x="%d" y="37">%s</text>' % (x + 15, escape(environment)))
    tick = 10 ** math.floor(math.log10(low))
    while tick <= high * 1.0001:
        if tick >= low:
            x = _position(tick, low, high)
            out.append('<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s"/>'
                       % (x, _TOP - 4, x, height - 24, "#666" if tick == 1 else "#ddd"))
            out.append('<text x="%.1f" y="%d" text-anchor="middle">%g×</text>' % (x, height - 10, tick))
        tick *= 10
    one = _position(1, low, high)
    y = _TOP
    for name in names:
        out.append('<text x="%d" y="%.1f" text-anchor="end">%s</text>'
                   % (_LEFT - 6, y + len(others) * _BAR / 2 + 4, escape(name)))
        for i, environment in enumerate(others):
            share = results.ratio(name, environment, base)
            if share:
                x = _position(share, low, high)
                out.append('<rect x="%.1f" y="%.1f" width="%.1f" height="%d" fill="%s"><title>%s %s %s</title></rect>'
                           % (min(x, one), y, max(abs(x - one), 0.5), _BAR - 1, _COLOURS[i % len(_COLOURS)],
                              escape(name), escape(environment), times(share)))
            y += _BAR
        y += _GAP
    out.append("</svg>\n")
    return "\n".join(out)


BEGIN, END = "<!-- measured: begin (tools/dev bench --write-docs) -->", "<!-- measured: end -->"


def measured_section(results, ours, peer):
    """What tools/dev bench writes into docs/performance.md."""
    machine, settings = results.machine, results.settings
    parts = ["%s, %s processors, Linux %s; %s rounds, medians. %s\n" % (
        machine.get("processor", "?"), machine.get("processors", "?"), machine.get("release", "?"),
        settings.get("rounds", "?"), spread_line(results))]
    parts.append("### Goals, on %s\n\n%s" % (ours, markdown_table(goal_rows(results, ours))))
    if peer in results.environments:
        parts.append("### Where %s is slower than native\n\n%s"
                     % (peer, markdown_table(against_peer(results, ours, peer))))
    parts.append("### Everything\n\nThe median, and its ratio to native.\n\n" + markdown_table(rows(results)))
    parts.append("### What each benchmark does\n\n" + "\n".join(
        "* `%s`: %s" % (n, results.whats.get(n, "")) for n in results.names()) + "\n")
    return "\n".join(parts)


def replace_section(page, section):
    """The page with what is between the two markers replaced; ValueError if they are not there."""
    start, end = page.index(BEGIN) + len(BEGIN), page.index(END)
    return page[:start] + "\n" + section + page[end:]
