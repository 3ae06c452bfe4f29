/** Copies of memory in a file that another process may truncate. */
import { closeSync, fstatSync, ftruncateSync, openSync, readSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EventFd } from "../../../src/sys/eventfd.js";
import { CopyWindow, GuardedMemory, isInMemory } from "../../../src/sys/guarded-memory.js";
import { memfd } from "../../../src/sys/syscalls.js";
import { unsealableFile } from "../../support/served-memory.js";

const PAGE = 4096;
/** More than passes through the window at once. */
const BYTES = 50 * PAGE;

let fd: number;
let window: CopyWindow;
let memory: GuardedMemory;

beforeEach(() => {
  fd = unsealableFile(BYTES + PAGE);
  window = new CopyWindow();
  memory = GuardedMemory.ofFile(fd, PAGE, BYTES, "a part of a file", window);
});

afterEach(() => {
  memory.close();
  window.close();
  closeSync(fd);
});

test("copies any length to the file and from it", () => {
  const source = Uint8Array.from({ length: BYTES - 5 }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
  expect(memory.write(3, source, 1, source.length - 1)).toBe(true);
  const inFile = new Uint8Array(source.length - 1);
  readSync(fd, inFile, 0, inFile.length, PAGE + 3);
  expect(Buffer.compare(inFile, source.subarray(1))).toBe(0);
  const target = new Uint8Array(source.length + 2);
  expect(memory.read(3, target, 2, source.length - 1)).toBe(true);
  expect(Buffer.compare(target.subarray(2, -1), source.subarray(1))).toBe(0);
});

test("fails where the file was truncated, and doesn't make it longer", () => {
  const part = new Uint8Array(PAGE);
  ftruncateSync(fd, 3 * PAGE);
  expect(memory.write(PAGE, part, 0, PAGE)).toBe(true);
  expect(memory.write(2 * PAGE, part, 0, PAGE)).toBe(false);
  expect(memory.write(2 * PAGE - 8, part, 0, 16)).toBe(false);
  expect(memory.read(2 * PAGE, part, 0, PAGE)).toBe(false);
  expect(memory.read(2 * PAGE - 8, part, 0, 16)).toBe(false);
  expect(fstatSync(fd).size).toBe(3 * PAGE);
});

test("reaches nothing beyond its part, and nothing once it is closed", () => {
  const part = new Uint8Array(2);
  expect(memory.read(BYTES - 2, part, 0, 2)).toBe(true);
  expect(memory.read(BYTES - 1, part, 0, 2)).toBe(false);
  expect(memory.read(-1, part, 0, 2)).toBe(false);
  memory.close();
  expect(memory.read(0, part, 0, 2)).toBe(false);
  expect(memory.write(0, part, 0, 2)).toBe(false);
});

test("a file is in memory if it is in tmpfs, as a memfd is", () => {
  const inMemory = memfd("guarded", PAGE);
  const onDisk = openSync(process.execPath, "r");
  using event = new EventFd();
  expect([fd, inMemory, onDisk, event.fd].map(isInMemory)).toEqual([true, true, false, false]);
  closeSync(inMemory);
  closeSync(onDisk);
});
