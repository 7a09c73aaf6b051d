// A process of a sandbox.
import { Attachment, OutputStream } from "./attach.js";
import type { Channel } from "./channel.js";
import { AbortedError, DeadlineExceededError, errorOf, OutputLimitError, RunTimeoutError, SandboxdError } from "./errors.js";
import { signalNumber, stdinFrames, type Signal } from "./requests.js";
import * as types from "./types.js";
import type { ExitStatus, LogChunk, Message, ProcessInfo, Result, StreamName } from "./types.js";

export const DEFAULT_MAX_OUTPUT = 64 << 20;

/** What `input` and `stdin` of the run methods take. */
export type Input = string | Uint8Array | Iterable<Uint8Array | string> | AsyncIterable<Uint8Array | string>;

export interface CommunicateOptions {
  input?: Input;
  /** The program is killed after that: RunTimeoutError. */
  timeoutMs?: number;
  /** It is killed after more bytes than that: OutputLimitError. 64 MiB if not given. */
  maxOutput?: number;
  /** Aborting kills it and throws the signal's reason. */
  signal?: AbortSignal;
}

export interface LogsOptions {
  /** Go on until the process has ended. */
  follow?: boolean;
  tailLines?: number;
  since?: Date;
}

export async function* logs(channel: Channel, process: Message, options: LogsOptions): AsyncGenerator<LogChunk> {
  const request: Message = { process, follow: options.follow ?? false, tailLines: options.tailLines ?? 0 };
  if (options.since) {
    const ms = options.since.getTime();
    request.since = { seconds: Math.floor(ms / 1000), nanos: (ms % 1000) * 1e6 };
  }
  const tries = channel.tries(options.follow ? undefined : channel.options.timeoutMs, false);
  try {
    for await (const m of channel.stream("processes", "Logs", request, tries.options())) yield types.logChunkOf(m);
  } catch (error) {
    throw channel.errorOf(error);
  }
}

/** stdin of a process. `write` waits while the program does not read. */
export class Stdin {
  private closed = false;
  constructor(private readonly attachment: Attachment) {}

  async write(data: Uint8Array | string): Promise<void> {
    if (this.closed) throw new Error("stdin is closed");
    for (const frame of stdinFrames(data)) {
      if (!(await this.attachment.send(frame))) throw new AbortedError("the process's streams are closed", "ABORTED");
    }
  }

  /** End of file for the program, after everything that was written. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.attachment.send({ closeStdin: {} });
  }
}

/** A process, with its streams if it was attached. */
export class Process {
  private input?: Stdin;

  /** Made by a Sandbox. `forget`: its record is deleted after communicate(). */
  constructor(
    private readonly channel: Channel,
    private readonly ref: Message,
    /** As it was at its start. */
    readonly info: ProcessInfo,
    private readonly attachment?: Attachment,
    private forget = false,
  ) {}

  get id(): string {
    return this.info.id;
  }
  /** Inside the sandbox. */
  get pid(): number {
    return this.info.pid;
  }
  get stdin(): Stdin {
    return (this.input ??= new Stdin(this.attached()));
  }
  get stdout(): OutputStream {
    return new OutputStream(this.attached(), "stdout");
  }
  get stderr(): OutputStream {
    return new OutputStream(this.attached(), "stderr");
  }
  /** How it ended, once its streams have been read to their end. */
  get exit(): ExitStatus | undefined {
    return this.attachment?.exit;
  }

  private attached(): Attachment {
    if (!this.attachment) throw new Error("this process is not attached: its output goes elsewhere (see logs())");
    return this.attachment;
  }

  /** What it writes, in the order in which it comes. */
  async *output(): AsyncGenerator<{ stream: StreamName; data: Buffer }> {
    for (;;) {
      const found = await this.attached().read();
      if (!found) return;
      yield found;
    }
  }

