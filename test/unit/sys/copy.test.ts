/** copyBytes(): copies between views of mapped memory and of the heap. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { copyBytes } from "../../../src/sys/copy.js";
import { MappedMemory } from "../../../src/sys/memory.js";

const SIZE = 16_384;
const range = fc.record({ targetAt: fc.nat(SIZE), sourceAt: fc.nat(SIZE), length: fc.nat(SIZE) });

/** Memory of the same arena, of two arenas, and of V8's heap. */
function views(): readonly (readonly [string, Uint8Array, Uint8Array])[] {
  const one = MappedMemory.anonymous(SIZE);
  const two = MappedMemory.anonymous(SIZE);
  // More than an arena has left, so it gets its own arena.
  const far = MappedMemory.anonymous(2 ** 30);
  for (const memory of [one, two, far]) memory.relinquish();
  const foreign = new Uint8Array(new SharedArrayBuffer(SIZE));
  return [
    ["one arena", one.bytes, two.bytes],
    ["overlapping", one.bytes, one.bytes],
    ["two arenas", one.bytes, far.bytes.subarray(2 ** 30 - SIZE)],
    ["shared memory outside an arena", foreign, one.bytes],
    ["the heap", new Uint8Array(SIZE), one.bytes],
    ["from the heap", one.bytes, new Uint8Array(SIZE)],
  ];
}

test.each(views())("copyBytes() copies like TypedArray.set(): %s", (_, target, source) => {
  fc.assert(
    fc.property(range, ({ targetAt, sourceAt, length }) => {
      for (let i = 0; i < SIZE; i++) source[i] = (i * 7 + length) & 0xff;
      const expected = target.slice();
      if (targetAt + length > SIZE || sourceAt + length > SIZE) {
        expect(() => copyBytes(target, targetAt, source, sourceAt, length)).toThrow(RangeError);
        return;
      }
      expected.set(source.slice(sourceAt, sourceAt + length), targetAt);
      copyBytes(target, targetAt, source, sourceAt, length);
      expect(Buffer.compare(target, expected)).toBe(0);
    }),
    { numRuns: 60 },
  );
});

test("copyBytes() rejects ranges outside a view", () => {
  const memory = MappedMemory.anonymous(SIZE);
  memory.relinquish();
  const { bytes } = memory;
  for (const [targetAt, sourceAt, length] of [
    [-1, 0, 512],
    [0, -4096, 512],
    [0, SIZE - 511, 512],
    [Number.NaN, 0, 512],
    [0, Number.NaN, 512],
    [0, 0, Number.POSITIVE_INFINITY],
  ] as const) {
    expect(() => copyBytes(bytes, targetAt, bytes, sourceAt, length)).toThrow(RangeError);
  }
});
