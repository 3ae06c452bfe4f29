/** DmaBuffer.write() and read(). */
import { afterEach, beforeEach, expect, test } from "vitest";
import { ArgumentError, ClosedError } from "../../../src/core/errors.js";
import type { DmaBuffer } from "../../../src/dma/buffer.js";
import { DmaSpace } from "../../../src/dma/space.js";
import { IdentityMapper } from "../../support/identity-mapper.js";

const SIZE = 8192;
let mapper: IdentityMapper;
let space: DmaSpace;
let buffer: DmaBuffer;
beforeEach(() => {
  mapper = new IdentityMapper();
  space = new DmaSpace(mapper);
  buffer = space.alloc(SIZE);
});
// Closes the space and everything in it.
afterEach(() => mapper.lease.close());

const heap = Uint8Array.from({ length: SIZE + 8 }, (_, i) => (i * 7) ^ (i >> 8));

test.each([0, 1, 60, 255, 256, 1023, 1024, 1514, 4096])(
  "write() and read() copy %i bytes between the buffer and the heap, aligned or not, and no others",
  (length) => {
    for (const [offset, start] of [
      [0, 0],
      [2048, 1],
      [3, 3],
      [SIZE - length, 2],
    ] as const) {
      buffer.bytes.fill(0xee);
      const source = heap.subarray(start, start + length);
      buffer.write(source, offset);
      const expected = new Uint8Array(SIZE).fill(0xee);
      expected.set(source, offset);
      expect(Buffer.compare(buffer.bytes, expected)).toBe(0);
      const target = new Uint8Array(length + 8).fill(0xdd);
      buffer.read(target.subarray(start, start + length), offset);
      const read = new Uint8Array(length + 8).fill(0xdd);
      read.set(source, start);
      expect(Buffer.compare(target, read)).toBe(0);
    }
  },
);

test("write() and read() copy between two buffers", () => {
  const other = space.alloc(SIZE);
  buffer.write(heap.subarray(0, SIZE));
  other.write(buffer.view(1, 5000), 7);
  buffer.read(other.view(6000, 2000), 100);
  expect(Buffer.compare(other.view(7, 5000), heap.subarray(1, 5001))).toBe(0);
  expect(Buffer.compare(other.view(6000, 2000), heap.subarray(100, 2100))).toBe(0);
});

test.each([
  ["a range outside the buffer", SIZE, 1],
  ["a negative offset", -1, 1],
  ["an offset that is no whole number", 0.5, 0],
  ["no bytes behind the end", SIZE + 1, 0],
])("write() and read() refuse %s with an ArgumentError", (_, offset, length) => {
  expect(() => buffer.write(new Uint8Array(length), offset)).toThrow(ArgumentError);
  expect(() => buffer.read(new Uint8Array(length), offset)).toThrow(ArgumentError);
});

test("write() and read() of a closed buffer throw a ClosedError", () => {
  buffer.close();
  expect(() => buffer.write(new Uint8Array(1))).toThrow(ClosedError);
  expect(() => buffer.read(new Uint8Array(1))).toThrow(ClosedError);
});
