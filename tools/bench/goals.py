"""What the measurements are held against."""

import collections

# `native`: at most so many times native. `most`: at most so much, in the benchmark's unit.
Goal = collections.namedtuple("Goal", "name native most")

GOALS = [
    Goal("getpid", 1.5, None),
    Goal("getpid_unpatched", None, 4000),
    Goal("pread_4k", 1.0, None),
    Goal("map_touch_unmap", 2.0, None),
    Goal("fork_exit", 2.5, None),
    Goal("fork_exec", 2.5, None),
    Goal("thread_join", 3.0, None),
    Goal("busy_16", 1.1, None),
    Goal("stat", None, 400),
    Goal("open_close", None, 1200),
    Goal("idle_switches", None, 0),
    Goal("create_start_exit", None, 25),
    Goal("idle_private", None, 6),
]

# Where runsc is slower than native, we want to be so many times faster than it.
RUNSC_FACTOR = 3.0


def met(goal, results, environment, native="native"):
    """(True, False or None when it was not measured, a sentence about the limit)."""
    from arithmetic import median
    values = results.of(goal.name, environment)
    if goal.native is not None:
        limit = "≤ %g × native" % goal.native
        share = results.ratio(goal.name, environment, native)
        return (None if share is None else share <= goal.native), limit
    limit = "≤ %g %s" % (goal.most, results.units.get(goal.name, ""))
    return (None if not values else median(values) <= goal.most), limit
