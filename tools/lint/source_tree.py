"""The files of this repository, without what was built or cached. Works in a checkout without git."""

import os

_NOT_OURS = {".git", ".cache", "node_modules", "__pycache__"}

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))


def folders(root=ROOT):
    """(folder relative to root, "" for the root itself; sorted file names), top down."""
    for path, names, files in os.walk(root):
        relative = os.path.relpath(path, root)
        relative = "" if relative == "." else relative
        names[:] = sorted(n for n in names
                          if n not in _NOT_OURS and not (relative == "" and n.startswith("bazel-")))
        yield relative, sorted(files)


def files(suffixes, root=ROOT):
    """Paths, relative to root, of the files whose name ends with one of the suffixes."""
    for folder, names in folders(root):
        for name in names:
            if name.endswith(suffixes):
                yield os.path.join(folder, name)


def read(path, root=ROOT):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
        return file.read()
