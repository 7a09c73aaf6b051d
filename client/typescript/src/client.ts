// Client: a connection to a daemon.
import type { ChannelCredentials, ServiceError } from "@grpc/grpc-js";
import { Channel } from "./channel.js";
import { OutOfRangeError } from "./errors.js";
import type { CommunicateOptions } from "./process.js";
import { addressOrDefault, createRequest, type CreateOptions } from "./requests.js";
import { Sandbox } from "./sandbox.js";
import * as types from "./types.js";
import type { DaemonInfo, Event, PlatformInfo, Result, SandboxState } from "./types.js";

export interface ClientOptions {
  /** Else SANDBOXD_ADDRESS, else unix:///run/sandboxd/sandboxd.sock. */
  address?: string;
  /** For each call that does not say otherwise; 60000. Calls that wait for a program have only their own. */
  timeoutMs?: number;
  /**
   * For how long a daemon that has answered before and is away is looked for again, by calls that may be made twice;
   * 10000.
   */
  reconnectMs?: number;
  /** Of a TLS channel, for a daemon that listens on TCP. */
  credentials?: ChannelCredentials;
}

export type RunOptions = Omit<CreateOptions, "stdin" | "output" | "autoDelete" | "timeoutMs"> & CommunicateOptions;

export interface WatchOptions {
  ids?: string[];
  labels?: Record<string, string>;
  /** Go on after the event that had it. */
  resumeToken?: string;
}

export class Client {
  private readonly channel: Channel;

  constructor(options: ClientOptions = {}) {
    this.channel = new Channel(addressOrDefault(options.address), {
      timeoutMs: options.timeoutMs ?? 60_000,
      reconnectMs: options.reconnectMs ?? 10_000,
      credentials: options.credentials,
    });
  }

  get address(): string {
    return this.channel.address;
  }

  /** Ends the connection. */
  close(): void {
    this.channel.close();
  }

  /**
   * Runs a program in a sandbox of its own, which is gone afterwards, whatever happens. `timeoutMs` is for the program:
   * it is killed then, and RunTimeoutError has what it wrote.
   */
  async run(args: readonly string[], options: RunOptions): Promise<Result> {
    const { input, timeoutMs, maxOutput, signal, ...create } = options;
    signal?.throwIfAborted();
    const box = await this.create(args, { ...create, stdin: input !== undefined, output: "stream", autoDelete: true });
    let result: Result;
    try {
      const process = await box.attach("", { onDisconnect: "kill", outputOnly: input === undefined });
      await box.start();
      result = await process.communicate({ input, timeoutMs, maxOutput, signal });
    } catch (error) {
      await box.delete({ force: true }).catch(() => {}); // the first error is the one that counts
      throw error;
    }
    await box.delete({ force: true });
    return result;
  }

  /** Prepares a sandbox; no code runs before start(). */
  async create(args: readonly string[], options: CreateOptions): Promise<Sandbox> {
    const request = createRequest(args, options);
    const how = { timeoutMs: options.timeoutMs, repeatable: true };
    const made = await this.channel.call("sandboxes", "Create", request, how);
    return new Sandbox(this.channel, request.id, types.sandboxOf(made));
  }

  /** Creates a sandbox, starts it, hands it to `use`, and kills and deletes it afterwards, whatever happens. */
  async with<T>(args: readonly string[], options: CreateOptions, use: (box: Sandbox) => Promise<T>): Promise<T> {
    const box = await this.create(args, options);
    let value: T;
    try {
      value = await use(await box.start());
    } catch (error) {
      await box.delete({ force: true }).catch(() => {});
      throw error;
    }
    await box.delete({ force: true });
    return value;
  }

  /** A sandbox that exists; NotFoundError otherwise. */
  async get(id: string): Promise<Sandbox> {
    const found = await this.channel.call("sandboxes", "Get", { id }, { repeatable: true });
    return new Sandbox(this.channel, id, types.sandboxOf(found));
  }

  /** All of them, or those that have all of these labels and one of these states. */
  async list(options: { labels?: Record<string, string>; states?: SandboxState[] } = {}): Promise<Sandbox[]> {
    const states = (options.states ?? []).map((state) => `STATE_${state.toUpperCase()}`);
    const found: Sandbox[] = [];
    let pageToken = "";
    do {
      const request = { labelSelector: options.labels ?? {}, states, pageSize: 1000, pageToken };
      const page = await this.channel.call("sandboxes", "List", request, { repeatable: true });
      for (const m of page.sandboxes) found.push(new Sandbox(this.channel, m.id, types.sandboxOf(m)));
      pageToken = page.nextPageToken;
    } while (pageToken);
    return found;
  }

  /** Whether there was one. `force` kills it if it runs. */
  async delete(id: string, options: { force?: boolean } = {}): Promise<boolean> {
    const request = { id, force: options.force ?? false };
    return (await this.channel.call("sandboxes", "Delete", request, { repeatable: true })).existed;
  }

  /**
   * Changes as they happen: first what is ("existing"), then "bookmark", then changes, until the caller leaves the loop.
   * If the connection is lost it goes on where it was; where the daemon can't (it was restarted) the present state comes
   * again, marked `resynced`.
   */
  async *watch(options: WatchOptions = {}): AsyncGenerator<Event> {
    const request = {
      ids: options.ids ?? [],
      labelSelector: options.labels ?? {},
      resumeToken: options.resumeToken ?? "",
    };
    const tries = this.channel.tries(undefined, true);
    let resumed = false;
    let resynced = false;
    for (;;) {
      const started = Date.now();
      try {
        for await (const message of this.channel.stream("sandboxes", "Watch", request, {})) {
          tries.answered(this.channel.options.reconnectMs);
          if (message.resumeToken) request.resumeToken = message.resumeToken;
          yield types.eventOf(message, resynced);
        }
        return;
      } catch (error) {
        if (typeof (error as ServiceError).code !== "number") throw error;
        if (resumed && this.channel.errorOf(error) instanceof OutOfRangeError) {
          request.resumeToken = "";
          resynced = true;
          continue;
        }
        await tries.failed(error as ServiceError, started);
        resumed = true;
      }
    }
  }

  async info(): Promise<DaemonInfo> {
    return types.infoOf(await this.channel.call("daemon", "Info", {}, { repeatable: true }));
  }

  async version(): Promise<string> {
    return (await this.channel.call("daemon", "Version", {}, { repeatable: true })).version;
  }

  /** What works on its host, best first. */
  async platforms(): Promise<PlatformInfo[]> {
    const { platforms } = await this.channel.call("daemon", "ListPlatforms", {}, { repeatable: true });
    return platforms.map((p: PlatformInfo) => ({ ...p }));
  }
}
