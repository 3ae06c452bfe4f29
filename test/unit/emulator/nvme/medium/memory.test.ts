/** Tests of the medium in memory. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { ConfigError } from "../../../../../src/core/errors.js";
import { MemoryMedium } from "../../../../../src/emulator/nvme/medium/medium.js";
import { memoryLimitBytes } from "../../../../../src/emulator/nvme/medium/memory-limit.js";
import { Child } from "../../../../support/child.js";
import { socketFolder } from "../../../../support/emulators.js";
import { compileCli, type IovaCli } from "../../../../support/iova-cli.js";

const MIB = 2 ** 20;
const GIB = 2 ** 30;
let cli: IovaCli;

beforeAll(() => {
  cli = compileCli();
});
afterAll(() => cli?.[Symbol.dispose]());

/** VmRSS of a process in bytes. */
function residentBytes(pid: number): number {
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kib) * 1024;
}

test("a process that serves an empty medium of 1 GiB takes a small part of it from the system", async () => {
  const socket = join(socketFolder(), "nvme");
  const child = new Child(cli.path, "emulate", "nvme", "--socket", socket, "--size", "1G");
  onTestFinished(() => child.kill());
  await child.says("Ctrl-C ends it");
  expect(residentBytes(child.pid)).toBeLessThan(512 * MIB);
});

test("a medium in memory stores data beyond 1 GiB, and reads zeros elsewhere", () => {
  const medium = MemoryMedium.create(2 * GIB);
  onTestFinished(() => medium.close());
  const written = Uint8Array.from({ length: 8192 }, (_, i) => i % 251);
  const read = new Uint8Array(8192);
  // Across the border of two mappings.
  expect(medium.write(GIB - 4096, written, 0, 8192)).toBe(true);
  expect(medium.read(GIB - 4096, read, 0, 8192)).toBe(true);
  expect(read).toEqual(written);
  expect(medium.fill(GIB - 2 * MIB, 4 * MIB, 0)).toBe(true);
  expect(medium.read(GIB - 4096, read, 0, 8192)).toBe(true);
  expect(read).toEqual(new Uint8Array(8192));
});

test("a medium larger than the machine's memory is an error that says what to do", () => {
  const create = () => MemoryMedium.create(memoryLimitBytes() + GIB);
  expect(create).toThrow(ConfigError);
  expect(create).toThrow(/does not fit into memory.*choose a smaller size, or store the medium in a file/);
});
