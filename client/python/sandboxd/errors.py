"""What a failed call raises: a class by gRPC code, and below it one by the daemon's reason.

    try:
        sandbox.start()
    except ProgramNotFound as error:      # or FailedPrecondition, or SandboxdError
        print(error, error.reason, error.metadata["program"])

`str(error)` is the daemon's sentence. proto/sandboxd/v1/error.proto describes every reason.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type

import grpc

from sandboxd.rpc import error_details_pb2, status_pb2


class FieldViolation(NamedTuple):
    """One wrong field of a request ("spec.containers[0].process.cwd") or of a bundle ("config.json:process.cwd")."""

    field: str
    description: str


class SandboxdError(Exception):
    """A call failed. Every error of a call is one of these."""

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN

    def __init__(self, message: str, *, code: Optional[grpc.StatusCode] = None, reason: str = "",
                 metadata: Optional[Mapping[str, str]] = None, field_violations: Sequence[FieldViolation] = ()):
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        #: Name of the ErrorReason, "PROGRAM_NOT_FOUND"; empty if the failure is the transport's or the client's.
        self.reason = reason
        #: The facts of the sentence by name: "sandbox_id", "path", "program", "state", "errno", ...
        self.metadata: Dict[str, str] = dict(metadata or {})
        #: With InvalidArgument: every wrong field.
        self.field_violations: Tuple[FieldViolation, ...] = tuple(field_violations)

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return "%s(%r, reason=%r)" % (type(self).__name__, self.message, self.reason)


class InvalidArgument(SandboxdError, ValueError):
    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(SandboxdError, LookupError):
    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(SandboxdError):
    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(SandboxdError):
    code = grpc.StatusCode.FAILED_PRECONDITION


class PermissionDenied(SandboxdError):
    code = grpc.StatusCode.PERMISSION_DENIED


class Unauthenticated(SandboxdError):
    code = grpc.StatusCode.UNAUTHENTICATED


class ResourceExhausted(SandboxdError):
    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unavailable(SandboxdError):
    """No daemon answers, or the connection to it was lost before the answer came."""

    code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceeded(SandboxdError, TimeoutError):
    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Cancelled(SandboxdError):
    code = grpc.StatusCode.CANCELLED


class Aborted(SandboxdError):
    code = grpc.StatusCode.ABORTED


class OutOfRange(SandboxdError):
    code = grpc.StatusCode.OUT_OF_RANGE


class Unimplemented(SandboxdError, NotImplementedError):
    """This daemon can't do that (yet); Client.info().features says what it can."""

    code = grpc.StatusCode.UNIMPLEMENTED


class Internal(SandboxdError):
    code = grpc.StatusCode.INTERNAL


class ProcessFailed(SandboxdError):
    """A program ended with another status than 0 and `check=True` was given. `result` has its output."""

    def __init__(self, message: str, result: Any):
        super().__init__(message)
        self.result = result


class OutputLimitExceeded(ResourceExhausted):
    """A program wrote more than `max_output` bytes and was killed. `stdout` and `stderr` are what was kept."""

    stdout: bytes = b""
    stderr: bytes = b""


class RunTimeout(DeadlineExceeded):
    """A program did not end within `timeout` and was killed. `stdout` and `stderr` are what it wrote until then."""

    stdout: bytes = b""
    stderr: bytes = b""


_BY_CODE: Dict[grpc.StatusCode, Type[SandboxdError]] = {
    c.code: c for c in (InvalidArgument, NotFound, AlreadyExists, FailedPrecondition, PermissionDenied, Unauthenticated,
                        ResourceExhausted, Unavailable, DeadlineExceeded, Cancelled, Aborted, OutOfRange,
                        Unimplemented, Internal)
}


