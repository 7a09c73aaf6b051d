"""sandboxd: run untrusted programs in sandboxes.

    with sandboxd.Client() as client:
        result = client.run(["python3", "-c", code], rootfs="/srv/rootfs", readonly=True, timeout=10)

`Client` is for threads, `AsyncClient` has the same methods for asyncio.
"""

from sandboxd.aio import AsyncClient, AsyncProcess, AsyncSandbox
from sandboxd.client import Client
from sandboxd._process import Process
from sandboxd._sandbox import Sandbox
from sandboxd.errors import (Aborted, AlreadyExists, Cancelled, DeadlineExceeded, FailedPrecondition, FieldViolation,
                             Internal, InvalidArgument, NotFound, OutOfRange, OutputLimitExceeded, PermissionDenied,
                             ProcessFailed, ResourceExhausted, RunTimeout, SandboxdError, Unavailable, Unimplemented)
from sandboxd.types import (DaemonInfo, Event, EventType, ExitStatus, LogChunk, Mount, PlatformInfo, ProcessInfo,
                            ProcessState, Result, SandboxInfo, State)

__version__ = "0.1.0"

__all__ = [
    "Aborted", "AlreadyExists", "AsyncClient", "AsyncProcess", "AsyncSandbox", "Cancelled", "Client", "DaemonInfo",
    "DeadlineExceeded", "Event", "EventType", "ExitStatus", "FailedPrecondition", "FieldViolation", "Internal",
    "InvalidArgument", "LogChunk", "Mount", "NotFound", "OutOfRange", "OutputLimitExceeded", "PermissionDenied",
    "PlatformInfo", "Process", "ProcessFailed", "ProcessInfo", "ProcessState", "ResourceExhausted", "Result",
    "RunTimeout", "Sandbox", "SandboxInfo", "SandboxdError", "State", "Unavailable", "Unimplemented",
]
