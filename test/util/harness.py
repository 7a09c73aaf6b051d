"""A private sandboxd for an integration test, and what the test needs around it.

    class HelloTest(harness.SandboxdTestCase):
        def test_hello(self):
            done = self.run_program("echo", "hello")
            self.assertEqual((0, "hello\\n"), (done.returncode, done.stdout))

Each test gets a daemon of its own in a short temporary folder, and a busybox root file system. When the
test ends, the daemon is stopped, and the test fails if a process, a mount or a folder of a sandbox is
left behind. `self.daemon.kill()` and `self.daemon.start()` are a crash and a restart.

Where the programs are: $SANDBOXD_PREFIX (an installation, as `tools/dev install` makes it), or what
sbx_integration_test gives in $SANDBOXD_PROGRAMS. SANDBOXD_TEST_PLATFORM chooses the platform (auto); where it
doesn't work, tests skip and say why.
"""

import atexit
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

_HERE = os.path.dirname(os.path.realpath(__file__))
PLATFORM = os.environ.get("SANDBOXD_TEST_PLATFORM", "auto")

# How long a step that should take far less may take before the test gives up. Never a measurement.
PATIENCE = float(os.environ.get("SANDBOXD_TEST_PATIENCE", "60"))


# One root file system for all tests over Debian's programs, so that it is built once.
DEBIAN_PACKAGES = ("bash", "coreutils", "findutils", "gawk", "gcc", "git", "less", "libc6-dev", "make", "perl", "procps",
                   "python3", "sed", "sqlite3", "tar", "vim-tiny", "xz-utils")


# Why a platform can't be used, by its name; "" if it can. The same for all tests of a run.
_reasons = {}


class Left(AssertionError):
    """Something outlived its sandbox."""


class Programs:
    """Paths of sandboxd, sandboxctl, sandbox-kernel and sandbox-gofer."""

    NAMES = ("sandboxd", "sandboxctl", "sandbox-kernel", "sandbox-gofer")

    def __init__(self, paths):
        for name in self.NAMES:
            if name not in paths or not os.access(paths[name], os.X_OK):
                raise unittest.SkipTest("there is no program %s (build it, or set SANDBOXD_PREFIX)" % name)
        self.sandboxd, self.sandboxctl, self.kernel, self.gofer = (paths[n] for n in self.NAMES)

    @classmethod
    def find(cls):
        prefix = os.environ.get("SANDBOXD_PREFIX")
        if prefix:
            return cls({n: os.path.join(prefix, "bin" if n in ("sandboxd", "sandboxctl") else "libexec/sandboxd", n)
                        for n in cls.NAMES})
        given = os.environ.get("SANDBOXD_PROGRAMS", "").split()
        return cls({os.path.basename(p): os.path.abspath(p) for p in given})


class Reaper:
    """Runs the daemon and becomes the parent of what it leaves; see reaper.py."""

    def __init__(self):
        # In a session of its own: a signal that ends this test and its process group must not end it too,
        # because then nobody would clean up.
        self._process = subprocess.Popen(["/usr/bin/python3", os.path.join(_HERE, "reaper.py")], start_new_session=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self._process.pid

    def ask(self, timeout=None, **command):
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], timeout or PATIENCE)[0]:
            raise TimeoutError("no answer to %s" % command)
        return json.loads(self._process.stdout.readline())

    def close(self):
        if self._process is None:
            return
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._process = None


def _mounts_under(folder):
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        return [line.split()[4] for line in mounts if folder in line]


def _folders_under(folder):
    return {os.path.relpath(os.path.join(path, name), folder)
            for path, names, _ in os.walk(folder) for name in names}


def wait_until(condition, what, patience=None):
    """Polls until condition() is true; raises with `what` when that takes too long."""
    deadline = time.monotonic() + (patience or PATIENCE)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError("waited in vain until " + what)
        time.sleep(0.02)


