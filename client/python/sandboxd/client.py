"""Client and Sandbox, for threads. sandboxd.aio has the same for asyncio."""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

import grpc

from sandboxd import _channel, _requests, errors
from sandboxd._attach import Attachment
from sandboxd._process import DEFAULT_MAX_OUTPUT, Input, Process
from sandboxd._sandbox import Sandbox
from sandboxd.types import DaemonInfo, Event, LogChunk, PlatformInfo, ProcessInfo, Result, SandboxInfo
from sandboxd.v1 import (daemon_pb2, daemon_pb2_grpc, process_pb2, process_pb2_grpc, sandbox_pb2, sandbox_pb2_grpc,
                         types_pb2)


class Client:
    """A connection to a daemon. Thread-safe.

    address      else SANDBOXD_ADDRESS, else unix:///run/sandboxd/sandboxd.sock
    timeout      seconds for each call that does not say otherwise; None: as long as it takes. Calls that wait for a
                 program (wait, communicate, logs, watch) have no deadline unless they are given one.
    reconnect    for how many seconds a daemon that has answered before and is away is looked for again, by calls that
                 may be made twice; 0: not at all
    credentials  of a TLS channel, for a daemon that listens on TCP
    """

    def __init__(self, address: Optional[str] = None, *, timeout: Optional[float] = 60.0, reconnect: float = 10.0,
                 credentials: Optional[grpc.ChannelCredentials] = None, options: Sequence[Tuple[str, Any]] = ()):
        self.address = _requests.address_or_default(address)
        self.timeout = timeout
        self.reconnect = reconnect
        self._seen = False
        self._channel = _channel.open_sync(self.address, credentials, options)
        self._sandboxes = sandbox_pb2_grpc.SandboxServiceStub(self._channel)
        self._processes = process_pb2_grpc.ProcessServiceStub(self._channel)
        self._daemon = daemon_pb2_grpc.DaemonServiceStub(self._channel)

    def close(self) -> None:
        """Ends every call that is under way."""
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _tries(self, timeout: Optional[float], repeatable: bool) -> _channel.Tries:
        return _channel.Tries(self.address, timeout, self.reconnect if repeatable and self._seen else 0.0)

    def _call(self, method: Callable[..., Any], request: Any, *, timeout: Optional[float] = None, waits: bool = False,
              repeatable: bool = False) -> Any:
        if timeout is None and not waits:
            timeout = self.timeout
        tries = self._tries(timeout, repeatable)
        while True:
            started = time.monotonic()
            try:
                answer = method(request, timeout=tries.timeout())
                self._seen = True
                return answer
            except grpc.RpcError as error:
                time.sleep(tries.failed(error, started))

    def _stream(self, method: Callable[..., Any], request: Any, timeout: Optional[float]) -> Iterator[Any]:
        call = method(request, timeout=timeout)
        try:
            yield from call
        except grpc.RpcError as error:
            raise errors.from_rpc(error, self.address) from None
        finally:
            call.cancel()

    # What runs.

    def run(self, args: Optional[_requests.Args] = None, *, stdin: Optional[Input] = None,
            timeout: Optional[float] = None, max_output: Optional[int] = DEFAULT_MAX_OUTPUT, check: bool = False,
            **sandbox: Any) -> Result:
        """Runs a program in a sandbox of its own, which is gone afterwards, whatever happens.

            result = client.run(["python3", "-c", code], rootfs="/srv/rootfs", readonly=True, timeout=10)

        `timeout` is for the program: when it has passed the program is killed and RunTimeout is raised, with what it
        wrote. So is OutputLimitExceeded after `max_output` bytes (64 MiB). The other arguments are those of `create`.
        """
        box = self.create(args, stdin=stdin is not None, output="stream", auto_delete=True, **sandbox)
        failed = True
        try:
            process = self._attach(box._ref(), on_disconnect="kill", take_over=False, detach_keys=b"",
                                   output_only=stdin is None, args=args or ())
            box.start()
            result = process.communicate(stdin, timeout=timeout, max_output=max_output, check=check)
            failed = False
            return result
        finally:
            try:
                box.delete(force=True)
            except errors.SandboxdError:
                if not failed:
                    raise

    def create(self, args: Optional[_requests.Args] = None, *, rootfs: Optional[_requests.PathLike] = None,
               bundle: Optional[_requests.PathLike] = None, timeout: Optional[float] = None,
               **options: Any) -> Sandbox:
        """Prepares a sandbox; no code runs before start(). Paths of the host are made absolute.

        rootfs, readonly, exclusive   a folder with the container's files
        bundle                        instead: an OCI bundle; what else is given replaces what its config.json says
        id, labels, annotations, platform, hostname, mounts ([Mount]), strace, auto_delete
        output, stdin                 "log" (see logs()), "stream" (see attach()) or "discard"; keep stdin open
        env, cwd, user, additional_gids, umask, terminal, terminal_size, rlimits, capabilities, no_new_privileges
        memory, cpus, pids            limits: bytes, CPUs, processes
        spec                          instead of all that: a ready sandboxd.v1.sandbox_pb2.SandboxSpec
        """
        request = _requests.create_request(args, rootfs=rootfs, bundle=bundle, **options)
        info = self._call(self._sandboxes.Create, request, timeout=timeout, repeatable=True)
        return Sandbox(self, request.id, SandboxInfo.from_proto(info))

    def get(self, id: str) -> Sandbox:
        """A sandbox that exists; SandboxNotFound otherwise."""
        box = Sandbox(self, id, None)
        box.refresh()
        return box

    def list(self, *, labels: Optional[Mapping[str, str]] = None, states: Iterable[str] = ()) -> List[Sandbox]:
        """All of them, or those that have all of these labels and one of these states ("running")."""
        request = _requests.list_request(labels, states)
        found: List[Sandbox] = []
        while True:
            page = self._call(self._sandboxes.List, request, repeatable=True)
            found += [Sandbox(self, s.id, SandboxInfo.from_proto(s)) for s in page.sandboxes]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def delete(self, id: str, *, force: bool = False) -> bool:
        """Whether there was one. `force` kills it if it runs."""
        return self._call(self._sandboxes.Delete, sandbox_pb2.DeleteSandboxRequest(id=id, force=force),
                          repeatable=True).existed

    def watch(self, *, ids: Sequence[str] = (), labels: Optional[Mapping[str, str]] = None, resume_token: str = "",
              timeout: Optional[float] = None) -> Iterator[Event]:
        """Changes as they happen: first what is (EXISTING), then BOOKMARK, then changes, until the caller stops.

        With a resume token it goes on after that event, or raises WatchWindowLost. If the connection is lost and
        `reconnect` is set, it goes on where it was; where the daemon can't (it was restarted) the present state comes
        again, marked `resynced`.
        """
        request = sandbox_pb2.WatchSandboxesRequest(resume_token=resume_token, ids=ids, label_selector=labels or {})
        tries = self._tries(timeout, True)
        resumed = resynced = False
        while True:
            started = time.monotonic()
            call = self._sandboxes.Watch(request, timeout=tries.timeout())
            try:
                for event in call:
                    tries.answered(self.reconnect)
                    if event.resume_token:
                        request.resume_token = event.resume_token
                    yield Event.from_proto(event, resynced)
                return
            except grpc.RpcError as error:
                failed = errors.from_rpc(error, self.address)
                if resumed and isinstance(failed, errors.WatchWindowLost):
                    request.resume_token, resynced = "", True
                    continue
                time.sleep(tries.failed(error, started))
                resumed = True
            finally:
                call.cancel()

    # The daemon.

    def info(self) -> DaemonInfo:
        return DaemonInfo.from_proto(self._call(self._daemon.Info, daemon_pb2.InfoRequest(), repeatable=True))

    def version(self) -> str:
        return self._call(self._daemon.Version, daemon_pb2.VersionRequest(), repeatable=True).version

    def platforms(self) -> List[PlatformInfo]:
        """What works on its host, best first."""
        answer = self._call(self._daemon.ListPlatforms, daemon_pb2.ListPlatformsRequest(), repeatable=True)
        return [PlatformInfo.from_proto(p) for p in answer.platforms]

    # For Sandbox and Process.

    def _attach(self, ref: types_pb2.ProcessRef, *, timeout: Optional[float] = None, args: Sequence[str] = (),
                forget: bool = False, **how: Any) -> Process:
        attachment = Attachment(self._processes.Attach, _requests.attach_start(ref, **how), self.address, timeout)
        return Process(self, ref, ProcessInfo.from_proto(attachment.process), attachment, tuple(map(os.fspath, args)),
                       forget)

    def _logs(self, ref: types_pb2.ProcessRef, follow: bool, tail_lines: int, since: Any) -> Iterator[LogChunk]:
        request = _requests.logs_request(ref, follow, tail_lines, since)
        timeout = None if follow else self.timeout
        for chunk in self._stream(self._processes.Logs, request, timeout):
            yield LogChunk.from_proto(chunk)
