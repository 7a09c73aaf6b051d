#!/usr/bin/python3
"""Checks that all C++ is formatted as .clang-format says; with --fix, formats it.

Several versions of clang-format differ in detail: Debian 12's (14) decides.
"""

import os
import subprocess
import sys

import source_tree


def main():
    fix = sys.argv[1:] == ["--fix"]
    paths = list(source_tree.files((".h", ".cc")))
    command = ["clang-format", "--style=file"] + (["-i"] if fix else ["--dry-run", "-Werror"])
    try:
        done = subprocess.run(command + paths, cwd=source_tree.ROOT, stderr=subprocess.PIPE, text=True, check=False)
    except FileNotFoundError:
        print("there is no clang-format here: run tools/dev setup first", file=sys.stderr)
        return 1
    wrong = sorted({line.split(":")[0] for line in done.stderr.splitlines() if "clang-formatted" in line})
    for path in wrong:
        print("not formatted: %s" % os.path.relpath(path), file=sys.stderr)
    if done.returncode != 0 and not wrong:
        print(done.stderr, file=sys.stderr)
    if wrong:
        print("run tools/dev fmt", file=sys.stderr)
    print("%d files %s" % (len(paths), "formatted" if fix else "looked at"))
    return 1 if done.returncode != 0 else 0


if __name__ == "__main__":
    sys.exit(main())
