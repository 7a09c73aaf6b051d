import assert from "node:assert/strict";
import { after, test } from "node:test";
import * as sandboxd from "../src/index.js";
import { block, client, options } from "./fixture.js";

after(async () => {
  assert.deepEqual(await client.list(), []);
  client.close();
});

const sleeper = <T>(use: (box: sandboxd.Sandbox) => Promise<T>) => client.with(["sleep", "1000"], options, use);

test("run: output and status", async () => {
  const done = await client.run(["sh", "-c", "echo out; echo err >&2; exit 3"], options);
  assert.deepEqual([done.text, done.stderr.toString(), done.exitCode], ["out\n", "err\n", 3]);
});

test("run: input of every kind", async () => {
  const data = block(1, 3 << 20);
  assert.ok(data.equals((await client.run(["cat"], { ...options, input: data })).stdout));
  assert.equal((await client.run(["cat"], { ...options, input: "text" })).text, "text");
  async function* source() {
    for (let n = 0; n < 3; n++) yield `${n}`;
  }
  assert.equal((await client.run(["cat"], { ...options, input: source() })).text, "012");
  assert.equal((await client.run(["sh", "-c", "exit 4"], { ...options, input: Buffer.alloc(8 << 20) })).exitCode, 4);
});

test("run: a source of input that fails", async () => {
  async function* source() {
    yield "some";
    throw new Error("no more");
  }
  await assert.rejects(client.run(["cat"], { ...options, input: source() }), /no more/);
});

test("run: environment, user, folder, mounts", async () => {
  const done = await client.run(["sh", "-c", "echo $A; id -u; id -g; pwd; echo x >/tmp/f && cat /tmp/f; echo x >/etc/f"], {
    ...options,
    env: { A: "1" },
    user: [7, 8],
    cwd: "/tmp",
    readonly: true,
    mounts: [{ destination: "/tmp", type: "tmpfs", options: ["mode=1777"] }],
  });
  assert.equal(done.text, "1\n7\n8\n/tmp\nx\n");
  assert.notEqual(done.exitCode, 0);
});

test("run: too late, too much, aborted", async () => {
  await assert.rejects(client.run(["sh", "-c", "echo began; sleep 1000"], { ...options, timeoutMs: 5000 }), (error) => {
    assert.ok(error instanceof sandboxd.RunTimeoutError && error instanceof sandboxd.DeadlineExceededError);
    assert.equal(error.output.stdout.toString(), "began\n");
    return true;
  });
  await assert.rejects(client.run(["yes"], { ...options, maxOutput: 100000 }), (error) => {
    assert.ok(error instanceof sandboxd.OutputLimitError);
    assert.equal(error.output.stdout.length, 100000);
    return true;
  });
  const abort = new AbortController();
  const running = client.run(["sleep", "1000"], { ...options, signal: abort.signal });
  for await (const event of client.watch()) if (event.type === "started") break;
  abort.abort(new Error("enough"));
  await assert.rejects(running, /enough/);
});

test("mistakes are errors with the daemon's sentence", async () => {
  await assert.rejects(client.run(["nosuch"], options), (error) => {
    assert.ok(error instanceof sandboxd.FailedPreconditionError);
    assert.equal(error.reason, "PROGRAM_NOT_FOUND");
    assert.match(error.message, /nosuch/);
    return true;
  });
  await assert.rejects(client.run(["true"], { rootfs: "/nonexistent" }), (error) => {
    assert.ok(error instanceof sandboxd.FailedPreconditionError);
    assert.equal(error.metadata.path, "/nonexistent");
    return true;
  });
  await assert.rejects(client.run(["true"], { ...options, cwd: "relative" }), (error) => {
    assert.ok(error instanceof sandboxd.InvalidArgumentError);
    assert.equal(error.fieldViolations[0]?.field, "spec.containers[0].process.cwd");
    return true;
  });
  await assert.rejects(client.get("ghost"), sandboxd.NotFoundError);
  await assert.rejects(client.create(["true"], {}), TypeError);
  await assert.rejects(client.run("true" as unknown as string[], options), TypeError);
});

test("without a daemon the error comes at once and says what to do", async () => {
  const nobody = new sandboxd.Client({ address: "unix:///nonexistent/s.sock" });
  await assert.rejects(nobody.list(), (error) => {
    assert.ok(error instanceof sandboxd.UnavailableError);
    assert.match(error.message, /no daemon answers at unix:\/\/\/nonexistent/);
    return true;
  });
  nobody.close();
});

test("the life of a sandbox", async () => {
  const box = await client.create(["sh", "-c", "echo logged; exit 6"], { ...options, id: "box", labels: { a: "b" } });
  assert.deepEqual([box.id, box.info.state, box.info.labels], ["box", "created", { a: "b" }]);
  await box.start();
  assert.equal((await box.wait()).code, 6);
  assert.equal((await box.refresh()).state, "stopped");
  assert.ok(box.info.createTime instanceof Date);
  let log = "";
  for await (const chunk of box.logs({ follow: true })) log += chunk.data.toString();
  assert.equal(log, "logged\n");
  assert.deepEqual((await client.list({ labels: { a: "b" }, states: ["stopped"] })).map((b) => b.id), ["box"]);
  await assert.rejects(box.exec(["true"]), sandboxd.FailedPreconditionError);
  assert.equal(await box.delete(), true);
  assert.equal(await box.delete(), false);
});

