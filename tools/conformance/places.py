"""Where a test program runs: on the host's kernel, or in a sandbox.

Both see the folder of the programs as /mnt, read-only, and an empty /tmp in memory. On the host that is a set of
namespaces of its own, so that a test leaves no process, mount or file behind.
"""

import json
import os
import shutil
import signal
import subprocess
import threading

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "TMPDIR": "/tmp"}

# What a filter may take of the 128 KiB that Linux allows one argument.
_LONGEST_FILTER = 100000

_NATIVE_SETUP = """
mount --make-rprivate / && mount --bind "$TESTS" /mnt && mount -t proc proc /proc && mount -t tmpfs -o mode=1777 tmp /tmp || exit 125
ip link set lo up 2>/dev/null
cd / && exec setpriv --bounding-set=-sys_boot,-sys_time,-sys_module,-sys_rawio -- "$@"
"""


def _start(argv, env):
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env,
                            start_new_session=True)


def _words(status):
    if status < 0:
        return "signal %d (%s)" % (-status, signal.Signals(-status).name)
    if status > 128:
        return "status %d (signal %d?)" % (status, status - 128)
    return "status %d" % status


def gtest_flags(cases):
    """Cases as a filter. One too long for an argument is cut: the rest comes in a later batch."""
    joined = ":".join(cases)
    if len(joined) > _LONGEST_FILTER:
        joined = joined[:joined.rindex(":", 0, _LONGEST_FILTER)]
    return ["--gtest_color=no", "--gtest_filter=" + joined]


class Native:
    """The host's kernel: the oracle."""

    name = "native"

    def __init__(self, folder):
        self._folder = folder

    def start(self, binary, cases):
        return self._launch(["/mnt/" + binary, *gtest_flags(cases)])

    def _launch(self, argv):
        return _start(["unshare", "--mount", "--pid", "--ipc", "--uts", "--net", "--fork", "--kill-child", "--", "/bin/sh", "-c",
                       _NATIVE_SETUP, "sh", *argv], {**_ENVIRONMENT, "TESTS": self._folder})

    def list(self, binary, timeout):
        process = self._launch(["/mnt/" + binary, "--gtest_list_tests"])
        return _output(process, timeout)

    def ended(self, process):
        return _words(process.wait())

    def stop(self, process):
        _end(process)


# All that Linux 6.1 knows: the host's side of the comparison is root, too.
_CAPABILITIES = ["CAP_" + name for name in """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST
    NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE
    SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM
    BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE""".split()]


class Sandbox:
    """A sandbox of its own for every run, in a sandboxd that the caller started (harness.Daemon)."""

    def __init__(self, daemon, platform, rootfs, folder, flags=()):
        self.name = platform
        self._daemon, self._platform, self._rootfs, self._folder = daemon, platform, rootfs, folder
        self._flags = list(flags)
        self._lock = threading.Lock()
        self._count = 0
        self._names = {}

    def start(self, binary, cases):
        with self._lock:
            self._count += 1
            name = "conformance-%d" % self._count
        bundle = os.path.join(self._daemon.folder, name)
        os.mkdir(bundle)
        with open(os.path.join(bundle, "config.json"), "w", encoding="utf-8") as out:
            json.dump(self._config(["/mnt/" + binary, *gtest_flags(cases)]), out)
        process = _start([self._daemon.programs.sandboxctl, "run", "--id", name, "--platform", self._platform, "--bundle", bundle,
                          *self._flags], self._daemon.env)
        self._names[process.pid] = name
        return process

    def _config(self, arguments):
        sets = ("bounding", "effective", "permitted", "inheritable")
        return {
            "ociVersion": "1.0.2",
            "root": {"path": self._rootfs},
            "process": {"args": arguments, "cwd": "/", "env": ["%s=%s" % item for item in _ENVIRONMENT.items()],
                        "user": {"uid": 0, "gid": 0}, "capabilities": {s: _CAPABILITIES for s in sets}},
            "mounts": [{"destination": "/mnt", "type": "bind", "source": self._folder, "options": ["bind", "ro"]},
                       {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]}],
        }

    def ended(self, process):
        return _words(process.wait())

    def stop(self, process):
        running = process.poll() is None
        _end(process)
        name = self._names.pop(process.pid)
        if running:
            self._daemon.ctl("delete", "--force", name)
        shutil.rmtree(os.path.join(self._daemon.folder, name))


def _end(process):
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()
    process.stdout.close()


def _output(process, timeout):
    try:
        text, _ = process.communicate(timeout=timeout)
        return text.decode("utf-8", "replace") if process.returncode == 0 else ""
    except subprocess.TimeoutExpired:
        return ""
    finally:
        _end(process)
