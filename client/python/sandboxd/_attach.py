"""A process's standard streams over one Attach call, for threads.

Nothing is read ahead: a frame is taken from the call by whichever reader needs one, so that a slow reader slows the
program. A reader of one stream sets frames of the other aside, at most _ASIDE bytes; then it waits for the other's
reader, as with two pipes.
"""

from __future__ import annotations

import collections
import threading
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, Optional, Tuple

import grpc

from sandboxd import _requests, errors
from sandboxd.types import ExitStatus
from sandboxd.v1 import process_pb2

_ASIDE = 1 << 20
# Frames that wait to be sent; a program that does not read stops the writer here.
_UNSENT = 4


class _Frames:
    """The frames to send, as gRPC wants them: an iterator that blocks."""

    def __init__(self, first: process_pb2.AttachRequest):
        self._cond = threading.Condition()
        self._queue: Deque[process_pb2.AttachRequest] = collections.deque([first])
        self._source: Optional[Iterator[process_pb2.AttachRequest]] = None
        self._finished = False
        self._closed = False
        self.error: Optional[BaseException] = None

    def __iter__(self) -> "_Frames":
        return self

    def __next__(self) -> process_pb2.AttachRequest:
        with self._cond:
            while not self._queue and self._source is None and not self._finished and not self._closed:
                self._cond.wait()
            if self._closed:
                raise StopIteration
            if self._queue:
                self._cond.notify_all()
                return self._queue.popleft()
            source = self._source
        if source is None:
            raise StopIteration
        try:
            return next(source)
        except StopIteration:
            with self._cond:
                self._source = None
                self._cond.notify_all()
            return next(self)
        except BaseException as error:
            self.error = error
            raise

    def put(self, frame: process_pb2.AttachRequest) -> bool:
        """False: the call has ended."""
        with self._cond:
            while (len(self._queue) >= _UNSENT or self._source is not None) and not self._closed:
                self._cond.wait()
            if self._closed or self._finished:
                return False
            self._queue.append(frame)
            self._cond.notify_all()
            return True

    def put_all(self, source: Iterator[process_pb2.AttachRequest]) -> None:
        """Sends these as the program takes them, without blocking the caller."""
        with self._cond:
            self._source = source
            self._cond.notify_all()

    def close(self) -> None:
        with self._cond:
            self._closed = True
            self._cond.notify_all()


class Attachment:
    """One Attach call. Thread-safe; see the module."""

    def __init__(self, method: Callable[..., Any], start: process_pb2.AttachRequest, address: str,
                 timeout: Optional[float]):
        self._address = address
        self._frames = _Frames(start)
        self._cond = threading.Condition()
        self._ready: Dict[str, Deque[Tuple[int, bytes]]] = {"stdout": collections.deque(),
                                                            "stderr": collections.deque()}
        self._sizes = {"stdout": 0, "stderr": 0}
        self._count = 0
        self._pulling = False
        self._ended = False
        self._error: Optional[errors.SandboxdError] = None
        self.exit: Optional[ExitStatus] = None
        self.detached = False
        self._call = method(self._frames, timeout=timeout)
        self._call.add_callback(self._frames.close)
        try:
            first = next(self._call)
        except StopIteration:
            raise errors.Internal("the daemon ended the stream before it began") from None
        except grpc.RpcError as error:
            raise errors.from_rpc(error, address) from None
        self.process = first.started.process

    def read(self, stream: Optional[str]) -> Optional[Tuple[str, bytes]]:
        """The next bytes of a stream, or of whichever comes first; None at the end."""
        while True:
            with self._cond:
                while True:
                    found = self._take(stream)
                    if found is not None:
                        return found
                    if self._ended:
                        if self._error is not None:
                            raise self._error
                        return None
                    if not self._pulling and not self._must_wait(stream):
                        self._pulling = True
                        break
                    self._cond.wait()
            self._pull()

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
        self._cond.notify_all()
        return stream, data

    def _must_wait(self, stream: Optional[str]) -> bool:
        return stream is not None and any(size >= _ASIDE for name, size in self._sizes.items() if name != stream)

    def _pull(self) -> None:
        """Takes one frame from the call; only one thread does at a time."""
        frame, ended, error = None, False, None
        try:
            frame = next(self._call)
        except StopIteration:
            ended = True
        except grpc.RpcError as failed:
            ended, error = True, errors.from_rpc(failed, self._address)
            if self._frames.error is not None:
                error = errors.Cancelled("the source of stdin raised %r" % self._frames.error)
                error.__cause__ = self._frames.error
        finally:
            with self._cond:
                self._pulling = False
                if frame is not None:
                    self._sort(frame)
                if ended:
                    self._ended = True
                    if error is None and self.exit is None and not self.detached:
                        error = errors.Internal("the daemon ended the stream without the program's exit status")
                    self._error = error
                self._cond.notify_all()

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

    def send(self, frame: process_pb2.AttachRequest) -> None:
        if not self._frames.put(frame):
            raise BrokenPipeError("the process's streams are closed")

    def send_all(self, frames: Iterable[process_pb2.AttachRequest]) -> None:
        self._frames.put_all(iter(frames))

    def cancel(self) -> None:
        """Ends the call now; what it does to the process was said at its start (on_disconnect)."""
        self._frames.close()
        self._call.cancel()


class Stream:
    """stdout or stderr of a process: an iterator of bytes as they come, not cut at lines."""

    def __init__(self, attachment: Attachment, name: Optional[str]):
        self._attachment = attachment
        self._name = name

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        found = self._attachment.read(self._name)
        if found is None:
            raise StopIteration
        return found[1]

    def read(self) -> bytes:
        """Everything until the end."""
        return b"".join(self)

    def lines(self) -> Iterator[bytes]:
        """Line by line, each with its newline."""
        rest = b""
        for data in self:
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line + b"\n"
        if rest:
            yield rest


class Stdin:
    """stdin of a process. `write` waits while the program does not read."""

    def __init__(self, attachment: Attachment):
        self._attachment = attachment
        self._closed = False

    def write(self, data: bytes) -> int:
        if self._closed:
            raise ValueError("stdin is closed")
        for frame in _requests.stdin_frames(data):
            self._attachment.send(frame)
        return len(data)

    def close(self) -> None:
        """End of file for the program, after everything that was written."""
        if not self._closed:
            self._closed = True
            try:
                self._attachment.send(_requests.CLOSE_STDIN)
            except BrokenPipeError:
                pass

    def __enter__(self) -> "Stdin":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
