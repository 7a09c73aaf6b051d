#!/usr/bin/python3
"""The wheel can be installed by pip, says what it needs, and is typed; the README's example runs as it stands."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import harness
import testing

WHEEL = os.path.abspath(os.environ["SANDBOXD_WHEEL"])
README = os.path.abspath(os.environ["SANDBOXD_README"])


def example():
    """The first block of Python in the README."""
    with open(README, encoding="utf-8") as file:
        return re.search(r"```python\n(.*?)```", file.read(), re.DOTALL).group(1)


class WheelTest(unittest.TestCase):
    def setUp(self):
        if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode != 0:
            self.skipTest("there is no pip for %s (Debian: python3-pip)" % sys.executable)
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def test_pip_installs_it(self):
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target",
                        self.folder, WHEEL], check=True)
        done = subprocess.run([sys.executable, "-c", "import sandboxd, importlib.metadata as m;"
                               "print(sandboxd.__file__, m.version('sandboxd') == sandboxd.__version__, m.requires('sandboxd'))"],
                              env={"PYTHONPATH": self.folder}, capture_output=True, text=True, check=True)
        self.assertTrue(done.stdout.startswith(self.folder), done.stdout)
        self.assertIn("True", done.stdout)
        self.assertIn("grpcio>=1.51", done.stdout)
        self.assertTrue(os.path.exists(os.path.join(self.folder, "sandboxd/py.typed")))
        self.assertTrue(os.path.exists(os.path.join(self.folder, "sandboxd/v1/sandbox_pb2.pyi")))

    def test_every_python_from_3_9_can_read_it(self):
        import ast
        import zipfile
        with zipfile.ZipFile(WHEEL) as wheel:
            for name in wheel.namelist():
                if name.endswith(".py"):
                    ast.parse(wheel.read(name), name, feature_version=(3, 9))


class ReadmeTest(harness.SandboxdTestCase):
    def test_the_example_runs_untrusted_code_in_ten_lines(self):
        text = example()
        self.assertLessEqual(len([line for line in text.splitlines() if line.strip()]), 10)
        rootfs = harness.debian_rootfs(os.path.join(self.daemon.folder, "debian"))
        env = {**self.daemon.env, "ROOTFS": rootfs}
        done = subprocess.run([sys.executable, "-c", text], env=env, capture_output=True, text=True,
                              timeout=harness.PATIENCE * 2, check=False)
        self.assertEqual(("", "0 499999500000\n"), (done.stderr, done.stdout))


if __name__ == "__main__":
    testing.main()
