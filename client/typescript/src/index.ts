// sandboxd: run untrusted programs in sandboxes.
export { Client, type ClientOptions, type RunOptions, type WatchOptions } from "./client.js";
export { OutputStream } from "./attach.js";
export { Process, Stdin, type CommunicateOptions, type Input, type LogsOptions } from "./process.js";
export { Sandbox, type AttachOptions, type Changes } from "./sandbox.js";
export type { CreateOptions, ExecOptions, Mount, OutputMode, ProcessOptions, Signal } from "./requests.js";
export {
  AbortedError,
  AlreadyExistsError,
  CancelledError,
  DeadlineExceededError,
  FailedPreconditionError,
  InternalError,
  InvalidArgumentError,
  NotFoundError,
  OutOfRangeError,
  OutputLimitError,
  PermissionDeniedError,
  ResourceExhaustedError,
  RunTimeoutError,
  SandboxdError,
  UnauthenticatedError,
  UnavailableError,
  UnimplementedError,
  type FieldViolation,
  type Output,
} from "./errors.js";
export type {
  DaemonInfo,
  Event,
  EventType,
  ExitStatus,
  LogChunk,
  PlatformInfo,
  ProcessInfo,
  ProcessState,
  Result,
  SandboxInfo,
  SandboxState,
  SandboxStats,
  StreamName,
} from "./types.js";
