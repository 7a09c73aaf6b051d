"""A sandbox, for threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator, List, Mapping, Optional

from sandboxd import _requests, errors
from sandboxd._process import DEFAULT_MAX_OUTPUT, Input, Process
from sandboxd.types import Event, ExitStatus, LogChunk, ProcessInfo, Result, SandboxInfo
from sandboxd.v1 import process_pb2, sandbox_pb2, types_pb2

if TYPE_CHECKING:
    from sandboxd.client import Client


class Sandbox:
    """A sandbox of the daemon. As a context manager it is killed and deleted at the end of the block."""

    def __init__(self, client: "Client", id: str, info: Optional[SandboxInfo]):
        self._client = client
        self.id = id
        self._info = info

    def __repr__(self) -> str:
        return "<Sandbox %s %s>" % (self.id, self._info.state.value if self._info else "")

    @property
    def info(self) -> SandboxInfo:
        """As the daemon described it last; see refresh()."""
        return self._info if self._info is not None else self.refresh()

    def refresh(self) -> SandboxInfo:
        return self._keep(self._client._call(self._client._sandboxes.Get, sandbox_pb2.GetSandboxRequest(id=self.id),
                                             repeatable=True))

    def _keep(self, proto: sandbox_pb2.Sandbox) -> SandboxInfo:
        self._info = SandboxInfo.from_proto(proto)
        return self._info

    def _ref(self, process_id: str = "") -> types_pb2.ProcessRef:
        return types_pb2.ProcessRef(sandbox_id=self.id, process_id=process_id)

    def start(self, *, timeout: Optional[float] = None) -> "Sandbox":
        self._keep(self._client._call(self._client._sandboxes.Start, sandbox_pb2.StartSandboxRequest(id=self.id),
                                      timeout=timeout))
        return self

    def wait(self, timeout: Optional[float] = None) -> ExitStatus:
        """Waits for the end of its init process; DeadlineExceeded after `timeout` seconds."""
        answer = self._client._call(self._client._sandboxes.Wait, sandbox_pb2.WaitSandboxRequest(id=self.id),
                                    timeout=timeout, waits=True, repeatable=True)
        return ExitStatus.from_proto(answer.exit)

    def signal(self, signal: _requests.Signal, *, all: bool = False) -> None:
        """To its init process, or to all."""
        self._client._call(self._client._sandboxes.Signal, sandbox_pb2.SignalSandboxRequest(
            id=self.id, signal=_requests.signal_number(signal), all=all))

    def kill(self) -> None:
        self.signal("KILL", all=True)

    def delete(self, *, force: bool = False) -> bool:
        """Whether there was one. `force` kills it if it runs."""
        return self._client.delete(self.id, force=force)

    # Processes.

    def exec(self, args: _requests.Args, *, output: str = "stream", on_disconnect: str = "kill",
             timeout: Optional[float] = None, **options: Any) -> Process:
        """Runs one more process and, with output="stream", attaches to it.

        stdin=True keeps its stdin open. `on_disconnect` says what becomes of it when the streams are let go of before
        its end: "kill" or "detach". With output="log" or "discard" it runs on its own. The other arguments are those of
        a process: env, cwd, user, additional_gids, umask, terminal, terminal_size, rlimits, capabilities,
        no_new_privileges, and id, and exact=True to take nothing from the init process.
        """
        request = _requests.exec_request(self.id, args, output=output, **options)
        client = self._client
        process = client._call(client._processes.Exec, request, timeout=timeout)
        ref = self._ref(process.id)
        if output != "stream":
            return Process(client, ref, ProcessInfo.from_proto(process), args=tuple(request.process.args))
        try:
            return client._attach(ref, on_disconnect=on_disconnect, take_over=False, detach_keys=b"",
                                  output_only=not (request.stdio.stdin or request.process.terminal),
                                  args=request.process.args, forget=True)
        except errors.SandboxdError:
            Process(client, ref, ProcessInfo.from_proto(process))._kill_quietly()
            raise

    def run(self, args: _requests.Args, *, stdin: Optional[Input] = None, timeout: Optional[float] = None,
            max_output: Optional[int] = DEFAULT_MAX_OUTPUT, check: bool = False, **options: Any) -> Result:
        """Runs one more process to its end; see Process.communicate."""
        with self.exec(args, stdin=stdin is not None, **options) as process:
            return process.communicate(stdin, timeout=timeout, max_output=max_output, check=check)

    def attach(self, process_id: str = "", *, on_disconnect: str = "detach", take_over: bool = False,
               output_only: bool = False, detach_keys: bytes = b"", timeout: Optional[float] = None) -> Process:
        """The streams of its init process or of another one, before or after it starts."""
        return self._client._attach(self._ref(process_id), on_disconnect=on_disconnect, take_over=take_over,
                                    output_only=output_only, detach_keys=detach_keys, timeout=timeout)

    def ps(self) -> List[ProcessInfo]:
        """Every process of it, by pid, and the exited ones that have an id."""
        answer = self._client._call(self._client._processes.List,
                                    process_pb2.ListProcessesRequest(sandbox_id=self.id), repeatable=True)
        return [ProcessInfo.from_proto(p) for p in answer.processes]

    def process(self, process_id: str = "") -> Process:
        """One of them, not attached; ProcessNotFound if it is not known."""
        found = [p for p in self.ps() if p.id == (process_id or self.id)]
        if not found:
            raise errors.ProcessNotFound("sandbox %s has no process %s" % (self.id, process_id or self.id))
        return Process(self._client, self._ref(process_id), found[0])

    def signal_pid(self, pid: int, signal: _requests.Signal) -> None:
        """To a process by its pid inside, as ps() shows it."""
        self._client._call(self._client._processes.Signal, process_pb2.SignalProcessRequest(
            process=self._ref(), pid=pid, signal=_requests.signal_number(signal)))

    def logs(self, *, follow: bool = False, tail_lines: int = 0, since: Any = None) -> Iterator[LogChunk]:
        """The log of its init process, if it was created with output="log"; with `follow` until it ends."""
        return self._client._logs(self._ref(), follow, tail_lines, since)

    def watch(self, **options: Any) -> Iterator[Event]:
        return self._client.watch(ids=[self.id], **options)

    # What a daemon may not have yet: Unimplemented then.

    def pause(self) -> SandboxInfo:
        return self._keep(self._client._call(self._client._sandboxes.Pause,
                                             sandbox_pb2.PauseSandboxRequest(id=self.id)))

    def resume(self) -> SandboxInfo:
        return self._keep(self._client._call(self._client._sandboxes.Resume,
                                             sandbox_pb2.ResumeSandboxRequest(id=self.id)))

    def update(self, *, labels: Optional[Mapping[str, str]] = None, annotations: Optional[Mapping[str, str]] = None,
               memory: Optional[int] = None, cpus: Optional[float] = None, pids: Optional[int] = None) -> SandboxInfo:
        """Changes what is given."""
        return self._keep(self._client._call(self._client._sandboxes.Update, _requests.update_request(
            self.id, labels, annotations, memory, cpus, pids)))

    def stats(self) -> sandbox_pb2.SandboxStats:
        return self._client._call(self._client._sandboxes.Stats, sandbox_pb2.StatsSandboxRequest(id=self.id),
                                  repeatable=True)

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: Any) -> None:
        self.delete(force=True)