class Daemon:
    def __init__(self, programs=None, flags=()):
        self.programs = programs or Programs.find()
        self.flags = list(flags)
        # Short: a unix socket's path has room for 107 bytes.
        self.folder = tempfile.mkdtemp(prefix="sbx-", dir="/tmp")
        os.chmod(self.folder, 0o755)  # a gofer that is not root passes through it
        self.state = os.path.join(self.folder, "state")
        self.log = os.path.join(self.folder, "sandboxd.log")
        self.address = "unix://" + os.path.join(self.folder, "s.sock")
        self.pid = None
        self._clean_state = None
        self._reaper = Reaper()
        atexit.register(self._abandon)

    @property
    def env(self):
        return {**os.environ, "SANDBOXD_ADDRESS": self.address}

    def start(self):
        argv = [self.programs.sandboxd, "--state-dir", self.state, "--listen", self.address,
                "--kernel-binary", self.programs.kernel, "--gofer-binary", self.programs.gofer] + self.flags
        self.pid = self._reaper.ask(start=argv, log=self.log, env=dict(os.environ))["pid"]

        def answers():
            if not os.path.exists("/proc/%d" % self.pid):
                raise RuntimeError("sandboxd ended at its start:\n" + self.log_text())
            return self.ctl("version").returncode == 0

        wait_until(answers, "sandboxd answers; its log:\n" + self.log_text())
        if self._clean_state is None:
            self._clean_state = _folders_under(self.state)

    def log_text(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as log:
                return log.read()[-8000:]
        except FileNotFoundError:
            return ""

    def ctl(self, *arguments, stdin="", timeout=None, check=False, text=True, env=None):
        """Runs sandboxctl to its end; its output as text, or as bytes with text=False."""
        done = subprocess.run([self.programs.sandboxctl, *arguments], input=stdin if text else (stdin or b""),
                              capture_output=True, text=text, timeout=timeout or PATIENCE, check=False,
                              errors="replace" if text else None, env={**self.env, **(env or {})})
        if check and done.returncode != 0:
            raise AssertionError("sandboxctl %s: status %d\n%s%s\nsandboxd's log:\n%s"
                                 % (" ".join(arguments), done.returncode, done.stdout, done.stderr, self.log_text()))
        return done

    def popen_ctl(self, *arguments, **kwargs):
        """sandboxctl as a running process; the caller ends it."""
        return subprocess.Popen([self.programs.sandboxctl, *arguments], env=self.env, **kwargs)

    def run(self, *command, rootfs, flags=(), **kwargs):
        """`sandboxctl run` of a command in a root file system; forwards `stdin` if that is given."""
        if "stdin" in kwargs:
            flags = (*flags, "--interactive")
        return self.ctl("run", "--platform", PLATFORM, "--rootfs", rootfs, *flags, "--", *command, **kwargs)

    def create(self, name, *command, rootfs, flags=()):
        """`sandboxctl create`; the sandbox is called `name`."""
        return self.ctl("create", "--id", name, "--platform", PLATFORM, "--rootfs", rootfs, *flags, "--", *command,
                        check=True)

    def list(self):
        """What `sandboxctl list --json` prints, as a list."""
        value = json.loads(self.ctl("list", "--json", check=True).stdout or "[]")
        return value.get("sandboxes", []) if isinstance(value, dict) else value

    def platforms(self):
        """What `sandboxctl platforms --json` prints."""
        return json.loads(self.ctl("platforms", "--json", check=True).stdout)

    def why_not(self, name):
        """Why this platform can't be used on this host, or ""."""
        if name not in _reasons:
            listed = self.platforms()
            if name == "auto":
                usable, detail = bool(listed.get("auto_platform")), listed.get("auto_reason", "")
            else:
                found = [p for p in listed["platforms"] if p["name"] == name]
                usable = bool(found) and found[0].get("available", False)
                detail = found[0].get("detail", "") if found else "this build has none of that name"
            _reasons[name] = "" if usable else "platform %s: %s" % (name, detail)
        return _reasons[name]

    def kill(self, signo=signal.SIGKILL):
        """Ends the daemon alone; the sandboxes live on."""
        os.kill(self.pid, signo)
        status = self._reaper.ask(wait=self.pid)["status"]
        self.pid = None
        return status

    def processes(self):
        """[pid, name, command line] of the daemon and everything that comes from it."""
        return self._reaper.ask(descendants=True)["processes"]

    def stop(self):
        """Stops the daemon in good order and raises Left if anything is left behind."""
        left = []
        try:
            if self.pid is not None:
                left += ["sandbox %s" % s for s in self.list()]
                status = self.kill(signal.SIGTERM)
                if status != 0:
                    left.append("sandboxd, told to stop, ended with wait status %d" % status)
            try:
                wait_until(lambda: not self.processes(), "no process is left", min(PATIENCE, 5))
            except TimeoutError:
                left += ["process %d %s (%s)" % tuple(p) for p in self.processes()]
            left += ["mount %s" % m for m in _mounts_under(self.folder)]
            left += ["folder state/%s" % f for f in sorted(_folders_under(self.state) - (self._clean_state or set()))]
            if left:
                raise Left("left behind:\n  %s\nsandboxd's log:\n%s" % ("\n  ".join(left), self.log_text()))
        finally:
            self._abandon()

    def _abandon(self):
        """Ends and removes everything, whatever state it is in."""
        atexit.unregister(self._abandon)
        self._reaper.close()
        for mount in reversed(_mounts_under(self.folder)):
            subprocess.run(["umount", "-l", mount], check=False)
        # A root file system may be mounted or bound somewhere below: never cross into it.
        if not _mounts_under(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)


def busybox_rootfs(folder):
    """Makes a busybox root file system in `folder`, which it returns."""
    tool = os.environ.get("BUSYBOX_ROOTFS", os.path.join(_HERE, "../../tools/lib/busybox_rootfs"))
    subprocess.run([tool, folder], check=True)
    return folder


def debian_rootfs(folder, include=DEBIAN_PACKAGES):
    """Unpacks a Debian root file system with these packages in `folder`, which it returns.

    It is built once and cached, which takes some time the first time; skips the test where Debian's
    packages can't be had.
    """
    done = subprocess.run([os.path.join(_HERE, "debian_rootfs"), "--include", ",".join(include), folder],
                          capture_output=True, text=True, check=False)
    if done.returncode == 77:
        raise unittest.SkipTest(done.stderr.strip().splitlines()[-1])
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return folder


class SandboxdTestCase(unittest.TestCase):
    """A test with a daemon of its own. `daemon_flags` are added to its command line."""

    daemon_flags = ()
    maxDiff = None

    def setUp(self):
        super().setUp()
        self.daemon = Daemon(flags=self.daemon_flags)
        self.addCleanup(self._stop)
        self.rootfs = busybox_rootfs(os.path.join(self.daemon.folder, "rootfs"))
        self.daemon.start()
        reason = self.daemon.why_not(PLATFORM)
        if reason:
            self.skipTest(reason)

    def _stop(self):
        outcome = getattr(self, "_outcome", None)
        if outcome is not None and not outcome.success:
            print("sandboxd's log:\n" + self.daemon.log_text(), file=sys.stderr)
        self.daemon.stop()

    def run_program(self, *command, rootfs=None, **kwargs):
        """Runs a command in a sandbox of its own: returncode, stdout, stderr."""
        return self.daemon.run(*command, rootfs=rootfs or self.rootfs, **kwargs)

    def sh(self, script, **kwargs):
        """Runs a shell script in a sandbox of its own and returns what it printed; it must succeed."""
        done = self.run_program("/bin/sh", "-c", script, **kwargs)
        self.assertEqual(0, done.returncode, "%s\n%s%s" % (script, done.stdout, done.stderr))
        return done.stdout
