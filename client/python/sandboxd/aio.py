"""AsyncClient and AsyncSandbox: the methods of Client and Sandbox for asyncio.

    async with AsyncClient() as client:
        result = await client.run(["python3", "-c", code], rootfs="/srv/rootfs", timeout=10)
        async with await client.create(["sleep", "1000"], rootfs="/srv/rootfs") as box:
            await box.start()
            process = await box.exec(["seq", "10"])
            async for data in process.stdout: ...

What is not described here is as in sandboxd.client.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any, AsyncIterator, Callable, Iterable, List, Mapping, Optional, Sequence, Tuple

import grpc

from sandboxd import _channel, _requests, errors
from sandboxd._aio_process import AsyncAttachment, AsyncInput, AsyncProcess
from sandboxd._process import DEFAULT_MAX_OUTPUT
from sandboxd.types import (DaemonInfo, Event, ExitStatus, LogChunk, PlatformInfo, ProcessInfo, Result, SandboxInfo)
from sandboxd.v1 import (daemon_pb2, daemon_pb2_grpc, process_pb2, process_pb2_grpc, sandbox_pb2, sandbox_pb2_grpc,
                         types_pb2)


class AsyncClient:
    """A connection to a daemon, of one event loop; see Client."""

    def __init__(self, address: Optional[str] = None, *, timeout: Optional[float] = 60.0, reconnect: float = 10.0,
                 credentials: Optional[grpc.ChannelCredentials] = None, options: Sequence[Tuple[str, Any]] = ()):
        self.address = _requests.address_or_default(address)
        self.timeout = timeout
        self.reconnect = reconnect
        self._seen = False
        self._channel = _channel.open_aio(self.address, credentials, options)
        self._sandboxes = sandbox_pb2_grpc.SandboxServiceStub(self._channel)
        self._processes = process_pb2_grpc.ProcessServiceStub(self._channel)
        self._daemon = daemon_pb2_grpc.DaemonServiceStub(self._channel)

    async def close(self) -> None:
        await self._channel.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    def _tries(self, timeout: Optional[float], repeatable: bool) -> _channel.Tries:
        return _channel.Tries(self.address, timeout, self.reconnect if repeatable and self._seen else 0.0)

    async def _call(self, method: Callable[..., Any], request: Any, *, timeout: Optional[float] = None,
                    waits: bool = False, repeatable: bool = False) -> Any:
        if timeout is None and not waits:
            timeout = self.timeout
        tries = self._tries(timeout, repeatable)
        while True:
            started = time.monotonic()
            try:
                answer = await method(request, timeout=tries.timeout())
                self._seen = True
                return answer
            except grpc.RpcError as error:
                await asyncio.sleep(tries.failed(error, started))

    async def run(self, args: Optional[_requests.Args] = None, *, stdin: Optional[AsyncInput] = None,
                  timeout: Optional[float] = None, max_output: Optional[int] = DEFAULT_MAX_OUTPUT, check: bool = False,
                  **sandbox: Any) -> Result:
        """A cancelled run leaves no sandbox either."""
        box = await self.create(args, stdin=stdin is not None, output="stream", auto_delete=True, **sandbox)
        failed = True
        try:
            process = await self._attach(box._ref(), on_disconnect="kill", take_over=False, detach_keys=b"",
                                         output_only=stdin is None, args=args or ())
            await box.start()
            result = await process.communicate(stdin, timeout=timeout, max_output=max_output, check=check)
            failed = False
            return result
        finally:
            try:
                await asyncio.shield(box.delete(force=True))
            except errors.SandboxdError:
                if not failed:
                    raise

    async def create(self, args: Optional[_requests.Args] = None, *, rootfs: Optional[_requests.PathLike] = None,
                     bundle: Optional[_requests.PathLike] = None, timeout: Optional[float] = None,
                     **options: Any) -> "AsyncSandbox":
        request = _requests.create_request(args, rootfs=rootfs, bundle=bundle, **options)
        info = await self._call(self._sandboxes.Create, request, timeout=timeout, repeatable=True)
        return AsyncSandbox(self, request.id, SandboxInfo.from_proto(info))

    async def get(self, id: str) -> "AsyncSandbox":
        box = AsyncSandbox(self, id, None)
        await box.refresh()
        return box

    async def list(self, *, labels: Optional[Mapping[str, str]] = None,
                   states: Iterable[str] = ()) -> "List[AsyncSandbox]":
        request = _requests.list_request(labels, states)
        found: List[AsyncSandbox] = []
        while True:
            page = await self._call(self._sandboxes.List, request, repeatable=True)
            found += [AsyncSandbox(self, s.id, SandboxInfo.from_proto(s)) for s in page.sandboxes]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def delete(self, id: str, *, force: bool = False) -> bool:
        answer = await self._call(self._sandboxes.Delete, sandbox_pb2.DeleteSandboxRequest(id=id, force=force),
                                  repeatable=True)
        return answer.existed

    async def watch(self, *, ids: Sequence[str] = (), labels: Optional[Mapping[str, str]] = None,
                    resume_token: str = "", timeout: Optional[float] = None) -> AsyncIterator[Event]:
        request = sandbox_pb2.WatchSandboxesRequest(resume_token=resume_token, ids=ids, label_selector=labels or {})
        tries = self._tries(timeout, True)
        resumed = resynced = False
        while True:
            started = time.monotonic()
            call = self._sandboxes.Watch(request, timeout=tries.timeout())
            try:
                async for event in call:
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
                await asyncio.sleep(tries.failed(error, started))
                resumed = True
            finally:
                call.cancel()

    async def info(self) -> DaemonInfo:
        return DaemonInfo.from_proto(await self._call(self._daemon.Info, daemon_pb2.InfoRequest(), repeatable=True))

    async def version(self) -> str:
        return (await self._call(self._daemon.Version, daemon_pb2.VersionRequest(), repeatable=True)).version

    async def platforms(self) -> List[PlatformInfo]:
        answer = await self._call(self._daemon.ListPlatforms, daemon_pb2.ListPlatformsRequest(), repeatable=True)
        return [PlatformInfo.from_proto(p) for p in answer.platforms]

    async def _attach(self, ref: types_pb2.ProcessRef, *, timeout: Optional[float] = None, args: Sequence[str] = (),
                      forget: bool = False, **how: Any) -> AsyncProcess:
        attachment = AsyncAttachment(self._processes.Attach(timeout=timeout), self.address)
        await attachment.begin(_requests.attach_start(ref, **how))
        return AsyncProcess(self, ref, ProcessInfo.from_proto(attachment.process), attachment,
                            tuple(map(os.fspath, args)), forget)

    async def _logs(self, ref: types_pb2.ProcessRef, follow: bool, tail_lines: int,
                    since: Any) -> AsyncIterator[LogChunk]:
        call = self._processes.Logs(_requests.logs_request(ref, follow, tail_lines, since),
                                    timeout=None if follow else self.timeout)
        try:
            async for chunk in call:
                yield LogChunk.from_proto(chunk)
        except grpc.RpcError as error:
            raise errors.from_rpc(error, self.address) from None
        finally:
            call.cancel()


class AsyncSandbox:
    """A sandbox of the daemon; see Sandbox."""

    def __init__(self, client: AsyncClient, id: str, info: Optional[SandboxInfo]):
        self._client = client
        self.id = id
        #: As the daemon described it last; see refresh().
        self.info: SandboxInfo = info  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "<AsyncSandbox %s %s>" % (self.id, self.info.state.value if self.info else "")

    def _ref(self, process_id: str = "") -> types_pb2.ProcessRef:
        return types_pb2.ProcessRef(sandbox_id=self.id, process_id=process_id)

    async def _keep(self, method: Callable[..., Any], request: Any, **how: Any) -> SandboxInfo:
        self.info = SandboxInfo.from_proto(await self._client._call(method, request, **how))
        return self.info

    async def refresh(self) -> SandboxInfo:
        return await self._keep(self._client._sandboxes.Get, sandbox_pb2.GetSandboxRequest(id=self.id), repeatable=True)

    async def start(self, *, timeout: Optional[float] = None) -> "AsyncSandbox":
        await self._keep(self._client._sandboxes.Start, sandbox_pb2.StartSandboxRequest(id=self.id), timeout=timeout)
        return self

    async def wait(self, timeout: Optional[float] = None) -> ExitStatus:
        answer = await self._client._call(self._client._sandboxes.Wait, sandbox_pb2.WaitSandboxRequest(id=self.id),
                                          timeout=timeout, waits=True, repeatable=True)
        return ExitStatus.from_proto(answer.exit)

    async def signal(self, signal: _requests.Signal, *, all: bool = False) -> None:
        await self._client._call(self._client._sandboxes.Signal, sandbox_pb2.SignalSandboxRequest(
            id=self.id, signal=_requests.signal_number(signal), all=all))

    async def kill(self) -> None:
        await self.signal("KILL", all=True)

    async def delete(self, *, force: bool = False) -> bool:
        return await self._client.delete(self.id, force=force)

    async def exec(self, args: _requests.Args, *, output: str = "stream", on_disconnect: str = "kill",
                   timeout: Optional[float] = None, **options: Any) -> AsyncProcess:
        request = _requests.exec_request(self.id, args, output=output, **options)
        client = self._client
        process = await client._call(client._processes.Exec, request, timeout=timeout)
        ref = self._ref(process.id)
        unattached = AsyncProcess(client, ref, ProcessInfo.from_proto(process), args=tuple(request.process.args))
        if output != "stream":
            return unattached
        try:
            return await client._attach(ref, on_disconnect=on_disconnect, take_over=False, detach_keys=b"",
                                        output_only=not (request.stdio.stdin or request.process.terminal),
                                        args=request.process.args, forget=True)
        except (errors.SandboxdError, asyncio.CancelledError):
            await asyncio.shield(unattached._kill_quietly())
            raise

    async def run(self, args: _requests.Args, *, stdin: Optional[AsyncInput] = None, timeout: Optional[float] = None,
                  max_output: Optional[int] = DEFAULT_MAX_OUTPUT, check: bool = False, **options: Any) -> Result:
        async with await self.exec(args, stdin=stdin is not None, **options) as process:
            return await process.communicate(stdin, timeout=timeout, max_output=max_output, check=check)

    async def attach(self, process_id: str = "", *, on_disconnect: str = "detach", take_over: bool = False,
                     output_only: bool = False, detach_keys: bytes = b"",
                     timeout: Optional[float] = None) -> AsyncProcess:
        return await self._client._attach(self._ref(process_id), on_disconnect=on_disconnect, take_over=take_over,
                                          output_only=output_only, detach_keys=detach_keys, timeout=timeout)

    async def ps(self) -> List[ProcessInfo]:
        answer = await self._client._call(self._client._processes.List,
                                          process_pb2.ListProcessesRequest(sandbox_id=self.id), repeatable=True)
        return [ProcessInfo.from_proto(p) for p in answer.processes]

    async def process(self, process_id: str = "") -> AsyncProcess:
        found = [p for p in await self.ps() if p.id == (process_id or self.id)]
        if not found:
            raise errors.ProcessNotFound("sandbox %s has no process %s" % (self.id, process_id or self.id))
        return AsyncProcess(self._client, self._ref(process_id), found[0])

    async def signal_pid(self, pid: int, signal: _requests.Signal) -> None:
        await self._client._call(self._client._processes.Signal, process_pb2.SignalProcessRequest(
            process=self._ref(), pid=pid, signal=_requests.signal_number(signal)))

    def logs(self, *, follow: bool = False, tail_lines: int = 0, since: Any = None) -> AsyncIterator[LogChunk]:
        return self._client._logs(self._ref(), follow, tail_lines, since)

    def watch(self, **options: Any) -> AsyncIterator[Event]:
        return self._client.watch(ids=[self.id], **options)

    async def pause(self) -> SandboxInfo:
        return await self._keep(self._client._sandboxes.Pause, sandbox_pb2.PauseSandboxRequest(id=self.id))

    async def resume(self) -> SandboxInfo:
        return await self._keep(self._client._sandboxes.Resume, sandbox_pb2.ResumeSandboxRequest(id=self.id))

    async def update(self, *, labels: Optional[Mapping[str, str]] = None,
                     annotations: Optional[Mapping[str, str]] = None, memory: Optional[int] = None,
                     cpus: Optional[float] = None, pids: Optional[int] = None) -> SandboxInfo:
        return await self._keep(self._client._sandboxes.Update, _requests.update_request(
            self.id, labels, annotations, memory, cpus, pids))

    async def stats(self) -> sandbox_pb2.SandboxStats:
        return await self._client._call(self._client._sandboxes.Stats, sandbox_pb2.StatsSandboxRequest(id=self.id),
                                        repeatable=True)

    async def __aenter__(self) -> "AsyncSandbox":
        return self

    async def __aexit__(self, *_: Any) -> None:
        await asyncio.shield(self.delete(force=True))
