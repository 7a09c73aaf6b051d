"""What a group of host processes uses, from /proc alone."""

import glob
import os


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def parents():
    """{pid: parent's pid} of every process."""
    found = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        text = _read(path)
        if text:
            found[int(path.split("/")[2])] = int(text.rpartition(")")[2].split()[1])
    return found


def descendants(root, known=None):
    """The processes below `root`, without it."""
    known = parents() if known is None else known
    found, fresh = [], {root}
    while fresh:
        fresh = {pid for pid, parent in known.items() if parent in fresh}
        found += fresh
    return sorted(found)


def status_fields(text):
    """{field: first number} of a /proc status or smaps_rollup."""
    fields = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            fields[name.strip()] = int(words[0])
    return fields


def switches(pids):
    """(voluntary, involuntary) context switches of all threads so far."""
    voluntary = involuntary = 0
    for pid in pids:
        for path in glob.glob("/proc/%d/task/*/status" % pid):
            fields = status_fields(_read(path))
            voluntary += fields.get("voluntary_ctxt_switches", 0)
            involuntary += fields.get("nonvoluntary_ctxt_switches", 0)
    return voluntary, involuntary


def cpu_ns(pids):
    """Nanoseconds on a processor, of all threads so far."""
    total = 0
    for pid in pids:
        for path in glob.glob("/proc/%d/task/*/schedstat" % pid):
            words = _read(path).split()
            total += int(words[0]) if words else 0
    return total


def memory_kib(pids):
    """(private, proportional) memory in KiB."""
    private = proportional = 0
    for pid in pids:
        fields = status_fields(_read("/proc/%d/smaps_rollup" % pid))
        private += fields.get("Private_Clean", 0) + fields.get("Private_Dirty", 0)
        proportional += fields.get("Pss", 0)
    return private, proportional


def machine():
    """What the numbers were measured on."""
    model = [line.partition(":")[2].strip() for line in _read("/proc/cpuinfo").splitlines()
             if line.startswith("model name")]
    return {"processor": model[0] if model else "?", "processors": len(os.sched_getaffinity(0)),
            "release": os.uname().release}
