// A sandbox of the daemon.
import { Attachment } from "./attach.js";
import type { Channel } from "./channel.js";
import { errorOf } from "./errors.js";
import { logs, Process, type CommunicateOptions, type LogsOptions } from "./process.js";
import { execRequest, signalNumber, type ExecOptions, type Signal } from "./requests.js";
import * as types from "./types.js";
import type { ExitStatus, LogChunk, Message, ProcessInfo, Result, SandboxInfo, SandboxStats } from "./types.js";

export interface AttachOptions {
  onDisconnect?: "kill" | "detach";
  /** End another client's streams instead of failing. */
  takeOver?: boolean;
  outputOnly?: boolean;
  detachKeys?: Uint8Array;
  timeoutMs?: number;
}

/** What of a sandbox can be changed. */
export interface Changes {
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  memoryBytes?: number;
  cpus?: number;
  pids?: number;
}

export class Sandbox {
  /** Made by a Client. `info`: as the daemon described it last. */
  constructor(
    private readonly channel: Channel,
    readonly id: string,
    public info: SandboxInfo,
  ) {}

  private ref(processId = ""): Message {
    return { sandboxId: this.id, processId };
  }

  private async keep(method: string, request: Message = {}, how = {}): Promise<SandboxInfo> {
    this.info = types.sandboxOf(await this.channel.call("sandboxes", method, { id: this.id, ...request }, how));
    return this.info;
  }

  refresh(): Promise<SandboxInfo> {
    return this.keep("Get", {}, { repeatable: true });
  }

  async start(options: { timeoutMs?: number } = {}): Promise<this> {
    await this.keep("Start", {}, options);
    return this;
  }

  /** Waits for the end of its init process; DeadlineExceededError after `timeoutMs`. */
  async wait(options: { timeoutMs?: number; signal?: AbortSignal } = {}): Promise<ExitStatus> {
    const how = { ...options, waits: true, repeatable: true };
    return types.exitOf((await this.channel.call("sandboxes", "Wait", { id: this.id }, how)).exit);
  }

  /** To its init process, or to all. */
  async signal(signal: Signal, options: { all?: boolean } = {}): Promise<void> {
    const request = { id: this.id, signal: signalNumber(signal), all: options.all ?? false };
    await this.channel.call("sandboxes", "Signal", request);
  }

  kill(): Promise<void> {
    return this.signal("KILL", { all: true });
  }

  /** Whether there was one. `force` kills it if it runs. */
  async delete(options: { force?: boolean } = {}): Promise<boolean> {
    const request = { id: this.id, force: options.force ?? false };
    return (await this.channel.call("sandboxes", "Delete", request, { repeatable: true })).existed;
  }

  /**
   * Runs one more process and, unless `output` says otherwise, attaches to it. Read its streams to their end, or kill or
   * detach() it.
   */
  async exec(args: readonly string[], options: ExecOptions = {}): Promise<Process> {
    const request = execRequest(this.id, args, options);
    const made = await this.channel.call("processes", "Exec", request, { timeoutMs: options.timeoutMs });
    const unattached = new Process(this.channel, this.ref(made.id), types.processOf(made));
    if (request.stdio.output !== "OUTPUT_STREAM") return unattached;
    try {
      return await this.attached(made.id, true, {
        onDisconnect: options.onDisconnect ?? "kill",
        outputOnly: !(request.stdio.stdin || request.process.terminal),
      });
    } catch (error) {
      await unattached.killQuietly();
      throw error;
    }
  }

  /** Runs one more process to its end; see Process.communicate. */
  async run(args: readonly string[], options: Omit<ExecOptions, "stdin" | "output"> & CommunicateOptions = {}): Promise<Result> {
    const { input, timeoutMs, maxOutput, signal, ...exec } = options;
    const process = await this.exec(args, { ...exec, stdin: input !== undefined, output: "stream" });
    try {
      return await process.communicate({ input, timeoutMs, maxOutput, signal });
    } finally {
      await process.release();
    }
  }

  /** The streams of its init process or of another one, before or after it starts. */
  attach(processId = "", options: AttachOptions = {}): Promise<Process> {
    return this.attached(processId, false, options);
  }

  private async attached(processId: string, forget: boolean, options: AttachOptions): Promise<Process> {
    const start = {
      process: this.ref(processId),
      onDisconnect: options.onDisconnect === "kill" ? "ON_DISCONNECT_KILL" : "ON_DISCONNECT_DETACH",
      takeOver: options.takeOver ?? false,
      outputOnly: options.outputOnly ?? false,
      detachKeys: options.detachKeys ?? Buffer.alloc(0),
    };
    const attachment = await Attachment.open(this.channel, start, options.timeoutMs);
    return new Process(this.channel, this.ref(processId), types.processOf(attachment.process), attachment, forget);
  }

  /** Every process of it, by pid, and the exited ones that have an id. */
  async ps(): Promise<ProcessInfo[]> {
    const answer = await this.channel.call("processes", "List", { sandboxId: this.id }, { repeatable: true });
    return answer.processes.map(types.processOf);
  }

  /** One of them, not attached. */
  async process(processId = ""): Promise<Process> {
    const found = (await this.ps()).find((p) => p.id === (processId || this.id));
    if (!found) throw errorOf("NOT_FOUND", `sandbox ${this.id} has no process ${processId}`, { reason: "PROCESS_NOT_FOUND" });
    return new Process(this.channel, this.ref(processId), found);
  }

  /** To a process by its pid inside, as ps() shows it. */
  async signalPid(pid: number, signal: Signal): Promise<void> {
    await this.channel.call("processes", "Signal", { process: this.ref(), pid, signal: signalNumber(signal) });
  }

  /** The log of its init process, if it was created with output "log". */
  logs(options: LogsOptions = {}): AsyncGenerator<LogChunk> {
    return logs(this.channel, this.ref(), options);
  }

  // What a daemon may not have yet: UnimplementedError then.

  pause(): Promise<SandboxInfo> {
    return this.keep("Pause");
  }

  resume(): Promise<SandboxInfo> {
    return this.keep("Resume");
  }

  /** Changes what is given. */
  update(changes: Changes): Promise<SandboxInfo> {
    const { labels, annotations, memoryBytes, cpus, pids } = changes;
    const resources: Message = {};
    const paths: string[] = [];
    if (labels) paths.push("labels");
    if (annotations) paths.push("annotations");
    const limit = (value: number | undefined, field: string, path: string) => {
      if (value === undefined) return;
      resources[field] = value;
      paths.push(`resources.${path}`);
    };
    limit(memoryBytes, "memoryLimitBytes", "memory_limit_bytes");
    limit(cpus && Math.round(cpus * 1000), "cpuLimitMillis", "cpu_limit_millis");
    limit(pids, "pidsLimit", "pids_limit");
    return this.keep("Update", { labels, annotations, resources, updateMask: { paths } });
  }

  async stats(): Promise<SandboxStats> {
    return types.statsOf(await this.channel.call("sandboxes", "Stats", { id: this.id }, { repeatable: true }));
  }
}
