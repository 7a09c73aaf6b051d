#!/usr/bin/python3
"""The tree checker finds a missing README, a strange folder and an endless file."""

import os
import tempfile
import unittest

import testing
import tree


class TreeTest(unittest.TestCase):
    def problems(self, files):
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                    file.write(text)
            return tree.check(root)[0]

    def test_folder_without_readme_is_found(self):
        self.assertEqual(["kernel/mm: has no README.md"], self.problems({"kernel/mm/a.cc": "\n"}))
        self.assertEqual([], self.problems({"kernel/mm/a.cc": "\n", "kernel/mm/README.md": "\n"}))

    def test_strange_top_level_folder_is_found(self):
        self.assertEqual(1, len(self.problems({"src/notes.txt": "\n"})))

    def test_endless_file_is_found_unless_it_is_a_table(self):
        readme = {"kernel/mm/README.md": "\n"}
        self.assertEqual(1, len(self.problems({"kernel/mm/a.cc": "\n" * 900, **readme})))
        self.assertEqual([], self.problems({"kernel/mm/a.cc": "// This file is a table.\n" + "\n" * 900, **readme}))


if __name__ == "__main__":
    testing.main()
