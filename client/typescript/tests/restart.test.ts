// Run by client_test.py, which kills and starts the daemon where this prints "restart" and answers on stdin.
import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import * as sandboxd from "../src/index.js";
import { client, options } from "./fixture.js";

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
async function restart(): Promise<void> {
  console.log("restart");
  await answers.next();
}

const script = "until [ -e /go ]; do sleep 0.1; done; exit 7";
const box = await client.create(["sh", "-c", script], options);
await box.start();
const cat = await client.create(["cat"], { ...options, stdin: true, output: "stream" });
await cat.start();
const attached = await cat.attach();
await attached.stdin.write("before");
const out = attached.stdout[Symbol.asyncIterator]();
assert.equal((await out.next()).value.toString(), "before");

const events = client.watch({ ids: [box.id] });
assert.equal((await events.next()).value.type, "existing");
assert.equal((await events.next()).value.type, "bookmark");
const coming = events.next();
const waiting = box.wait();

await restart();

// A watch begins anew and says so; a wait goes on; calls find the daemon; a cut stream is an error.
const event = (await coming).value;
assert.deepEqual([event.type, event.resynced], ["existing", true]);
await assert.rejects(out.next(), sandboxd.UnavailableError);
assert.equal((await box.run(["echo", "again"])).text, "again\n");
assert.equal((await (await cat.attach()).communicate({ input: "after" })).text, "after");
writeFileSync(join(options.rootfs!, "go"), "");
assert.equal((await waiting).code, 7);
await events.return(undefined);
await box.delete();
await cat.delete({ force: true });
client.close();
console.log("done");
process.exit(0);
