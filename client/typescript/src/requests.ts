// From the options of a method to the message of the API.
import { randomUUID } from "node:crypto";
import { constants } from "node:os";
import { resolve } from "node:path";
import type { Message } from "./types.js";

export const DEFAULT_ADDRESS = "unix:///run/sandboxd/sandboxd.sock";
/** The largest stdin frame we send; the daemon takes 1 MiB. */
const STDIN_CHUNK = 256 << 10;

/** A file system in the container, as in the OCI runtime specification. */
export interface Mount {
  destination: string;
  /** "bind" (the default: a folder or file of the host), "tmpfs", "proc", … */
  type?: string;
  source?: string;
  options?: string[];
}

/** A Linux signal: 15, "SIGTERM" or "TERM". */
export type Signal = number | string;

export interface ProcessOptions {
  env?: Record<string, string>;
  cwd?: string;
  /** A uid, [uid, gid], or "user" or "user:group" as the container's /etc/passwd and /etc/group know them. */
  user?: number | [number, number] | string;
  additionalGids?: number[];
  umask?: number;
  terminal?: boolean;
  terminalSize?: { rows: number; cols: number };
  /** { nofile: 64 } or { nofile: [soft, hard] } */
  rlimits?: Record<string, number | [number, number]>;
  /** "CAP_CHOWN", … inside the sandbox. */
  capabilities?: string[];
  noNewPrivileges?: boolean;
}

export type OutputMode = "log" | "stream" | "discard";

export interface CreateOptions extends ProcessOptions {
  /** A folder of the host with the container's files. Give this or `bundle`. */
  rootfs?: string;
  /** An OCI bundle; what else is given replaces what its config.json says. */
  bundle?: string;
  /** The program can't change the root file system. */
  readonly?: boolean;
  /** Nobody else changes `rootfs` while the sandbox runs. */
  exclusive?: boolean;
  id?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  platform?: string;
  hostname?: string;
  mounts?: Mount[];
  /** Where output goes: "log" (the default, see logs()), "stream" (see attach()) or "discard". */
  output?: OutputMode;
  /** Keep stdin open for attach(). */
  stdin?: boolean;
  autoDelete?: boolean;
  strace?: boolean;
  memoryBytes?: number;
  cpus?: number;
  pids?: number;
  timeoutMs?: number;
}

export interface ExecOptions extends ProcessOptions {
  id?: string;
  stdin?: boolean;
  output?: OutputMode;
  /** Take nothing from the init process. */
  exact?: boolean;
  /** What becomes of it when its streams are let go of before its end: "kill" (the default) or "detach". */
  onDisconnect?: "kill" | "detach";
  timeoutMs?: number;
}

export const addressOrDefault = (address?: string): string =>
  address || process.env.SANDBOXD_ADDRESS || DEFAULT_ADDRESS;

export function signalNumber(signal: Signal): number {
  if (typeof signal === "number") return signal;
  const name = signal.toUpperCase();
  const table = constants.signals as Record<string, number>;
  const number = table[name.startsWith("SIG") ? name : `SIG${name}`];
  if (number === undefined) throw new TypeError(`there is no signal ${JSON.stringify(signal)}`);
  return number;
}

function words(args: readonly string[]): string[] {
  if (!Array.isArray(args)) {
    throw new TypeError(`args is a list of words, ["/bin/sh", "-c", ${JSON.stringify(args)}], not a string`);
  }
  return [...args];
}

function user(value: ProcessOptions["user"], options: ProcessOptions): Message {
  if (value === undefined && options.umask === undefined && !options.additionalGids) return undefined;
  const who: Message = { additionalGids: options.additionalGids ?? [] };
  if (options.umask !== undefined) who.umask = options.umask;
  if (typeof value === "string") who.name = value;
  else if (Array.isArray(value)) [who.uid, who.gid] = value;
  else if (value !== undefined) who.uid = who.gid = value;
  return who;
}

export function processSpec(args: readonly string[], options: ProcessOptions): Message {
  return {
    args: words(args),
    env: Object.entries(options.env ?? {}).map(([key, value]) => `${key}=${value}`),
    cwd: options.cwd ?? "",
    user: user(options.user, options),
    terminal: options.terminal ?? false,
    terminalSize: options.terminalSize,
    rlimits: Object.entries(options.rlimits ?? {}).map(([name, value]) => {
      const [soft, hard] = Array.isArray(value) ? value : [value, value];
      return { type: name.startsWith("RLIMIT_") ? name : `RLIMIT_${name.toUpperCase()}`, soft, hard };
    }),
    capabilities: options.capabilities && {
      bounding: options.capabilities,
      effective: options.capabilities,
      permitted: options.capabilities,
    },
    noNewPrivileges: options.noNewPrivileges ?? false,
  };
}

function stdioSpec(output: OutputMode, stdin: boolean): Message {
  if (!["log", "stream", "discard"].includes(output)) {
    throw new TypeError(`output is one of log, stream, discard, not ${JSON.stringify(output)}`);
  }
  return { output: `OUTPUT_${output.toUpperCase()}`, stdin };
}

export function createRequest(args: readonly string[], options: CreateOptions): Message {
  if ((options.rootfs === undefined) === (options.bundle === undefined)) {
    throw new TypeError("give either rootfs, a folder of the host with the container's files, or bundle, an OCI bundle");
  }
  const container: Message = {
    hostname: options.hostname ?? "",
    process: processSpec(args, options),
    stdio: stdioSpec(options.output ?? "log", options.stdin ?? false),
    mounts: options.mounts ?? [],
  };
  if (options.bundle !== undefined) container.bundlePath = resolve(options.bundle);
  else {
    const { readonly = false, exclusive = false } = options;
    container.rootfs = { path: resolve(options.rootfs!), readonly, exclusive };
  }
  const limits = options.memoryBytes || options.cpus || options.pids;
  return {
    // An id of ours, so that a Create whose answer was lost can be repeated.
    id: options.id || `ts-${randomUUID().replaceAll("-", "").slice(0, 20)}`,
    labels: options.labels ?? {},
    annotations: options.annotations ?? {},
    spec: {
      platform: options.platform ?? "",
      containers: [container],
      strace: options.strace ?? false,
      autoDelete: options.autoDelete ?? false,
      resources: limits && {
        memoryLimitBytes: options.memoryBytes ?? 0,
        cpuLimitMillis: Math.round((options.cpus ?? 0) * 1000),
        pidsLimit: options.pids ?? 0,
      },
    },
  };
}

export function execRequest(sandboxId: string, args: readonly string[], options: ExecOptions): Message {
  return {
    sandboxId,
    processId: options.id ?? "",
    process: processSpec(args, options),
    stdio: stdioSpec(options.output ?? "stream", options.stdin ?? false),
    exact: options.exact ?? false,
  };
}

export function* stdinFrames(data: Uint8Array | string): Generator<Message> {
  const bytes = typeof data === "string" ? Buffer.from(data) : data;
  for (let at = 0; at < bytes.length; at += STDIN_CHUNK) yield { stdin: bytes.subarray(at, at + STDIN_CHUNK) };
}
