// What every test needs: a client of the daemon that client_test.py runs, and the root file system.
import { createHash } from "node:crypto";
import { Client, type CreateOptions } from "../src/index.js";

export const options: CreateOptions = {
  rootfs: process.env.ROOTFS!,
  platform: process.env.SANDBOXD_TEST_PLATFORM ?? "auto",
};

export const client = new Client();

/** `size` bytes that no other seed gives. */
export function block(seed: number, size: number): Buffer {
  return createHash("shake128", { outputLength: size }).update(String(seed)).digest();
}
