// A process's standard streams over one Attach call.
//
// gRPC's own buffer aside (16 frames), nothing is read ahead: a frame is taken from the call when a reader needs one, so
// that a slow reader slows the program. A reader of one stream sets frames of the other aside, at most ASIDE bytes; then
// it waits for the other's reader, as with two pipes.
import type * as grpc from "@grpc/grpc-js";
import type { Channel } from "./channel.js";
import { errorOf } from "./errors.js";
import { exitOf, type ExitStatus, type Message, type StreamName } from "./types.js";

const ASIDE = 1 << 20;

interface Queue {
  frames: { order: number; data: Buffer }[];
  size: number;
}

/** A promise that somebody else resolves. */
class Signal {
  readonly promise: Promise<void>;
  fire!: () => void;
  constructor() {
    this.promise = new Promise((resolve) => (this.fire = resolve));
  }
}

export class Attachment {
  exit?: ExitStatus;
  detached = false;
  /** As it was when the streams were attached. */
  process: Message;
  private readonly frames: AsyncIterator<Message>;
  private readonly queues: Record<StreamName, Queue> = {
    stdout: { frames: [], size: 0 },
    stderr: { frames: [], size: 0 },
  };
  private count = 0;
  private reading?: Promise<void>;
  private room = new Signal();
  private ended = false;
  private error?: Error;
  private readonly over = new Signal();
  private isOver = false;

  private constructor(
    private readonly channel: Channel,
    private readonly call: grpc.ClientDuplexStream<Message, Message>,
  ) {
    call.on("error", () => {}); // the iterator throws it
    call.on("status", () => {
      this.isOver = true;
      this.over.fire();
    });
    this.frames = call[Symbol.asyncIterator]();
  }

  static async open(channel: Channel, start: Message, timeoutMs?: number): Promise<Attachment> {
    const options = timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
    const attachment = new Attachment(channel, channel.attach(options));
    attachment.call.write({ start });
    try {
      const first = await attachment.frames.next();
      if (first.done) throw errorOf("INTERNAL", "the daemon ended the stream before it began");
      attachment.process = first.value.started.process;
    } catch (error) {
      throw typeof (error as Message).code === "number" ? channel.errorOf(error) : error;
    }
    return attachment;
  }

  /** The next bytes of a stream, or of whichever comes first; undefined at the end. */
  async read(stream?: StreamName): Promise<{ stream: StreamName; data: Buffer } | undefined> {
    for (;;) {
      const found = this.take(stream);
      if (found) return found;
      if (this.ended) {
        if (this.error) throw this.error;
        return undefined;
      }
      const other = stream && this.queues[stream === "stdout" ? "stderr" : "stdout"];
      if (other && other.size >= ASIDE) {
        this.room = new Signal();
        await this.room.promise;
        continue;
      }
      this.reading ??= this.pull();
      await this.reading;
    }
  }

  private take(stream?: StreamName): { stream: StreamName; data: Buffer } | undefined {
    const order = (name: StreamName) => this.queues[name].frames[0]?.order ?? Infinity;
    const name = stream ?? (order("stdout") <= order("stderr") ? "stdout" : "stderr");
    const frame = this.queues[name].frames.shift();
    if (!frame) return undefined;
    this.queues[name].size -= frame.data.length;
    this.room.fire();
    return { stream: name, data: frame.data };
  }

  /** Takes one frame from the call. Never rejects. */
  private async pull(): Promise<void> {
    try {
      const next = await this.frames.next();
      if (!next.done) {
        this.sort(next.value);
        return;
      }
      this.ended = true;
      if (!this.exit && !this.detached) {
        this.error = errorOf("INTERNAL", "the daemon ended the stream without the program's exit status");
      }
    } catch (error) {
      this.ended = true;
      this.error = this.channel.errorOf(error);
    } finally {
      this.reading = undefined;
      this.room.fire();
    }
  }

  private sort(message: Message): void {
    const kind: string = message.frame;
    if (kind === "stdout" || kind === "stderr") {
      const data: Buffer = message[kind];
      this.queues[kind].frames.push({ order: this.count++, data });
      this.queues[kind].size += data.length;
    } else if (kind === "exit") {
      this.exit = exitOf(message.exit);
    } else if (kind === "detached") {
      this.detached = true;
    }
  }

  /** Resolves when the frame is on its way, which waits for a program that does not read. False: the call has ended. */
  async send(frame: Message): Promise<boolean> {
    if (this.isOver) return false;
    const sent = new Promise<boolean>((resolve) => this.call.write(frame, (error: unknown) => resolve(!error)));
    return Promise.race([sent, this.over.promise.then(() => false)]);
  }

  /** Ends the call now; what it does to the process was said at its start (onDisconnect). */
  cancel(): void {
    this.call.cancel();
  }
}

/** stdout or stderr of a process: an async iterable of bytes as they come, not cut at lines. */
export class OutputStream implements AsyncIterable<Buffer> {
  constructor(
    private readonly attachment: Attachment,
    private readonly name: StreamName,
  ) {}

  [Symbol.asyncIterator](): AsyncIterator<Buffer> {
    return {
      next: async () => {
        const found = await this.attachment.read(this.name);
        return found ? { done: false, value: found.data } : { done: true, value: undefined };
      },
    };
  }

  /** Everything until the end. */
  async read(): Promise<Buffer> {
    const parts: Buffer[] = [];
    for await (const data of this) parts.push(data);
    return Buffer.concat(parts);
  }

  /** Line by line as text, without newlines. */
  async *lines(): AsyncGenerator<string> {
    let rest = Buffer.alloc(0);
    for await (const data of this) {
      rest = Buffer.concat([rest, data]);
      for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
        yield rest.subarray(0, end).toString("utf8");
        rest = rest.subarray(end + 1);
      }
    }
    if (rest.length > 0) yield rest.toString("utf8");
  }
}
