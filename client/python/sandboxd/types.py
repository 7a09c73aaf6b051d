"""Values of the public API as Python sees them. Each has the message that it was made from as `proto`."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from typing import Any, Dict, Optional, Sequence, Tuple

from sandboxd import errors
from sandboxd.v1 import daemon_pb2, process_pb2, sandbox_pb2, types_pb2


def _time(stamp: Any) -> Optional[datetime.datetime]:
    if stamp.seconds == 0 and stamp.nanos == 0:
        return None
    return stamp.ToDatetime().replace(tzinfo=datetime.timezone.utc)


class State(str, enum.Enum):
    """Of a sandbox."""

    UNSPECIFIED = "unspecified"
    CREATING = "creating"
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    DELETING = "deleting"


class ProcessState(str, enum.Enum):
    UNSPECIFIED = "unspecified"
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


class EventType(str, enum.Enum):
    UNSPECIFIED = "unspecified"
    #: The state at the beginning of a watch.
    EXISTING = "existing"
    #: End of the present state; what follows are changes. `sandbox` is None.
    BOOKMARK = "bookmark"
    CREATED = "created"
    STARTED = "started"
    PAUSED = "paused"
    RESUMED = "resumed"
    STOPPED = "stopped"
    DELETED = "deleted"
    PROCESS_STARTED = "process_started"
    PROCESS_EXITED = "process_exited"
    UPDATED = "updated"


def _enum(kind: Any, descriptor: Any, prefix: str, number: int) -> Any:
    try:
        return kind(descriptor.Name(number)[len(prefix):].lower())
    except ValueError:
        return kind("unspecified")  # of a newer daemon; `proto` has the number


@dataclasses.dataclass(frozen=True)
class ExitStatus:
    """How a process ended."""

    code: int = 0
    #: The Linux number of the signal that ended it, or 0.
    signal: int = 0
    core_dumped: bool = False
    oom_killed: bool = False
    message: str = ""
    #: The application kernel itself was lost, and the process with it.
    kernel_lost: bool = False

    @property
    def returncode(self) -> int:
        """As `subprocess` has it: the exit code, or minus the number of the signal."""
        return -self.signal if self.signal else self.code

    @property
    def ok(self) -> bool:
        return self.returncode == 0

    def __str__(self) -> str:
        text = "killed by signal %d" % self.signal if self.signal else "exit status %d" % self.code
        if self.oom_killed:
            text += ", out of memory"
        return text + (": " + self.message if self.message else "")

    @classmethod
    def from_proto(cls, proto: types_pb2.ExitStatus) -> "ExitStatus":
        return cls(proto.code, proto.signal, proto.core_dumped, proto.oom_killed, proto.message, proto.kernel_lost)


@dataclasses.dataclass(frozen=True)
class Result:
    """A program's whole output and how it ended."""

    exit: ExitStatus
    stdout: bytes = b""
    stderr: bytes = b""
    args: Tuple[str, ...] = ()

    @property
    def returncode(self) -> int:
        return self.exit.returncode

    @property
    def text(self) -> str:
        """stdout as text; what is not UTF-8 is replaced."""
        return self.stdout.decode(errors="replace")

    @property
    def error_text(self) -> str:
        return self.stderr.decode(errors="replace")

    def check(self) -> "Result":
        """Itself, or ProcessFailed if the program did not end with status 0."""
        if not self.exit.ok:
            lines = self.error_text.strip().splitlines()
            raise errors.ProcessFailed("%s: %s%s" % (" ".join(self.args) or "the program", self.exit,
                                                     "; " + lines[-1] if lines else ""), self)
        return self


@dataclasses.dataclass(frozen=True)
class Mount:
    """A file system in the container, as in the OCI runtime specification."""

    destination: str
    #: "bind" (a folder or file of the host), "tmpfs", "proc", ...
    type: str = "bind"
    source: str = ""
    options: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class ProcessInfo:
    """A process of a sandbox as the daemon described it last."""

    sandbox_id: str
    container: str
    #: Empty for a process that the application itself made.
    id: str
    state: ProcessState
    pid: int
    ppid: int
    uid: int
    command: str
    start_time: Optional[datetime.datetime]
    exit_time: Optional[datetime.datetime]
    exit: Optional[ExitStatus]
    cpu_seconds: float
    rss_bytes: int
    threads: int
    terminal: bool
    attached: bool
    proto: types_pb2.Process = dataclasses.field(repr=False)

    @classmethod
    def from_proto(cls, proto: types_pb2.Process) -> "ProcessInfo":
        return cls(proto.sandbox_id, proto.container, proto.id,
                   _enum(ProcessState, types_pb2.Process.State, "STATE_", proto.state), proto.pid, proto.ppid, proto.uid,
                   proto.command, _time(proto.start_time), _time(proto.exit_time),
                   ExitStatus.from_proto(proto.exit) if proto.HasField("exit") else None, proto.cpu_time_us / 1e6,
                   proto.rss_bytes, proto.threads, proto.terminal, proto.attached, proto)


