#!/usr/bin/python3
"""The TypeScript client: compiled, and its node:test tests run against a real daemon; the README's example too."""

import atexit
import functools
import os
import re
import shutil
import subprocess
import unittest

import harness
import testing

_HERE = os.path.dirname(os.path.abspath(__file__))
_MODULES = os.environ.get("NODE_MODULES", os.path.join(_HERE, "../../../tools/lib/node_modules"))
_SOURCES = os.path.dirname(_HERE)


@functools.lru_cache(maxsize=None)
def build():
    """Compiles the package and its tests, in a folder of their own, which it returns."""
    done = subprocess.run([_MODULES], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        raise unittest.SkipTest(done.stderr.strip().splitlines()[-1])
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    built = os.path.join(os.environ.get("TEST_TMPDIR", "/tmp"), "typescript-%d" % os.getpid())
    atexit.register(shutil.rmtree, built, ignore_errors=True)
    os.makedirs(built)
    os.symlink(done.stdout.strip(), os.path.join(built, "node_modules"))
    for name in ("package.json", "tsconfig.json", "copy_protos.mjs", "README.md"):
        shutil.copy(os.path.join(_SOURCES, name), built)
    for folder in ("src", "tests"):
        os.makedirs(os.path.join(built, folder))
        for name in os.listdir(os.path.join(_SOURCES, folder)):
            if name.endswith(".ts"):
                shutil.copy(os.path.join(_SOURCES, folder, name), os.path.join(built, folder))
    run(built, "node", "node_modules/typescript/bin/tsc", "-p", ".")
    run(built, "node", "copy_protos.mjs", env={**os.environ, "SANDBOXD_ROOT": os.path.abspath(os.path.join(_SOURCES, "../.."))})
    return built


def run(folder, *command, **how):
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=harness.PATIENCE * 5, check=False, **how)
    if done.returncode != 0:
        raise AssertionError("%s: status %d\n%s" % (" ".join(command), done.returncode, done.stdout))
    return done.stdout


class UnitTest(unittest.TestCase):
    def setUp(self):
        build()

    def test_errors(self):
        run(build(), "node", "--test", "dist/tests/errors.test.js")


class DaemonTest(harness.SandboxdTestCase):
    def setUp(self):
        build()
        super().setUp()

    @property
    def env(self):
        return {**self.daemon.env, "ROOTFS": self.rootfs, "SANDBOXD_TEST_PLATFORM": harness.PLATFORM}

    def test_client(self):
        print(run(build(), "node", "--test", "dist/tests/client.test.js", env=self.env))

    def test_a_daemon_that_comes_back(self):
        with subprocess.Popen(["node", "dist/tests/restart.test.js"], cwd=build(), env=self.env, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as program:
            self.assertEqual("restart\n", program.stdout.readline())
            self.daemon.kill()
            self.daemon.start()
            program.stdin.write("\n")
            program.stdin.flush()
            self.assertEqual("done\n", program.stdout.read())
            self.assertEqual(0, program.wait(harness.PATIENCE))


class ReadmeTest(harness.SandboxdTestCase):
    def setUp(self):
        build()
        super().setUp()

    def test_the_example_runs_untrusted_code_in_ten_lines(self):
        with open(os.path.join(build(), "README.md"), encoding="utf-8") as file:
            text = re.search(r"```ts\n(.*?)```", file.read(), re.DOTALL).group(1)
        self.assertLessEqual(len([line for line in text.splitlines() if line.strip()]), 10)
        rootfs = harness.debian_rootfs(os.path.join(self.daemon.folder, "debian"))
        # Where a program has it that did `npm install @sandboxd/client`: the package finds itself by its own name.
        os.makedirs(os.path.join(build(), "example"), exist_ok=True)
        with open(os.path.join(build(), "example/example.mts"), "w", encoding="utf-8") as file:
            file.write(text)
        run(build(), "node", "node_modules/typescript/bin/tsc", "--module", "NodeNext", "--target", "ES2022", "--strict", "--types", "node",
             "--skipLibCheck", "example/example.mts")
        out = run(build(), "node", "example/example.mjs", env={**self.daemon.env, "ROOTFS": rootfs})
        self.assertEqual("0 499999500000\n", out)


class PackageTest(unittest.TestCase):
    def test_what_npm_would_publish(self):
        build()
        if shutil.which("npm") is None:
            self.skipTest("there is no npm")
        files = run(build(), "npm", "pack", "--dry-run", "--ignore-scripts", "--loglevel=notice")
        for wanted in ("dist/src/index.js", "dist/src/index.d.ts", "proto/sandboxd/v1/sandbox.proto", "README.md"):
            self.assertIn(wanted, files)
        self.assertNotIn("dist/tests", files)

    def test_the_lock_file_names_no_host(self):
        with open(os.path.join(_SOURCES, "package-lock.json"), encoding="utf-8") as file:
            self.assertNotIn('"resolved"', file.read())


if __name__ == "__main__":
    testing.main()
