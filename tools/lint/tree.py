#!/usr/bin/python3
"""Checks the shape of the tree: a README.md in each folder of ours, top-level folders as planned, no
file too long; reports long files.

usage: tree.py [ROOT]
"""

import os
import sys

import source_tree

TOP_LEVEL = {"proto", "daemon", "platform", "kernel", "gofer", "client", "tools", "test", "docs", ".ci"}

# STYLE.md, rule 3. A table or generated code may be longer; it says so in its first lines.
LOOK_AGAIN = 500
TOO_LONG = 800
TABLE_MARK = "This file is a table"

# Folders that belong to their parent and are described there.
_PART_OF_PARENT = ("testdata", "cc")
_CODE = (".h", ".cc", ".S", ".proto", ".py", ".sh", ".ts", "BUILD.bazel")


def needs_readme(folder, names):
    if not folder or folder.startswith("."):
        return False
    if any(part in _PART_OF_PARENT for part in folder.split("/")) or folder.startswith("tools/bazel/"):
        return False
    return any(n.endswith(_CODE) for n in names)


def check(root):
    problems, long_files = [], []
    for folder, names in source_tree.folders(root):
        top = folder.split("/")[0]
        if folder == top and top and top not in TOP_LEVEL:
            problems.append("%s: top-level folders are %s" % (top, " ".join(sorted(TOP_LEVEL))))
        if needs_readme(folder, names) and "README.md" not in names:
            problems.append("%s: has no README.md" % folder)
        for name in names:
            if not name.endswith(_CODE[:-1]):
                continue
            path = os.path.join(folder, name)
            text = source_tree.read(path, root)
            lines = text.count("\n")
            table = TABLE_MARK in "\n".join(text.splitlines()[:10])
            if lines > LOOK_AGAIN:
                long_files.append((lines, path, table))
            if lines > TOO_LONG and not table:
                problems.append("%s: %d lines; split it (at most %d)" % (path, lines, TOO_LONG))
    return problems, sorted(long_files, reverse=True)


def main():
    root = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else source_tree.ROOT
    problems, long_files = check(root)
    print("%d files over %d lines" % (len(long_files), LOOK_AGAIN))
    for lines, path, table in long_files:
        print("  %5d %s%s" % (lines, path, " (a table)" if table else ""))
    for problem in problems:
        print("tree: " + problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