@dataclasses.dataclass(frozen=True)
class SandboxInfo:
    """A sandbox as the daemon described it last."""

    id: str
    state: State
    labels: Dict[str, str]
    annotations: Dict[str, str]
    platform: str
    platform_reason: str
    create_time: Optional[datetime.datetime]
    start_time: Optional[datetime.datetime]
    stop_time: Optional[datetime.datetime]
    exit: Optional[ExitStatus]
    state_message: str
    revision: int
    #: What was asked for, was accepted and has no effect.
    warnings: Tuple[str, ...]
    proto: sandbox_pb2.Sandbox = dataclasses.field(repr=False)

    @classmethod
    def from_proto(cls, proto: sandbox_pb2.Sandbox) -> "SandboxInfo":
        return cls(proto.id, _enum(State, sandbox_pb2.Sandbox.State, "STATE_", proto.state), dict(proto.labels),
                   dict(proto.annotations), proto.platform.name, proto.platform.reason, _time(proto.create_time),
                   _time(proto.start_time), _time(proto.stop_time),
                   ExitStatus.from_proto(proto.exit) if proto.HasField("exit") else None, proto.state_message,
                   proto.revision, tuple(proto.warnings), proto)


@dataclasses.dataclass(frozen=True)
class Event:
    """A change of a sandbox, from Client.watch()."""

    type: EventType
    sandbox: Optional[SandboxInfo]
    process: Optional[ProcessInfo]
    time: Optional[datetime.datetime]
    #: For `watch(resume_token=...)`: go on after this event. Empty with EXISTING.
    resume_token: str
    #: With EXISTING and BOOKMARK: the daemon could not go on where the connection was lost (it was restarted), so
    #: this is the present state again, and changes in between were not seen.
    resynced: bool
    proto: sandbox_pb2.SandboxEvent = dataclasses.field(repr=False)

    @classmethod
    def from_proto(cls, proto: sandbox_pb2.SandboxEvent, resynced: bool = False) -> "Event":
        kind = _enum(EventType, sandbox_pb2.SandboxEvent.Type, "TYPE_", proto.type)
        return cls(kind, SandboxInfo.from_proto(proto.sandbox) if proto.HasField("sandbox") else None,
                   ProcessInfo.from_proto(proto.process) if proto.HasField("process") else None, _time(proto.time),
                   proto.resume_token, resynced and kind in (EventType.EXISTING, EventType.BOOKMARK), proto)


@dataclasses.dataclass(frozen=True)
class LogChunk:
    """Bytes of a process's log, not cut at lines."""

    #: "stdout" or "stderr".
    stream: str
    data: bytes
    time: Optional[datetime.datetime]
    #: Something before these bytes is missing: the log was rotated away.
    gap: bool

    @classmethod
    def from_proto(cls, proto: process_pb2.LogChunk) -> "LogChunk":
        stream = "stderr" if proto.stream == process_pb2.LogChunk.STREAM_STDERR else "stdout"
        return cls(stream, proto.data, _time(proto.time), proto.gap)


@dataclasses.dataclass(frozen=True)
class PlatformInfo:
    name: str
    available: bool
    detail: str
    is_default: bool

    @classmethod
    def from_proto(cls, proto: daemon_pb2.Platform) -> "PlatformInfo":
        return cls(proto.name, proto.available, proto.detail, proto.is_default)


@dataclasses.dataclass(frozen=True)
class DaemonInfo:
    version: str
    #: Names of what works: "create", "exec", "attach", "watch", ...
    features: Tuple[str, ...]
    start_time: Optional[datetime.datetime]
    sandboxes: int
    running_sandboxes: int
    guest_release: str
    proto: daemon_pb2.InfoResponse = dataclasses.field(repr=False)

    @classmethod
    def from_proto(cls, proto: daemon_pb2.InfoResponse) -> "DaemonInfo":
        return cls(proto.version, tuple(proto.features), _time(proto.start_time), proto.sandboxes,
                   proto.running_sandboxes, proto.guest_release, proto)
