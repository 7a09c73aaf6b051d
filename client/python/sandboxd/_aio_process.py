"""A process of a sandbox and its standard streams, for asyncio. The rules of reading are those of _attach.py."""

from __future__ import annotations

import asyncio
import collections
from typing import TYPE_CHECKING, Any, AsyncIterable, AsyncIterator, Deque, Dict, Iterable, Optional, Tuple, Union

import grpc

from sandboxd import _requests, errors
from sandboxd._attach import _ASIDE
from sandboxd._process import DEFAULT_MAX_OUTPUT
from sandboxd.types import ExitStatus, LogChunk, ProcessInfo, Result
from sandboxd.v1 import process_pb2, types_pb2

if TYPE_CHECKING:
    from sandboxd.aio import AsyncClient

AsyncInput = Union[bytes, str, Iterable[bytes], AsyncIterable[bytes]]


class AsyncAttachment:
    """One Attach call, of one event loop."""

    def __init__(self, call: Any, address: str):
        self._call = call
        self._address = address
        self._writing = asyncio.Lock()
        self._ready: Dict[str, Deque[Tuple[int, bytes]]] = {"stdout": collections.deque(),
                                                            "stderr": collections.deque()}
        self._sizes = {"stdout": 0, "stderr": 0}
        self._count = 0
        # The one read under way. Readers wait for it without owning it: a reader that is cancelled must not cancel it,
        # because that would end the call.
        self._reading: Optional["asyncio.Task[None]"] = None
        self._room = asyncio.Event()
        self._ended = False
        self._error: Optional[errors.SandboxdError] = None
        self.exit: Optional[ExitStatus] = None
        self.detached = False
        self.process: types_pb2.Process = types_pb2.Process()

    async def begin(self, start: process_pb2.AttachRequest) -> None:
        try:
            await self._call.write(start)
            first = await self._call.read()
            if first is grpc.aio.EOF:
                await self._raise_status()
                raise errors.Internal("the daemon ended the stream before it began")
        except asyncio.InvalidStateError:
            await self._raise_status()
            raise
        except grpc.RpcError as error:
            raise errors.from_rpc(error, self._address) from None
        except asyncio.CancelledError:
            self._call.cancel()
            raise
        self.process = first.started.process

    async def _raise_status(self) -> None:
        if await self._call.code() != grpc.StatusCode.OK:
            raise errors.from_rpc(await _status_of(self._call), self._address)

    async def read(self, stream: Optional[str]) -> Optional[Tuple[str, bytes]]:
        """The next bytes of a stream, or of whichever comes first; None at the end."""
        while True:
            found = self._take(stream)
            if found is not None:
                return found
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            if stream is not None and any(s >= _ASIDE for n, s in self._sizes.items() if n != stream):
                self._room.clear()
                await self._room.wait()
                continue
            if self._reading is None:
                self._reading = asyncio.ensure_future(self._pull())
            await asyncio.wait({self._reading})

    def _take(self, stream: Optional[str]) -> Optional[Tuple[str, bytes]]:
        if stream is None:
            full = [name for name, queue in self._ready.items() if queue]
            if not full:
                return None
            stream = min(full, key=lambda name: self._ready[name][0][0])
        if not self._ready[stream]:
            return None
        _, data = self._ready[stream].popleft()
        self._sizes[stream] -= len(data)
        self._room.set()
        return stream, data

    async def _pull(self) -> None:
        try:
            frame = await self._call.read()
            if frame is grpc.aio.EOF:
                await self._raise_status()
                if self.exit is None and not self.detached:
                    raise errors.Internal("the daemon ended the stream without the program's exit status")
                self._ended = True
            else:
                self._sort(frame)
        except grpc.RpcError as error:
            self._fail(errors.from_rpc(error, self._address))
        except errors.SandboxdError as error:
            self._fail(error)
        except asyncio.CancelledError:
            self._fail(errors.Cancelled("the streams were let go of"))
        finally:
            self._reading = None
            self._room.set()

    def _fail(self, error: errors.SandboxdError) -> None:
        self._ended, self._error = True, error

    def _sort(self, frame: process_pb2.AttachResponse) -> None:
        kind = frame.WhichOneof("frame")
        if kind in self._ready:
            data = getattr(frame, kind)
            self._ready[kind].append((self._count, data))
            self._sizes[kind] += len(data)
            self._count += 1
        elif kind == "exit":
            self.exit = ExitStatus.from_proto(frame.exit)
        elif kind == "detached":
            self.detached = True

    async def send(self, frame: process_pb2.AttachRequest) -> None:
        async with self._writing:
            try:
                await self._call.write(frame)
            except (grpc.RpcError, asyncio.InvalidStateError):
                raise BrokenPipeError("the process's streams are closed") from None

    def cancel(self) -> None:
        self._call.cancel()


