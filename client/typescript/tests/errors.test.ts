// Errors against a server that fails as it is told; no daemon.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import * as sandboxd from "../src/index.js";

const field = (number: number, data: Buffer | string): Buffer => {
  const bytes = Buffer.from(data as string);
  assert.ok(bytes.length < 128 * 128);
  const length = bytes.length < 128 ? [bytes.length] : [(bytes.length & 127) | 128, bytes.length >> 7];
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...length]), bytes]);
};
const any = (kind: string, value: Buffer) =>
  field(3, Buffer.concat([field(1, `type.googleapis.com/google.rpc.${kind}`), field(2, value)]));

let failure: { code: grpc.status; reason: string; violations?: [string, string][]; garbage?: Buffer };

const server = new grpc.Server();
const raw = (value: Buffer) => value;
server.addService(
  {
    Get: {
      path: "/sandboxd.v1.SandboxService/Get",
      requestStream: false,
      responseStream: false,
      requestSerialize: raw,
      requestDeserialize: raw,
      responseSerialize: raw,
      responseDeserialize: raw,
    },
  },
  {
    Get: (_: unknown, answer: grpc.sendUnaryData<Buffer>) => {
      const info = Buffer.concat([field(1, failure.reason), field(3, Buffer.concat([field(1, "path"), field(2, "/x")]))]);
      const violations = (failure.violations ?? []).map(([name, text]) =>
        field(1, Buffer.concat([field(1, name), field(2, text)])),
      );
      const details = [Buffer.from([8, 3]), field(2, "a sentence"), any("ErrorInfo", info)];
      if (violations.length) details.push(any("BadRequest", Buffer.concat(violations)));
      const metadata = new grpc.Metadata();
      metadata.set("grpc-status-details-bin", failure.garbage ?? Buffer.concat(details));
      answer({ code: failure.code, details: "a sentence", metadata });
    },
  },
);

let client: sandboxd.Client;
before(async () => {
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (e, p) => (e ? reject(e) : resolve(p))),
  );
  client = new sandboxd.Client({ address: `127.0.0.1:${port}` });
});
after(() => {
  client.close();
  server.forceShutdown();
});

async function fail(how: typeof failure): Promise<sandboxd.SandboxdError> {
  failure = how;
  const error = await client.get("box").then(
    () => assert.fail("it worked"),
    (e) => e,
  );
  assert.ok(error instanceof sandboxd.SandboxdError, String(error));
  return error;
}

test("the whole error arrives", async () => {
  const error = await fail({
    code: grpc.status.INVALID_ARGUMENT,
    reason: "INVALID_FIELD",
    violations: [
      ["spec.a", "is wrong"],
      ["spec.b", "x".repeat(300)],
    ],
  });
  assert.ok(error instanceof sandboxd.InvalidArgumentError);
  assert.deepEqual([error.message, error.code, error.reason], ["a sentence", "INVALID_ARGUMENT", "INVALID_FIELD"]);
  assert.deepEqual(error.metadata, { path: "/x" });
  assert.deepEqual(error.fieldViolations, [
    { field: "spec.a", description: "is wrong" },
    { field: "spec.b", description: "x".repeat(300) },
  ]);
});

test("every code has a class", async () => {
  const names = Object.keys(grpc.status).filter((name) => Number.isNaN(Number(name)) && name !== "OK");
  for (const name of names) {
    const error = await fail({ code: grpc.status[name as keyof typeof grpc.status], reason: "SOMETHING" });
    assert.equal(error.code, name);
    assert.equal(error.reason, "SOMETHING");
  }
  assert.ok((await fail({ code: grpc.status.UNIMPLEMENTED, reason: "NOT_IMPLEMENTED" })) instanceof sandboxd.UnimplementedError);
});
