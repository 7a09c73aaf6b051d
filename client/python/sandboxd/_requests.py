"""From the arguments of a method to the message of the API; the same for both flavours."""

from __future__ import annotations

import os
import signal as signals
import uuid
from typing import Any, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

from sandboxd.types import Mount
from sandboxd.v1 import process_pb2, sandbox_pb2, types_pb2

Args = Sequence[str]
Env = Union[Mapping[str, str], Iterable[str]]
#: A uid, a (uid, gid), or "user" or "user:group" as the container's /etc/passwd and /etc/group know them.
User = Union[int, Tuple[int, int], str]
#: 15, signal.SIGTERM, "TERM" or "SIGTERM".
Signal = Union[int, str]
PathLike = Union[str, "os.PathLike[str]"]

DEFAULT_ADDRESS = "unix:///run/sandboxd/sandboxd.sock"
# The largest stdin frame we send; the daemon takes 1 MiB.
STDIN_CHUNK = 256 << 10

_OUTPUTS = {"log": types_pb2.StdioSpec.OUTPUT_LOG, "stream": types_pb2.StdioSpec.OUTPUT_STREAM,
            "discard": types_pb2.StdioSpec.OUTPUT_DISCARD}
_ON_DISCONNECT = {"detach": process_pb2.AttachStart.ON_DISCONNECT_DETACH,
                  "kill": process_pb2.AttachStart.ON_DISCONNECT_KILL}


def address_or_default(address: Optional[str]) -> str:
    return address or os.environ.get("SANDBOXD_ADDRESS") or DEFAULT_ADDRESS


def generated_id() -> str:
    """An id of ours, so that a Create whose answer was lost can be repeated."""
    return "py-" + uuid.uuid4().hex[:20]


def _one_of(what: str, value: str, table: Mapping[str, Any]) -> Any:
    if value not in table:
        raise ValueError("%s is one of %s, not %r" % (what, ", ".join(sorted(table)), value))
    return table[value]


def signal_number(value: Signal) -> int:
    if isinstance(value, str):
        name = value.upper()
        found = getattr(signals, name if name.startswith("SIG") else "SIG" + name, None)
        if not isinstance(found, signals.Signals):
            raise ValueError("there is no signal %r" % value)
        return int(found)
    return int(value)


def _args(args: Args) -> List[str]:
    if isinstance(args, (str, bytes)):
        raise TypeError("args is a list of words, [\"/bin/sh\", \"-c\", %r], not a string" % args)
    return [os.fspath(a) for a in args]


def process_spec(args: Optional[Args], *, env: Optional[Env] = None, cwd: str = "", user: Optional[User] = None,
                 additional_gids: Sequence[int] = (), umask: Optional[int] = None, terminal: bool = False,
                 terminal_size: Optional[Tuple[int, int]] = None, rlimits: Optional[Mapping[str, Any]] = None,
                 capabilities: Optional[Sequence[str]] = None,
                 no_new_privileges: bool = False) -> types_pb2.ProcessSpec:
    spec = types_pb2.ProcessSpec(args=_args(args or ()), cwd=cwd, terminal=terminal, no_new_privileges=no_new_privileges)
    if isinstance(env, Mapping):
        env = ["%s=%s" % item for item in env.items()]
    elif isinstance(env, str):
        raise TypeError("env is a dict or a list of \"KEY=value\", not a string")
    spec.env.extend(env or ())
    if isinstance(user, str):
        spec.user.name = user
    elif isinstance(user, tuple):
        spec.user.uid, spec.user.gid = user
    elif user is not None:
        spec.user.uid = spec.user.gid = user
    spec.user.additional_gids.extend(additional_gids)
    if umask is not None:
        spec.user.umask = umask
    if spec.user == types_pb2.User() and user is None:
        spec.ClearField("user")
    if terminal_size:
        spec.terminal_size.rows, spec.terminal_size.cols = terminal_size
    for name, value in (rlimits or {}).items():
        soft, hard = value if isinstance(value, tuple) else (value, value)
        spec.rlimits.add(type=name if name.startswith("RLIMIT_") else "RLIMIT_" + name.upper(), soft=soft, hard=hard)
    if capabilities is not None:
        spec.capabilities.SetInParent()
        for kind in ("bounding", "effective", "permitted"):
            getattr(spec.capabilities, kind).extend(capabilities)
    return spec


def stdio_spec(output: str, stdin: bool) -> types_pb2.StdioSpec:
    return types_pb2.StdioSpec(output=_one_of("output", output, _OUTPUTS), stdin=stdin)