  /** Sends `input` and end of file, and reads until the process ends. */
  async communicate(options: CommunicateOptions = {}): Promise<Result> {
    const attachment = this.attached();
    const parts: Record<StreamName, Buffer[]> = { stdout: [], stderr: [] };
    const output = () => ({ stdout: Buffer.concat(parts.stdout), stderr: Buffer.concat(parts.stderr) });
    const max = options.maxOutput ?? DEFAULT_MAX_OUTPUT;
    let stopped: (() => Error) | undefined;
    const stop = (why: () => Error) => {
      stopped ??= why;
      void this.killQuietly();
    };
    const late = () => new RunTimeoutError(`the program did not end within ${options.timeoutMs} ms and was killed`, output());
    const timer = options.timeoutMs === undefined ? undefined : setTimeout(() => stop(late), options.timeoutMs);
    const abort = () => stop(() => options.signal!.reason as Error);
    if (options.signal?.aborted) abort();
    options.signal?.addEventListener("abort", abort);
    if (options.input !== undefined) this.feed(options.input).catch((error) => stop(() => error));
    try {
      let total = 0;
      for await (const { stream, data } of this.output()) {
        total += data.length;
        if (total > max) {
          parts[stream].push(data.subarray(0, data.length - (total - max)));
          stop(() => new OutputLimitError(`the program wrote more than ${max} bytes and was killed`, output()));
          break;
        }
        parts[stream].push(data);
      }
    } catch (error) {
      if (stopped) throw stopped();
      if (error instanceof DeadlineExceededError) throw new RunTimeoutError(error.message, output());
      throw error;
    } finally {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", abort);
    }
    const exit = attachment.exit;
    if (stopped && (!exit || exit.signal)) throw stopped();
    if (!exit) throw errorOf("ABORTED", "the streams were detached before the program ended");
    if (this.forget) await this.deleteQuietly();
    const { stdout, stderr } = output();
    return types.resultOf(exit, stdout, stderr);
  }

  private async feed(input: Input): Promise<void> {
    const pieces = typeof input === "string" || input instanceof Uint8Array ? [input] : input;
    try {
      for await (const piece of pieces) await this.stdin.write(piece);
      await this.stdin.close();
    } catch (error) {
      // The program has ended without reading all of it; its exit is the answer.
      if (!(error instanceof AbortedError)) throw error;
    }
  }

  /** For Sandbox. */
  async killQuietly(): Promise<void> {
    await this.signal("KILL").catch(ignoreCallErrors);
    this.attachment?.cancel();
  }

  /** For Sandbox: what remains to be done when nobody uses it any more. */
  async release(): Promise<void> {
    if (this.attachment && !this.exit) await this.killQuietly();
    if (this.forget) await this.deleteQuietly();
  }

  private async deleteQuietly(): Promise<void> {
    this.forget = false;
    await this.delete().catch(ignoreCallErrors); // the daemon drops old records by itself
  }

  /** Waits for its end. Does not read its output: a program whose output nobody reads waits too. */
  async wait(options: { timeoutMs?: number; signal?: AbortSignal } = {}): Promise<ExitStatus> {
    if (this.exit) return this.exit;
    const how = { ...options, waits: true, repeatable: true };
    return types.exitOf((await this.channel.call("processes", "Wait", { process: this.ref }, how)).exit);
  }

  async signal(signal: Signal): Promise<void> {
    await this.channel.call("processes", "Signal", { process: this.ref, signal: signalNumber(signal) });
  }

  kill(): Promise<void> {
    return this.signal("KILL");
  }

  /** Of its terminal. */
  async resize(rows: number, cols: number): Promise<void> {
    await this.attached().send({ resize: { rows, cols } });
  }

  /** Its log, if it was started with output "log". */
  logs(options: LogsOptions = {}): AsyncGenerator<LogChunk> {
    return logs(this.channel, this.ref, options);
  }

  /** Forgets the record of its exit. Idempotent. */
  async delete(): Promise<void> {
    await this.channel.call("processes", "Delete", { process: this.ref }, { repeatable: true });
  }

  /** Lets go of its streams. What becomes of it was said with `onDisconnect`. */
  detach(): void {
    this.attachment?.cancel();
  }
}

function ignoreCallErrors(error: unknown): void {
  if (!(error instanceof SandboxdError)) throw error;
}
