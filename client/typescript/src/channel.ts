// The channel to a daemon, and which calls are made again when it comes back.
import { setTimeout as sleep } from "node:timers/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { fromRpc, isTransportLoss, type SandboxdError } from "./errors.js";
import type { Message } from "./types.js";

/** Between two tries to reach a daemon that is away. */
const RETRY_MS = 100;

let loaded: Message;

function services(): Message {
  if (loaded === undefined) {
    const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
    const files = ["sandbox", "process", "daemon"].map((name) => `proto/sandboxd/v1/${name}.proto`);
    const definition = loadSync(files, { includeDirs: [root], longs: Number, enums: String, defaults: true, oneofs: true });
    loaded = (grpc.loadPackageDefinition(definition) as Message).sandboxd.v1;
  }
  return loaded;
}

export interface ChannelOptions {
  timeoutMs?: number;
  reconnectMs: number;
  credentials?: grpc.ChannelCredentials;
}

export interface CallOptions {
  /** Else the client's. */
  timeoutMs?: number;
  /** It waits for a program: no deadline unless one is given. */
  waits?: boolean;
  /** Making it twice does no harm. */
  repeatable?: boolean;
  signal?: AbortSignal;
}

export type ServiceName = "sandboxes" | "processes" | "daemon";

/**
 * How often one call may be made: until its deadline, and `patienceMs` long while no daemon answers. Patience is for
 * calls that may be made twice; others are made once, because a lost connection does not tell whether the daemon has
 * done what was asked.
 */
export class Tries {
  private readonly deadline?: number;
  private awaySince?: number;

  constructor(
    private readonly address: string,
    timeoutMs: number | undefined,
    private patienceMs: number,
  ) {
    if (timeoutMs !== undefined) this.deadline = Date.now() + timeoutMs;
  }

  options(): grpc.CallOptions {
    return this.deadline === undefined ? {} : { deadline: this.deadline };
  }

  /** The daemon was there; from now on it is waited for. */
  answered(patienceMs: number): void {
    this.patienceMs = patienceMs;
    this.awaySince = undefined;
  }

  /** Waits until the next try, after one that began at `started` and failed; throws if there is to be none. */
  async failed(error: grpc.ServiceError, started: number): Promise<void> {
    const now = Date.now();
    if (!isTransportLoss(error) || this.patienceMs <= 0) throw fromRpc(error, this.address);
    if (this.awaySince === undefined || now - started > this.patienceMs) this.awaySince = now;
    const until = Math.min(this.awaySince + this.patienceMs, this.deadline ?? Infinity);
    if (now + RETRY_MS > until) throw fromRpc(error, this.address);
    await sleep(RETRY_MS);
  }
}

export class Channel {
  private readonly clients: Record<ServiceName, grpc.Client & Message>;
  private seen = false;

  constructor(
    readonly address: string,
    readonly options: ChannelOptions,
  ) {
    const credentials = options.credentials ?? grpc.credentials.createInsecure();
    const settings: grpc.ChannelOptions = {
      "grpc.max_receive_message_length": 64 << 20,
      // A daemon that is not there is an answer; one that restarts is found again soon.
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 500,
      "grpc.use_local_subchannel_pool": 1,
    };
    const { SandboxService, ProcessService, DaemonService } = services();
    const first = new SandboxService(address, credentials, settings);
    const shared = { ...settings, channelOverride: first.getChannel() };
    this.clients = {
      sandboxes: first,
      processes: new ProcessService(address, credentials, shared),
      daemon: new DaemonService(address, credentials, shared),
    };
  }

  close(): void {
    this.clients.sandboxes.close();
  }

  tries(timeoutMs: number | undefined, repeatable: boolean): Tries {
    return new Tries(this.address, timeoutMs, repeatable && this.seen ? this.options.reconnectMs : 0);
  }

  async call(service: ServiceName, method: string, request: Message, how: CallOptions = {}): Promise<Message> {
    const timeoutMs = how.timeoutMs ?? (how.waits ? undefined : this.options.timeoutMs);
    const tries = this.tries(timeoutMs, how.repeatable ?? false);
    for (;;) {
      const started = Date.now();
      try {
        const answer = await this.once(service, method, request, tries.options(), how.signal);
        this.seen = true;
        return answer;
      } catch (error) {
        if (how.signal?.aborted) throw how.signal.reason;
        await tries.failed(error as grpc.ServiceError, started);
      }
    }
  }

  private once(service: ServiceName, method: string, request: Message, options: grpc.CallOptions, signal?: AbortSignal) {
    return new Promise<Message>((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const abort = () => call.cancel();
      const call = this.clients[service][method](request, new grpc.Metadata(), options, (e: unknown, answer: Message) => {
        signal?.removeEventListener("abort", abort);
        if (e) reject(e);
        else resolve(answer);
      });
      signal?.addEventListener("abort", abort);
    });
  }

  /** A stream of messages from the daemon; leaving the loop ends the call. Throws what gRPC throws. */
  async *stream(service: ServiceName, method: string, request: Message, options: grpc.CallOptions) {
    const call: grpc.ClientReadableStream<Message> = this.clients[service][method](request, new grpc.Metadata(), options);
    call.on("error", () => {}); // the loop below throws it
    try {
      for await (const message of call) yield message as Message;
    } finally {
      call.cancel();
    }
  }

  attach(options: grpc.CallOptions): grpc.ClientDuplexStream<Message, Message> {
    return this.clients.processes.Attach(new grpc.Metadata(), options);
  }

  errorOf(error: unknown): SandboxdError {
    return fromRpc(error as grpc.ServiceError, this.address);
  }
}
