// What a failed call throws: a class by gRPC code, with the daemon's reason, facts and wrong fields.
import { status, type Metadata, type ServiceError } from "@grpc/grpc-js";
import { bytesOf, fields, text } from "./wire.js";

/** One wrong field of a request ("spec.containers[0].process.cwd") or of a bundle ("config.json:process.cwd"). */
export interface FieldViolation {
  field: string;
  description: string;
}

interface Facts {
  reason?: string;
  metadata?: Record<string, string>;
  fieldViolations?: FieldViolation[];
}

/** A call failed. Every error of a call is one of these; `message` is the daemon's sentence. */
export class SandboxdError extends Error {
  /** The name of the gRPC code: "NOT_FOUND". */
  readonly code: string;
  /** Name of the ErrorReason: "PROGRAM_NOT_FOUND"; empty if the failure is the transport's or the client's. */
  readonly reason: string;
  /** The facts of the sentence by name: "sandbox_id", "path", "program", "state", "errno", … */
  readonly metadata: Record<string, string>;
  /** With INVALID_ARGUMENT: every wrong field. */
  readonly fieldViolations: FieldViolation[];

  constructor(message: string, code = "UNKNOWN", facts: Facts = {}) {
    super(message);
    this.name = new.target.name;
    this.code = code;
    this.reason = facts.reason ?? "";
    this.metadata = facts.metadata ?? {};
    this.fieldViolations = facts.fieldViolations ?? [];
  }
}

export class InvalidArgumentError extends SandboxdError {}
export class NotFoundError extends SandboxdError {}
export class AlreadyExistsError extends SandboxdError {}
export class FailedPreconditionError extends SandboxdError {}
export class PermissionDeniedError extends SandboxdError {}
export class UnauthenticatedError extends SandboxdError {}
export class ResourceExhaustedError extends SandboxdError {}
/** No daemon answers, or the connection to it was lost before the answer came. */
export class UnavailableError extends SandboxdError {}
export class DeadlineExceededError extends SandboxdError {}
export class CancelledError extends SandboxdError {}
export class AbortedError extends SandboxdError {}
export class OutOfRangeError extends SandboxdError {}
/** This daemon can't do that (yet); info().features says what it can. */
export class UnimplementedError extends SandboxdError {}
export class InternalError extends SandboxdError {}

/** What a program wrote before it was ended by us. */
export interface Output {
  stdout: Buffer;
  stderr: Buffer;
}

/** A program did not end within `timeoutMs` and was killed. */
export class RunTimeoutError extends DeadlineExceededError {
  constructor(message: string, readonly output: Output) {
    super(message, "DEADLINE_EXCEEDED");
  }
}

/** A program wrote more than `maxOutput` bytes and was killed. */
export class OutputLimitError extends ResourceExhaustedError {
  constructor(message: string, readonly output: Output) {
    super(message, "RESOURCE_EXHAUSTED");
  }
}

const BY_CODE: Record<string, new (message: string, code?: string, facts?: Facts) => SandboxdError> = {
  INVALID_ARGUMENT: InvalidArgumentError,
  NOT_FOUND: NotFoundError,
  ALREADY_EXISTS: AlreadyExistsError,
  FAILED_PRECONDITION: FailedPreconditionError,
  PERMISSION_DENIED: PermissionDeniedError,
  UNAUTHENTICATED: UnauthenticatedError,
  RESOURCE_EXHAUSTED: ResourceExhaustedError,
  UNAVAILABLE: UnavailableError,
  DEADLINE_EXCEEDED: DeadlineExceededError,
  CANCELLED: CancelledError,
  ABORTED: AbortedError,
  OUT_OF_RANGE: OutOfRangeError,
  UNIMPLEMENTED: UnimplementedError,
  INTERNAL: InternalError,
};

/** For this library. */
export function errorOf(code: string, message: string, facts: Facts = {}): SandboxdError {
  return new (BY_CODE[code] ?? SandboxdError)(message, code, facts);
}

function detailsOf(metadata: Metadata | undefined): Buffer | undefined {
  const value = metadata?.get("grpc-status-details-bin")[0];
  return value === undefined || typeof value === "string" ? undefined : value;
}

/** The call did not fail in the daemon: there is none, or the connection to it was lost. */
export function isTransportLoss(error: ServiceError): boolean {
  return error.code === status.UNAVAILABLE && detailsOf(error.metadata) === undefined;
}

function transportSentence(code: string, details: string, address: string): string {
  if (code === "UNAVAILABLE") {
    if (/permission denied|EACCES/i.test(details)) {
      return `no permission to use the daemon's socket at ${address}: run as root or as a member of the socket's group`;
    }
    return (
      `no daemon answers at ${address}: start one with \`sandboxd --listen ${address} --state-dir DIR\`, or say with ` +
      `the address option or SANDBOXD_ADDRESS where it listens (${details})`
    );
  }
  if (code === "DEADLINE_EXCEEDED") return `the daemon at ${address} did not answer in time`;
  return details || code;
}

/** The error for a failed gRPC call to the daemon at `address`. */
export function fromRpc(error: ServiceError, address: string): SandboxdError {
  const code = status[error.code] ?? "UNKNOWN";
  const details = detailsOf(error.metadata);
  if (details === undefined) return errorOf(code, transportSentence(code, error.details ?? error.message, address));
  const facts: Required<Facts> = { reason: "", metadata: {}, fieldViolations: [] };
  // google.rpc.Status { 3: details }, google.protobuf.Any { 1: type_url, 2: value }
  for (const any of fields(details, 3)) {
    const value = bytesOf(any, 2);
    const kind = text(any, 1).split("/").pop();
    if (kind === "google.rpc.ErrorInfo") {
      facts.reason = text(value, 1);
      for (const pair of fields(value, 3)) facts.metadata[text(pair, 1)] = text(pair, 2);
    } else if (kind === "google.rpc.BadRequest") {
      for (const bad of fields(value, 1)) {
        facts.fieldViolations.push({ field: text(bad, 1), description: text(bad, 2) });
      }
    }
  }
  return errorOf(code, error.details, facts);
}