# Classes by reason. A reason always comes with the same code.
class InvalidField(InvalidArgument): ...
class BundleInvalid(InvalidArgument): ...
class FeatureUnsupported(InvalidArgument): ...
class SandboxNotFound(NotFound): ...
class ContainerNotFound(NotFound): ...
class ProcessNotFound(NotFound): ...
class SandboxAlreadyExists(AlreadyExists): ...
class ProcessAlreadyExists(AlreadyExists): ...
class WrongState(FailedPrecondition): ...
class RootfsNotFound(FailedPrecondition): ...
class RootfsNotADirectory(FailedPrecondition): ...
class BundleNotFound(FailedPrecondition): ...
class MountSourceNotFound(FailedPrecondition): ...
class PathPermissionDenied(PermissionDenied): ...
class ProgramNotFound(FailedPrecondition): ...
class ProgramNotExecutable(FailedPrecondition): ...
class ProgramWrongFormat(FailedPrecondition): ...
class UserOrDirectoryNotFound(FailedPrecondition): ...
class MountFailed(FailedPrecondition): ...
class PlatformUnavailable(FailedPrecondition): ...
class KernelStartFailed(Internal): ...
class KernelLost(Unavailable): ...
class GoferFailed(Internal): ...
class StateStorageFull(ResourceExhausted): ...
class StateStorageFailed(Internal): ...
class LimitReached(ResourceExhausted): ...
class PolicyDenied(PermissionDenied): ...
class AlreadyAttached(FailedPrecondition): ...
class AttachmentTaken(Aborted): ...
class StdioMode(FailedPrecondition): ...
class WatchWindowLost(OutOfRange): ...
class DaemonUnavailable(Unavailable): ...
class NotImplementedByDaemon(Unimplemented): ...


# Reasons whose class is not their name in CamelCase.
_NAMES = {"NOT_IMPLEMENTED": "NotImplementedByDaemon"}


def class_for(code: grpc.StatusCode, reason: str) -> Type[SandboxdError]:
    """The most precise class there is; a reason of a newer daemon gets that of its code."""
    name = _NAMES.get(reason) or re.sub("_?([A-Z])([A-Z]*)", lambda m: m.group(1) + m.group(2).lower(), reason)
    found = globals().get(name) if reason else None
    by_code = _BY_CODE.get(code, SandboxdError)
    if isinstance(found, type) and issubclass(found, SandboxdError) and found.code == code:
        return found
    return by_code


def _transport_sentence(code: grpc.StatusCode, details: str, address: str) -> str:
    if code == grpc.StatusCode.UNAVAILABLE:
        if "ermission denied" in details:
            return ("no permission to use the daemon's socket at %s: run as root or as a member of the socket's group"
                    % address)
        return ("no daemon answers at %s: start one with `sandboxd --listen %s --state-dir DIR`, or say with the address "
                "argument or SANDBOXD_ADDRESS where it listens (%s)" % (address, address, details))
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return "the daemon at %s did not answer in time" % address
    return details or code.name


def is_transport_loss(error: grpc.RpcError) -> bool:
    """The call did not fail in the daemon: there is none, or the connection to it was lost."""
    return error.code() == grpc.StatusCode.UNAVAILABLE and not _details_of(error)


def _details_of(error: Any) -> bytes:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return bytes(value)
    return b""


def from_rpc(error: Any, address: str) -> SandboxdError:
    """The exception for a failed gRPC call to the daemon at `address`."""
    code, message = error.code(), error.details() or ""
    reason, metadata = "", {}
    violations: List[FieldViolation] = []
    details = _details_of(error)
    if not details:
        message = _transport_sentence(code, message, address)
    else:
        for detail in status_pb2.Status.FromString(details).details:
            kind = detail.type_url.rsplit("/", 1)[-1]
            if kind == "google.rpc.ErrorInfo":
                info = error_details_pb2.ErrorInfo.FromString(detail.value)
                reason, metadata = info.reason, dict(info.metadata)
            elif kind == "google.rpc.BadRequest":
                bad = error_details_pb2.BadRequest.FromString(detail.value)
                violations += [FieldViolation(v.field, v.description) for v in bad.field_violations]
    return class_for(code, reason)(message, code=code, reason=reason, metadata=metadata, field_violations=violations)