def create_request(args: Optional[Args], *, rootfs: Optional[PathLike] = None, bundle: Optional[PathLike] = None,
                   id: str = "", labels: Optional[Mapping[str, str]] = None,
                   annotations: Optional[Mapping[str, str]] = None, platform: str = "", readonly: bool = False,
                   exclusive: bool = False, mounts: Sequence[Mount] = (), hostname: str = "", stdin: bool = False,
                   output: str = "log", auto_delete: bool = False, strace: bool = False, memory: int = 0,
                   cpus: float = 0, pids: int = 0, spec: Optional[sandbox_pb2.SandboxSpec] = None,
                   **process: Any) -> sandbox_pb2.CreateSandboxRequest:
    request = sandbox_pb2.CreateSandboxRequest(id=id or generated_id(), labels=labels or {},
                                               annotations=annotations or {})
    if spec is not None:
        if args or rootfs or bundle or process:
            raise TypeError("a ready `spec` says everything: give it alone")
        request.spec.CopyFrom(spec)
        return request
    if (rootfs is None) == (bundle is None):
        raise TypeError("give either rootfs, a folder of the host with the container's files, or bundle, an OCI bundle")
    request.spec.platform, request.spec.strace, request.spec.auto_delete = platform, strace, auto_delete
    container = request.spec.containers.add(hostname=hostname)
    if bundle is not None:
        container.bundle_path = os.path.abspath(os.fspath(bundle))
    else:
        container.rootfs.path = os.path.abspath(os.fspath(rootfs))  # type: ignore[arg-type]
        container.rootfs.readonly, container.rootfs.exclusive = readonly, exclusive
    if args or process:
        container.process.CopyFrom(process_spec(args, **process))
    container.stdio.CopyFrom(stdio_spec(output, stdin))
    for mount in mounts:
        container.mounts.add(destination=mount.destination, type=mount.type, source=mount.source, options=mount.options)
    if memory or cpus or pids:
        request.spec.resources.memory_limit_bytes = memory
        request.spec.resources.cpu_limit_millis = int(cpus * 1000)
        request.spec.resources.pids_limit = pids
    return request


def exec_request(sandbox_id: str, args: Args, *, id: str = "", output: str = "stream", stdin: bool = False,
                 exact: bool = False, container: str = "", **process: Any) -> process_pb2.ExecRequest:
    return process_pb2.ExecRequest(sandbox_id=sandbox_id, container=container, process_id=id,
                                   process=process_spec(args, **process), stdio=stdio_spec(output, stdin), exact=exact)


def attach_start(ref: types_pb2.ProcessRef, *, on_disconnect: str, take_over: bool, output_only: bool,
                 detach_keys: bytes) -> process_pb2.AttachRequest:
    return process_pb2.AttachRequest(start=process_pb2.AttachStart(
        process=ref, on_disconnect=_one_of("on_disconnect", on_disconnect, _ON_DISCONNECT), take_over=take_over,
        output_only=output_only, detach_keys=detach_keys))


def logs_request(ref: types_pb2.ProcessRef, follow: bool, tail_lines: int, since: Any) -> process_pb2.LogsRequest:
    request = process_pb2.LogsRequest(process=ref, follow=follow, tail_lines=tail_lines)
    if since is not None:
        request.since.FromDatetime(since)
    return request


def list_request(labels: Optional[Mapping[str, str]], states: Iterable[str]) -> sandbox_pb2.ListSandboxesRequest:
    names = ["STATE_" + str(getattr(s, "value", s)).upper() for s in states]
    return sandbox_pb2.ListSandboxesRequest(label_selector=labels or {}, page_size=1000,
                                            states=[sandbox_pb2.Sandbox.State.Value(n) for n in names])


def update_request(id: str, labels: Optional[Mapping[str, str]], annotations: Optional[Mapping[str, str]],
                   memory: Optional[int], cpus: Optional[float],
                   pids: Optional[int]) -> sandbox_pb2.UpdateSandboxRequest:
    request = sandbox_pb2.UpdateSandboxRequest(id=id, labels=labels or {}, annotations=annotations or {})
    paths = request.update_mask.paths
    if labels is not None:
        paths.append("labels")
    if annotations is not None:
        paths.append("annotations")
    if memory is not None:
        request.resources.memory_limit_bytes = memory
        paths.append("resources.memory_limit_bytes")
    if cpus is not None:
        request.resources.cpu_limit_millis = int(cpus * 1000)
        paths.append("resources.cpu_limit_millis")
    if pids is not None:
        request.resources.pids_limit = pids
        paths.append("resources.pids_limit")
    return request


def stdin_frames(data: Union[bytes, bytearray, memoryview]) -> Iterable[process_pb2.AttachRequest]:
    view = memoryview(data)
    for start in range(0, len(view), STDIN_CHUNK):
        yield process_pb2.AttachRequest(stdin=bytes(view[start:start + STDIN_CHUNK]))


CLOSE_STDIN = process_pb2.AttachRequest(close_stdin=process_pb2.CloseStdin())
