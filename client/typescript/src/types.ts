// Values of the public API as JavaScript sees them.

export type SandboxState = "unspecified" | "creating" | "created" | "running" | "paused" | "stopped" | "deleting";
export type ProcessState = "unspecified" | "created" | "running" | "exited";
export type StreamName = "stdout" | "stderr";

/** How a process ended. */
export interface ExitStatus {
  /** Meaningful if `signal` is 0. */
  code: number;
  /** The Linux number of the signal that ended it, or 0. */
  signal: number;
  coreDumped: boolean;
  oomKilled: boolean;
  message: string;
  /** The application kernel itself was lost, and the process with it. */
  kernelLost: boolean;
}

/** A program's whole output and how it ended. */
export interface Result {
  exit: ExitStatus;
  /** The exit code, or 128 plus the number of the signal, as a shell shows it. */
  exitCode: number;
  stdout: Buffer;
  stderr: Buffer;
  /** stdout as text. */
  text: string;
}

/** A process of a sandbox as the daemon described it last. */
export interface ProcessInfo {
  sandboxId: string;
  container: string;
  /** Empty for a process that the application itself made. */
  id: string;
  state: ProcessState;
  pid: number;
  ppid: number;
  uid: number;
  command: string;
  startTime?: Date;
  exitTime?: Date;
  exit?: ExitStatus;
  cpuTimeUs: number;
  rssBytes: number;
  threads: number;
  terminal: boolean;
  attached: boolean;
}

/** A sandbox as the daemon described it last. */
export interface SandboxInfo {
  id: string;
  state: SandboxState;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  platform: string;
  platformReason: string;
  createTime?: Date;
  startTime?: Date;
  stopTime?: Date;
  exit?: ExitStatus;
  stateMessage: string;
  revision: number;
  /** What was asked for, was accepted and has no effect. */
  warnings: string[];
}

export type EventType =
  | "unspecified"
  /** The state at the beginning of a watch. */
  | "existing"
  /** End of the present state; what follows are changes. */
  | "bookmark"
  | "created"
  | "started"
  | "paused"
  | "resumed"
  | "stopped"
  | "deleted"
  | "process_started"
  | "process_exited"
  | "updated";

export interface Event {
  type: EventType;
  sandbox?: SandboxInfo;
  process?: ProcessInfo;
  time?: Date;
  /** For `watch({ resumeToken })`: go on after this event. Empty with "existing". */
  resumeToken: string;
  /**
   * With "existing" and "bookmark": the daemon could not go on where the connection was lost (it was restarted), so
   * this is the present state again, and changes in between were not seen.
   */
  resynced: boolean;
}

/** Bytes of a process's log, not cut at lines. */
export interface LogChunk {
  stream: StreamName;
  data: Buffer;
  time?: Date;
  /** Something before these bytes is missing: the log was rotated away. */
  gap: boolean;
}

export interface DaemonInfo {
  version: string;
  /** Names of what works: "create", "exec", "attach", "watch", … */
  features: string[];
  startTime?: Date;
  sandboxes: number;
  runningSandboxes: number;
  guestRelease: string;
}

export interface PlatformInfo {
  name: string;
  available: boolean;
  detail: string;
  isDefault: boolean;
}

export interface SandboxStats {
  id: string;
  cpuSeconds: number;
  memoryBytes: number;
  memoryPeakBytes: number;
  processes: number;
}

/** A message as the proto loader makes it. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type Message = any;

const enumName = (value: string | number, prefix: string): string =>
  typeof value === "string" && value.startsWith(prefix) ? value.slice(prefix.length).toLowerCase() : "unspecified";

function dateOf(stamp: Message): Date | undefined {
  if (!stamp || (Number(stamp.seconds) === 0 && stamp.nanos === 0)) return undefined;
  return new Date(Number(stamp.seconds) * 1000 + stamp.nanos / 1e6);
}

export function exitOf(m: Message): ExitStatus {
  return {
    code: m.code,
    signal: m.signal,
    coreDumped: m.coreDumped,
    oomKilled: m.oomKilled,
    message: m.message,
    kernelLost: m.kernelLost,
  };
}

export function resultOf(exit: ExitStatus, stdout: Buffer, stderr: Buffer): Result {
  return {
    exit,
    exitCode: exit.signal ? 128 + exit.signal : exit.code,
    stdout,
    stderr,
    get text() {
      return stdout.toString("utf8");
    },
  };
}

export function processOf(m: Message): ProcessInfo {
  return {
    sandboxId: m.sandboxId,
    container: m.container,
    id: m.id,
    state: enumName(m.state, "STATE_") as ProcessState,
    pid: m.pid,
    ppid: m.ppid,
    uid: m.uid,
    command: m.command,
    startTime: dateOf(m.startTime),
    exitTime: dateOf(m.exitTime),
    exit: m.exit ? exitOf(m.exit) : undefined,
    cpuTimeUs: m.cpuTimeUs,
    rssBytes: m.rssBytes,
    threads: m.threads,
    terminal: m.terminal,
    attached: m.attached,
  };
}

export function sandboxOf(m: Message): SandboxInfo {
  return {
    id: m.id,
    state: enumName(m.state, "STATE_") as SandboxState,
    labels: { ...m.labels },
    annotations: { ...m.annotations },
    platform: m.platform?.name ?? "",
    platformReason: m.platform?.reason ?? "",
    createTime: dateOf(m.createTime),
    startTime: dateOf(m.startTime),
    stopTime: dateOf(m.stopTime),
    exit: m.exit ? exitOf(m.exit) : undefined,
    stateMessage: m.stateMessage,
    revision: m.revision,
    warnings: m.warnings,
  };
}

export function eventOf(m: Message, resynced: boolean): Event {
  const type = enumName(m.type, "TYPE_") as EventType;
  return {
    type,
    sandbox: m.sandbox ? sandboxOf(m.sandbox) : undefined,
    process: m.process ? processOf(m.process) : undefined,
    time: dateOf(m.time),
    resumeToken: m.resumeToken,
    resynced: resynced && (type === "existing" || type === "bookmark"),
  };
}

export function logChunkOf(m: Message): LogChunk {
  return {
    stream: m.stream === "STREAM_STDERR" ? "stderr" : "stdout",
    data: m.data,
    time: dateOf(m.time),
    gap: m.gap,
  };
}

export function infoOf(m: Message): DaemonInfo {
  return {
    version: m.version,
    features: m.features,
    startTime: dateOf(m.startTime),
    sandboxes: m.sandboxes,
    runningSandboxes: m.runningSandboxes,
    guestRelease: m.guestRelease,
  };
}

export function statsOf(m: Message): SandboxStats {
  return {
    id: m.id,
    cpuSeconds: m.cpuTime ? Number(m.cpuTime.seconds) + m.cpuTime.nanos / 1e9 : 0,
    memoryBytes: m.memoryBytes,
    memoryPeakBytes: m.memoryPeakBytes,
    processes: m.processes,
  };
}
