"""A process of a sandbox, for threads."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Iterable, Iterator, Optional, Tuple, Union

from sandboxd import _requests, errors
from sandboxd._attach import Attachment, Stdin, Stream
from sandboxd.types import ExitStatus, LogChunk, ProcessInfo, Result
from sandboxd.v1 import process_pb2, types_pb2

if TYPE_CHECKING:
    from sandboxd.client import Client

#: What `input` and `stdin` of the run methods take.
Input = Union[bytes, str, Iterable[bytes]]

DEFAULT_MAX_OUTPUT = 64 << 20


def input_frames(data: Input) -> Iterator[process_pb2.AttachRequest]:
    if isinstance(data, str):
        data = data.encode()
    for piece in [data] if isinstance(data, (bytes, bytearray, memoryview)) else data:
        yield from _requests.stdin_frames(piece)
    yield _requests.CLOSE_STDIN


class Process:
    """A process with its streams, if it was attached.

    As a context manager it is killed at the end of the block if it still runs.
    """

    def __init__(self, client: "Client", ref: types_pb2.ProcessRef, info: ProcessInfo,
                 attachment: Optional[Attachment] = None, args: Tuple[str, ...] = (), forget: bool = False):
        self._client = client
        self._ref = ref
        self._attachment = attachment
        self._args = args
        self._forget = forget
        #: As it was at its start.
        self.info = info

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def pid(self) -> int:
        """Inside the sandbox."""
        return self.info.pid

    def _attached(self) -> Attachment:
        if self._attachment is None:
            raise ValueError("this process is not attached: its output goes elsewhere (see logs())")
        return self._attachment

    @property
    def stdin(self) -> Stdin:
        if not hasattr(self, "_stdin"):
            self._stdin = Stdin(self._attached())
        return self._stdin

    @property
    def stdout(self) -> Stream:
        return Stream(self._attached(), "stdout")

    @property
    def stderr(self) -> Stream:
        return Stream(self._attached(), "stderr")

    def output(self) -> Iterator[Tuple[str, bytes]]:
        """("stdout" or "stderr", bytes) in the order in which they came."""
        attachment = self._attached()
        while True:
            found = attachment.read(None)
            if found is None:
                return
            yield found

    @property
    def exit(self) -> Optional[ExitStatus]:
        """How it ended, once its streams have been read to their end."""
        return self._attachment.exit if self._attachment is not None else None

    def communicate(self, input: Optional[Input] = None, *, timeout: Optional[float] = None,
                    max_output: Optional[int] = DEFAULT_MAX_OUTPUT, check: bool = False) -> Result:
        """Sends `input` and end of file, and reads until the process ends.

        After `timeout` seconds, or with more output than `max_output` bytes, it is killed: RunTimeout,
        OutputLimitExceeded.
        """
        attachment = self._attached()
        if input is not None:
            attachment.send_all(input_frames(input))
        parts = {"stdout": bytearray(), "stderr": bytearray()}
        timer, late = None, threading.Event()
        if timeout is not None:
            timer = threading.Timer(timeout, lambda: (late.set(), self._kill_quietly()))
            timer.daemon = True
            timer.start()
        try:
            total = 0
            for stream, data in self.output():
                total += len(data)
                if max_output is not None and total > max_output:
                    parts[stream] += data[:len(data) - (total - max_output)]
                    self._kill_quietly()
                    raise self._with_output(errors.OutputLimitExceeded(
                        "the program wrote more than %d bytes and was killed" % max_output), parts)
                parts[stream] += data
        except (errors.DeadlineExceeded, errors.Cancelled) as error:
            if late.is_set():
                raise self._late(timeout, parts) from None
            if isinstance(error, errors.DeadlineExceeded):
                raise self._with_output(errors.RunTimeout(error.message), parts) from None
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if self.exit is None:
            raise errors.Aborted("the streams were detached before the program ended")
        if late.is_set() and self.exit.signal:
            raise self._late(timeout, parts)
        if self._forget:
            self._delete_quietly()
        result = Result(self.exit, bytes(parts["stdout"]), bytes(parts["stderr"]), self._args)
        return result.check() if check else result

    def _late(self, timeout: Optional[float], parts: Any) -> errors.RunTimeout:
        return self._with_output(errors.RunTimeout("the program did not end within %g s and was killed" % timeout), parts)

    @staticmethod
    def _with_output(error: Any, parts: Any) -> Any:
        error.stdout, error.stderr = bytes(parts["stdout"]), bytes(parts["stderr"])
        return error

    def _kill_quietly(self) -> None:
        try:
            self.signal("KILL")
        except errors.SandboxdError:
            pass
        if self._attachment is not None:
            self._attachment.cancel()

    def _delete_quietly(self) -> None:
        self._forget = False
        try:
            self.delete()
        except errors.SandboxdError:
            pass  # the daemon drops old records by itself

    def wait(self, timeout: Optional[float] = None) -> ExitStatus:
        """Waits for its end. Does not read its output: a program whose output nobody reads waits too."""
        if self.exit is not None:
            return self.exit
        answer = self._client._call(self._client._processes.Wait, process_pb2.WaitProcessRequest(process=self._ref),
                                    timeout=timeout, waits=True, repeatable=True)
        return ExitStatus.from_proto(answer.exit)

    def signal(self, signal: _requests.Signal) -> None:
        self._client._call(self._client._processes.Signal, process_pb2.SignalProcessRequest(
            process=self._ref, signal=_requests.signal_number(signal)))

    def kill(self) -> None:
        self.signal("KILL")

    def resize(self, rows: int, cols: int) -> None:
        """Of its terminal."""
        self._attached().send(process_pb2.AttachRequest(resize=types_pb2.TerminalSize(rows=rows, cols=cols)))

    def logs(self, *, follow: bool = False, tail_lines: int = 0, since: Any = None) -> Iterator[LogChunk]:
        """Its log, if it was started with output="log"."""
        return self._client._logs(self._ref, follow, tail_lines, since)

    def delete(self) -> None:
        """Forgets the record of its exit. Idempotent."""
        self._client._call(self._client._processes.Delete, process_pb2.DeleteProcessRequest(process=self._ref),
                           repeatable=True)

    def detach(self) -> None:
        """Lets go of its streams. What becomes of it was said with `on_disconnect`."""
        if self._attachment is not None:
            self._attachment.cancel()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: Any) -> None:
        if self._attachment is not None and self.exit is None:
            self._kill_quietly()
        if self._forget:
            self._delete_quietly()
