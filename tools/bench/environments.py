"""Where the benchmarks run: natively, in our sandboxes, in the peers'.

Each environment runs a program in a root file system to its end (`run`), or in the background (`start`), and can
name the host processes of what it started.
"""

import json
import os
import shutil
import subprocess
import time

import processes

PATIENCE = 600
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Unusable(Exception):
    """This environment can't be had here; the text says why."""


class Environment:
    def __init__(self, name, folder):
        self.name = name
        self.folder = os.path.join(folder, name)
        os.makedirs(self.folder, exist_ok=True)

    def command(self, rootfs, argv):
        """The host's command line that runs argv in rootfs."""
        raise NotImplementedError

    def env(self):
        return dict(os.environ)

    def run(self, rootfs, *argv):
        """subprocess.CompletedProcess, with text."""
        return subprocess.run(self.command(rootfs, argv), env=self.env(), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, errors="replace", timeout=PATIENCE, check=False)

    def start(self, rootfs, *argv):
        return subprocess.Popen(self.command(rootfs, argv), env=self.env(), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def pids(self, started):
        """The host processes that exist because of what `start` gave."""
        return processes.descendants(started.pid)

    def stop(self, started):
        """Ends what `start` gave."""
        for pid in reversed(self.pids(started)):
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        started.kill()
        started.wait()
        started.stdout.close()

    def close(self):
        pass


class Native(Environment):
    """chroot into the root file system, with a /proc and a tmpfs: the host's own cost."""

    _SCRIPT = ('mount --make-rprivate / && mount -t proc proc "$1/proc" && mount --bind /dev "$1/dev" && '
               'mount -t tmpfs tmpfs "$1/dev/shm" && r=$1 && shift && exec chroot "$r" "$@"')

    def command(self, rootfs, argv):
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "/bin/sh", "-c", self._SCRIPT, "sh",
                rootfs, "/usr/bin/env" if os.path.exists(rootfs + "/usr/bin/env") else "/bin/env", _PATH, *argv]


class Daemon:
    """A private sandboxd that the environments of our platforms share."""

    def __init__(self, programs, folder):
        self.programs = programs
        self.folder = os.path.join(folder, "sandboxd")
        os.makedirs(self.folder)
        self.address = "unix://%s/s.sock" % self.folder
        self._log = open(os.path.join(self.folder, "log"), "wb")  # pylint: disable=consider-using-with
        self._process = subprocess.Popen(  # pylint: disable=consider-using-with
            [programs["sandboxd"], "--state-dir", self.folder + "/state", "--listen", self.address, "--kernel-binary",
             programs["sandbox-kernel"], "--gofer-binary", programs["sandbox-gofer"]], stderr=self._log)
        deadline = time.monotonic() + 30
        while subprocess.run([programs["sandboxctl"], "version"], env=self.env(), capture_output=True,
                             check=False).returncode != 0:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise Unusable("sandboxd does not answer; its log is %s/log" % self.folder)
            time.sleep(0.05)

    @property
    def pid(self):
        return self._process.pid

    def env(self):
        return {**os.environ, "SANDBOXD_ADDRESS": self.address}

    def platforms(self):
        """{name: "" or why not}"""
        done = subprocess.run([self.programs["sandboxctl"], "platforms", "--json"], env=self.env(), capture_output=True,
                              text=True, check=True)
        return {p["name"]: "" if p.get("available") else p.get("detail", "unavailable")
                for p in json.loads(done.stdout)["platforms"]}

    def close(self):
        self._process.terminate()
        self._process.wait()
        self._log.close()


class Sandboxd(Environment):
    def __init__(self, platform, daemon, folder):
        super().__init__(platform, folder)
        self.platform, self.daemon = platform, daemon

    def env(self):
        return self.daemon.env()

    def command(self, rootfs, argv):
        # runsc keeps its root to itself by default too.
        return [self.daemon.programs["sandboxctl"], "run", "--platform", self.platform, "--exclusive", "--rootfs", rootfs,
                "--", *argv]

    def pids(self, started):
        return processes.descendants(self.daemon.pid)

    def stop(self, started):
        started.terminate()
        try:
            started.wait(10)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
        started.stdout.close()
        deadline = time.monotonic() + 10
        while self.pids(started) and time.monotonic() < deadline:
            time.sleep(0.05)


def bundle_config(rootfs, argv):
    mounts = [{"destination": "/proc", "type": "proc", "source": "proc"},
              {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
              {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["mode=1777"]}]
    return {"ociVersion": "1.0.2", "root": {"path": rootfs, "readonly": False}, "mounts": mounts, "hostname": "bench",
            "process": {"cwd": "/", "args": list(argv), "env": [_PATH], "user": {"uid": 0, "gid": 0}},
            "linux": {"namespaces": [{"type": t} for t in ("pid", "mount", "ipc", "uts", "network")]}}


class Oci(Environment):
    """A runtime with runc's command line."""

    def __init__(self, name, program, flags, folder):
        super().__init__(name, folder)
        self.program, self.flags = program, list(flags)
        self._count = 0

    def command(self, rootfs, argv):
        self._count += 1
        bundle = os.path.join(self.folder, "bundle%d" % self._count)
        os.makedirs(bundle)
        with open(os.path.join(bundle, "config.json"), "w", encoding="utf-8") as file:
            json.dump(bundle_config(rootfs, argv), file)
        return [self.program, "--root", self.folder + "/state", *self.flags, "run", "--bundle", bundle,
                "bench-%s-%d" % (self.name.replace(" ", "-"), self._count)]

    def stop(self, started):
        identity = "bench-%s-%d" % (self.name.replace(" ", "-"), self._count)
        base = [self.program, "--root", self.folder + "/state", *self.flags]
        subprocess.run([*base, "kill", identity, "KILL"], capture_output=True, check=False)
        try:
            started.wait(10)
        except subprocess.TimeoutExpired:
            super().stop(started)
            return
        started.stdout.close()


def find(program, given):
    """The path of a peer: what was given, or what is on PATH; None if there is none."""
    if given:
        path = os.path.abspath(given)
        if not os.access(path, os.X_OK):
            raise Unusable("%s is not a program" % given)
        return path
    return shutil.which(program)


def works(environment, rootfs):
    """"" if the environment runs a program, else why not."""
    try:
        done = environment.run(rootfs, "/bin/micro", "--list")
    except (subprocess.SubprocessError, OSError) as error:
        return str(error)
    if done.returncode == 0 and "getpid" in done.stdout:
        return ""
    lines = (done.stderr or done.stdout).strip().splitlines()
    return lines[-1][:200] if lines else "status %d" % done.returncode