async def _status_of(call: Any) -> Any:
    return grpc.aio.AioRpcError(await call.code(), await call.initial_metadata(), await call.trailing_metadata(),
                                await call.details())


class AsyncStream:
    """stdout or stderr of a process: an async iterator of bytes as they come, not cut at lines."""

    def __init__(self, attachment: AsyncAttachment, name: str):
        self._attachment = attachment
        self._name = name

    def __aiter__(self) -> "AsyncStream":
        return self

    async def __anext__(self) -> bytes:
        found = await self._attachment.read(self._name)
        if found is None:
            raise StopAsyncIteration
        return found[1]

    async def read(self) -> bytes:
        """Everything until the end."""
        return b"".join([data async for data in self])

    async def lines(self) -> AsyncIterator[bytes]:
        rest = b""
        async for data in self:
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line + b"\n"
        if rest:
            yield rest


class AsyncStdin:
    """stdin of a process. `write` waits while the program does not read."""

    def __init__(self, attachment: AsyncAttachment):
        self._attachment = attachment
        self._closed = False

    async def write(self, data: bytes) -> int:
        if self._closed:
            raise ValueError("stdin is closed")
        for frame in _requests.stdin_frames(data):
            await self._attachment.send(frame)
        return len(data)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            try:
                await self._attachment.send(_requests.CLOSE_STDIN)
            except BrokenPipeError:
                pass


