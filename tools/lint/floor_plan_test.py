#!/usr/bin/python3
"""The floor plan checker finds what it is there to find, and finds nothing in this tree."""

import os
import tempfile
import unittest

import floor_plan
import source_tree
import testing


class FloorPlanTest(unittest.TestCase):
    def problems(self, files):
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                    file.write(text)
            return floor_plan.check(root)[0]

    def test_downward_include_is_fine(self):
        self.assertEqual([], self.problems({"kernel/vfs/a.cc": '#include "kernel/mm/b.h"\n'}))

    def test_upward_include_is_found_with_its_line(self):
        found = self.problems({"kernel/vfs/a.cc": '#include <string>\n\n#include "kernel/task/b.h"\n'})
        self.assertEqual(1, len(found))
        self.assertIn("kernel/vfs/a.cc:3", found[0])
        self.assertIn("kernel/task (floor 6)", found[0])

    def test_upward_label_is_found(self):
        build = 'sbx_cc_library(\n    name = "mm",\n    deps = ["//kernel/vfs:mount"],\n)\n'
        found = self.problems({"kernel/mm/BUILD.bazel": build})
        self.assertEqual(1, len(found))
        self.assertIn("kernel/mm/BUILD.bazel:3", found[0])

    def test_visibility_is_no_dependency(self):
        build = 'sbx_cc_library(\n    name = "mm",\n    visibility = ["//kernel/vfs:__subpackages__"],\n)\n'
        self.assertEqual([], self.problems({"kernel/mm/BUILD.bazel": build}))

    def test_the_longest_folder_decides(self):
        self.assertEqual([], self.problems({"kernel/fs/proc/a.cc": '#include "kernel/task/b.h"\n'}))
        self.assertEqual(1, len(self.problems({"kernel/fs/tmpfs/a.cc": '#include "kernel/task/b.h"\n'})))

    def test_a_file_may_stand_above_its_folder(self):
        build = 'cc_library(\n  name = "x",\n  srcs = ["%s"],\n  deps = ["//platform/ptrace"],\n)\n'
        files = {"platform/platform.cc": '#include "platform/ptrace/p.h"\n', "platform/BUILD.bazel": build % "platform.cc"}
        self.assertEqual([], self.problems(files))
        files = {"platform/other.cc": '#include "platform/ptrace/p.h"\n', "platform/BUILD.bazel": build % "other.cc"}
        self.assertEqual(2, len(self.problems(files)))

    def test_grpc_in_a_small_process_is_found(self):
        self.assertEqual(1, len(self.problems({"kernel/boot/a.cc": "#include <grpcpp/grpcpp.h>\n"})))
        self.assertEqual([], self.problems({"daemon/a.cc": "#include <grpcpp/grpcpp.h>\n"}))

    def test_folder_outside_the_plan_is_found(self):
        self.assertEqual(1, len(self.problems({"kernel/attic/a.cc": "\n"})))

    def test_this_tree_is_clean(self):
        self.assertEqual([], floor_plan.check(source_tree.ROOT)[0])


if __name__ == "__main__":
    testing.main()