test("create is idempotent", async () => {
  const box = await client.create(["true"], { ...options, id: "box" });
  await client.create(["true"], { ...options, id: "box" });
  await assert.rejects(client.create(["false"], { ...options, id: "box" }), sandboxd.AlreadyExistsError);
  await box.delete();
});

test("a deadline of a wait, and signals", async () => {
  await sleeper(async (box) => {
    await assert.rejects(box.wait({ timeoutMs: 200 }), sandboxd.DeadlineExceededError);
    await box.signal("SIGKILL");
    assert.equal((await box.wait()).signal, 9);
  });
});

test("watch", async () => {
  const seen: string[] = [];
  for await (const event of client.watch({ ids: ["box"] })) {
    seen.push(event.type);
    if (event.type === "bookmark") void client.run(["true"], { ...options, id: "box" });
    if (event.type === "deleted") break;
  }
  const wanted = ["bookmark", "created", "started", "process_exited", "stopped", "deleted"];
  assert.deepEqual(seen.filter((type) => wanted.includes(type)), wanted);
});

test("a conversation", async () => {
  await sleeper(async (box) => {
    const script = "read a; echo got $a; read b; echo and $b; echo e >&2; exit 9";
    const process = await box.exec(["sh", "-c", script], { stdin: true });
    const out = process.stdout[Symbol.asyncIterator]();
    await process.stdin.write("one\n");
    assert.equal((await out.next()).value.toString(), "got one\n");
    await process.stdin.write("two\n");
    const lines = [];
    for await (const line of process.stdout.lines()) lines.push(line);
    assert.deepEqual(lines, ["and two"]);
    assert.equal((await process.stderr.read()).toString(), "e\n");
    assert.deepEqual([process.exit?.code, (await process.wait()).code], [9, 9]);
    await assert.rejects(process.stdin.write("more"), sandboxd.AbortedError);
  });
});

test("both streams, full, at once", async () => {
  const size = 3 << 20;
  await sleeper(async (box) => {
    const script = `head -c ${size} /dev/zero & head -c ${size} /dev/zero >&2; wait`;
    const process = await box.exec(["sh", "-c", script]);
    const [out, err] = await Promise.all([process.stdout.read(), process.stderr.read()]);
    assert.deepEqual([out.length, err.length], [size, size]);
  });
});

test("a slow reader slows the program", async () => {
  const size = 64 << 20;
  await sleeper(async (box) => {
    const process = await box.exec(["head", "-c", String(size), "/dev/zero"]);
    // Nobody reads: it can't end. Then all of it comes.
    await assert.rejects(process.wait({ timeoutMs: 3000 }), sandboxd.DeadlineExceededError);
    let read = 0;
    for await (const data of process.stdout) read += data.length;
    assert.deepEqual([read, process.exit?.code], [size, 0]);
  });
});

test("processes, logs, terminals, attach", async () => {
  await sleeper(async (box) => {
    const second = await box.exec(["sleep", "500"], { id: "second" });
    assert.ok((await box.ps()).some((p) => p.pid === second.pid && p.id === "second"));
    await (await box.process("second")).signal("TERM");
    assert.equal((await second.communicate()).exitCode, 128 + 15);

    const logged = await box.exec(["sh", "-c", "echo one; echo two >&2"], { output: "log" });
    await logged.wait();
    const chunks = [];
    for await (const { stream, data } of logged.logs({ follow: true })) chunks.push(`${stream} ${data}`);
    assert.deepEqual(chunks.sort(), ["stderr two\n", "stdout one\n"]);
    assert.throws(() => logged.stdout);

    const terminal = await box.exec(["sh", "-c", "trap 'stty size; exit' WINCH; stty size; while :; do sleep 0.1; done"], {
      terminal: true,
      terminalSize: { rows: 33, cols: 99 },
    });
    const sizes: string[] = [];
    for await (const line of terminal.stdout.lines()) {
      sizes.push(line.trim());
      if (sizes.length === 1) await terminal.resize(44, 111);
    }
    assert.deepEqual(sizes, ["33 99", "44 111"]);
  });
  const box = await client.create(["cat"], { ...options, stdin: true, output: "stream" });
  const process = await box.attach();
  await assert.rejects(box.attach(), sandboxd.FailedPreconditionError);
  await box.start();
  assert.equal((await process.communicate({ input: "through" })).text, "through");
  await box.delete({ force: true });
});

test("the daemon tells about itself", async () => {
  assert.ok((await client.info()).features.includes("attach"));
  assert.match(await client.version(), /^\d+\.\d+/);
  assert.ok((await client.platforms()).length > 0);
});

test("two hundred execs at once lose no byte", async () => {
  await sleeper(async (box) => {
    const one = async (number: number) => {
      const input = block(number, 50000 + number);
      const done = await box.run(["sh", "-c", `cat; exit ${number % 100}`], { input });
      return done.stdout.equals(input) && done.exitCode === number % 100;
    };
    const done = await Promise.all(Array.from({ length: 200 }, (_, n) => one(n)));
    assert.deepEqual(done, Array(200).fill(true));
  });
});
