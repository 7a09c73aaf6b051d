#!/usr/bin/python3
"""Prints the floor plan (docs/architecture.md) and fails on an upward dependency.

A dependency is an #include "..." line of a C++ file, or a label in a BUILD file. Code may use its own
floor and those below. Two more rules are kept here because they are about the same edges: the processes
that must stay small use no gRPC, no glog and no public API, and no folder lies outside the plan.

usage: floor_plan.py [ROOT]
"""

import ast
import collections
import os
import re
import sys

import source_tree

# The longest matching folder or file decides.
FLOORS = {
    "platform/base": 0,
    "platform/abi": 0,
    "platform/host": 0,  # wrappers of host calls
    "proto": 0,  # messages only
    "platform": 1,
    "platform/arch": 1,
    "platform/stub": 1,
    "gofer/protocol": 1,
    "platform/systrap": 2,
    "platform/ptrace": 2,
    "platform/kvm": 2,
    "platform/platform.cc": 2,  # CreatePlatform knows every platform; its declaration is below
    "platform/testing": 2,
    "gofer/server": 2,
    "gofer/client": 2,
    "kernel/creds": 3,
    "kernel/mm": 3,
    "kernel/signal": 3,
    "kernel/time": 3,
    "kernel/wait": 3,
    "kernel/vfs": 4,
    "kernel/fs": 5,
    "kernel/ipc": 5,
    "kernel/loader": 5,
    "kernel/net": 5,
    "kernel/seccomp": 5,
    "kernel/task": 6,
    "kernel/fs/cgroup": 7,
    "kernel/fs/proc": 7,
    "kernel/fs/sys": 7,
    "kernel/syscalls": 7,
    "kernel/boot": 8,
    "client": 9,
    "daemon": 9,
    "tools": 9,
    "test": 10,
}

# Flags of system libraries and build rules: every floor may name them.
_NO_FLOOR = ("tools/deps", "tools/bazel")
# Helpers for tests: a test on any floor may use them.
_TEST_HELPERS = ("test/util",)
# Folders that hold no code of the plan.
_OUTSIDE = ("docs", ".ci")

_SMALL = ("kernel", "platform", "gofer")
_HEAVY = re.compile(r'#include\s*<(grpc|grpcpp|glog|gflags)/|//tools/deps:(grpc|glog|gflags)|"(//)?proto/sandboxd')

_INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)

# `source` and `target` are folders; `unit` is the file, or the first source of the target, that has the dependency.
Edge = collections.namedtuple("Edge", "source unit target where")


def under(folder, prefixes):
    return any(folder == p or folder.startswith(p + "/") for p in prefixes)


def floor_of(path):
    """The floor of a folder or file, or None if the plan does not know it."""
    while path:
        if path in FLOORS:
            return FLOORS[path]
        path = os.path.dirname(path)
    return None


def _strings(node):
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value, part.lineno


def labels_of(build_text):
    """(label, line, first source or "") of what a BUILD file's targets depend on (not those they are visible to)."""
    labels = []
    for call in (n for n in ast.walk(ast.parse(build_text)) if isinstance(n, ast.Call)):
        sources = [v for k in call.keywords if k.arg == "srcs" for v, _ in _strings(k.value)]
        for keyword in call.keywords:
            if keyword.arg in ("visibility", "default_visibility"):
                continue
            labels += [(value, line, sources[0] if sources else "")
                       for value, line in _strings(keyword.value) if value.startswith("//")]
    return labels


def edges(root):
    for path in source_tree.files((".h", ".cc", ".S", ".inc"), root):
        text = source_tree.read(path, root)
        for match in _INCLUDE.finditer(text):
            if "/" in match.group(1):
                line = text.count("\n", 0, match.start(1)) + 1
                yield Edge(os.path.dirname(path), path, os.path.dirname(match.group(1)), "%s:%d" % (path, line))
    for path in source_tree.files(("BUILD.bazel",), root):
        folder = os.path.dirname(path)
        for label, line, source in labels_of(source_tree.read(path, root)):
            yield Edge(folder, os.path.join(folder, source), label[2:].split(":")[0], "%s:%d" % (path, line))


def check(root):
    """(problems as sentences, {(source folder, target folder)}) of the tree under root."""
    problems = []
    seen = set()
    for folder, names in source_tree.folders(root):
        has_code = any(n.endswith((".h", ".cc", ".S", ".proto", "BUILD.bazel")) for n in names)
        if folder and has_code and floor_of(folder) is None and not under(folder, _OUTSIDE):
            problems.append("%s: not on the floor plan; give it a floor in tools/lint/floor_plan.py" % folder)
    for edge in edges(root):
        if under(edge.target, _NO_FLOOR) or under(edge.target, _TEST_HELPERS):
            continue
        source, target = floor_of(edge.unit), floor_of(edge.target)
        if source is None or target is None:
            continue
        if edge.source != edge.target:
            seen.add((edge.source, edge.target))
        if target > source:
            problems.append("%s: %s (floor %d) uses %s (floor %d), which is above it"
                            % (edge.where, edge.source, source, edge.target, target))
    for path in source_tree.files((".h", ".cc", "BUILD.bazel"), root):
        if not under(path, _SMALL):
            continue
        for number, line in enumerate(source_tree.read(path, root).splitlines(), 1):
            if _HEAVY.search(line) and "visibility" not in line:
                problems.append("%s:%d: kernel, platform and gofer must not use gRPC, glog, gflags or the public API"
                                % (path, number))
    return problems, seen


def print_plan(root, seen):
    by_floor = collections.defaultdict(list)
    for folder, names in source_tree.folders(root):
        if floor_of(folder) is not None and any(n.endswith((".h", ".cc", ".proto", ".S")) for n in names):
            by_floor[floor_of(folder)].append(folder)
    for floor in sorted(by_floor, reverse=True):
        print("floor %d" % floor)
        for folder in by_floor[floor]:
            uses = sorted({t for s, t in seen if s == folder})
            print("  %-24s %s" % (folder, "uses " + " ".join(uses) if uses else "uses nothing of ours"))


def main():
    root = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else source_tree.ROOT
    problems, seen = check(root)
    print_plan(root, seen)
    for problem in problems:
        print("floor plan: " + problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