class AsyncProcess:
    """A process with its streams, if it was attached; see Process."""

    def __init__(self, client: "AsyncClient", ref: types_pb2.ProcessRef, info: ProcessInfo,
                 attachment: Optional[AsyncAttachment] = None, args: Tuple[str, ...] = (), forget: bool = False):
        self._client = client
        self._ref = ref
        self._attachment = attachment
        self._args = args
        self._forget = forget
        self.info = info

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def pid(self) -> int:
        return self.info.pid

    def _attached(self) -> AsyncAttachment:
        if self._attachment is None:
            raise ValueError("this process is not attached: its output goes elsewhere (see logs())")
        return self._attachment

    @property
    def stdin(self) -> AsyncStdin:
        if not hasattr(self, "_stdin"):
            self._stdin = AsyncStdin(self._attached())
        return self._stdin

    @property
    def stdout(self) -> AsyncStream:
        return AsyncStream(self._attached(), "stdout")

    @property
    def stderr(self) -> AsyncStream:
        return AsyncStream(self._attached(), "stderr")

    async def output(self) -> AsyncIterator[Tuple[str, bytes]]:
        attachment = self._attached()
        while True:
            found = await attachment.read(None)
            if found is None:
                return
            yield found

    @property
    def exit(self) -> Optional[ExitStatus]:
        return self._attachment.exit if self._attachment is not None else None

    async def _feed(self, data: AsyncInput) -> None:
        try:
            if isinstance(data, str):
                data = data.encode()
            if isinstance(data, (bytes, bytearray, memoryview)):
                await self.stdin.write(bytes(data))
            elif hasattr(data, "__aiter__"):
                async for piece in data:  # type: ignore[union-attr]
                    await self.stdin.write(piece)
            else:
                for piece in data:  # type: ignore[union-attr]
                    await self.stdin.write(piece)
            await self.stdin.close()
        except BrokenPipeError:
            pass  # the program has ended; its exit is the answer

    async def communicate(self, input: Optional[AsyncInput] = None, *, timeout: Optional[float] = None,
                          max_output: Optional[int] = DEFAULT_MAX_OUTPUT, check: bool = False) -> Result:
        parts = {"stdout": bytearray(), "stderr": bytearray()}
        feeding = asyncio.ensure_future(self._feed(input)) if input is not None else None
        reading = asyncio.ensure_future(self._collect(parts, max_output))
        try:
            watched = {reading} if feeding is None else {reading, feeding}
            await asyncio.wait_for(self._until_read(reading, feeding, watched), timeout)
        except asyncio.TimeoutError:
            await self._kill_quietly()
            error = errors.RunTimeout("the program did not end within %g s and was killed" % timeout)
            raise self._with_output(error, parts) from None
        except errors.OutputLimitExceeded as error:
            await self._kill_quietly()
            raise self._with_output(error, parts) from None
        except errors.DeadlineExceeded as error:
            raise self._with_output(errors.RunTimeout(error.message), parts) from None
        finally:
            for task in (reading, feeding):
                if task is not None and not task.done():
                    task.cancel()
        if self.exit is None:
            raise errors.Aborted("the streams were detached before the program ended")
        if self._forget:
            await self._delete_quietly()
        result = Result(self.exit, bytes(parts["stdout"]), bytes(parts["stderr"]), self._args)
        return result.check() if check else result

    @staticmethod
    async def _until_read(reading: Any, feeding: Any, watched: Any) -> None:
        while not reading.done():
            done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            if feeding in done:
                feeding.result()  # what the source of the input raised
                watched = {reading}
        reading.result()

    async def _collect(self, parts: Any, max_output: Optional[int]) -> None:
        total = 0
        async for stream, data in self.output():
            total += len(data)
            if max_output is not None and total > max_output:
                parts[stream] += data[:len(data) - (total - max_output)]
                raise errors.OutputLimitExceeded("the program wrote more than %d bytes and was killed" % max_output)
            parts[stream] += data

    @staticmethod
    def _with_output(error: Any, parts: Any) -> Any:
        error.stdout, error.stderr = bytes(parts["stdout"]), bytes(parts["stderr"])
        return error

    async def _kill_quietly(self) -> None:
        try:
            await self.signal("KILL")
        except errors.SandboxdError:
            pass
        if self._attachment is not None:
            self._attachment.cancel()

    async def _delete_quietly(self) -> None:
        self._forget = False
        try:
            await self.delete()
        except errors.SandboxdError:
            pass  # the daemon drops old records by itself

    async def wait(self, timeout: Optional[float] = None) -> ExitStatus:
        if self.exit is not None:
            return self.exit
        answer = await self._client._call(self._client._processes.Wait,
                                          process_pb2.WaitProcessRequest(process=self._ref), timeout=timeout,
                                          waits=True, repeatable=True)
        return ExitStatus.from_proto(answer.exit)

    async def signal(self, signal: _requests.Signal) -> None:
        await self._client._call(self._client._processes.Signal, process_pb2.SignalProcessRequest(
            process=self._ref, signal=_requests.signal_number(signal)))

    async def kill(self) -> None:
        await self.signal("KILL")

    async def resize(self, rows: int, cols: int) -> None:
        await self._attached().send(process_pb2.AttachRequest(resize=types_pb2.TerminalSize(rows=rows, cols=cols)))

    def logs(self, *, follow: bool = False, tail_lines: int = 0, since: Any = None) -> AsyncIterator[LogChunk]:
        return self._client._logs(self._ref, follow, tail_lines, since)

    async def delete(self) -> None:
        await self._client._call(self._client._processes.Delete, process_pb2.DeleteProcessRequest(process=self._ref),
                                 repeatable=True)

    def detach(self) -> None:
        if self._attachment is not None:
            self._attachment.cancel()

    async def __aenter__(self) -> "AsyncProcess":
        return self

    async def __aexit__(self, *_: Any) -> None:
        if self._attachment is not None and self.exit is None:
            await asyncio.shield(self._kill_quietly())
        if self._forget:
            await asyncio.shield(self._delete_quietly())
