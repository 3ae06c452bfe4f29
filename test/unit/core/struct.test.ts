/** Structs of the kernel in memory: their layout, and how they are encoded and decoded. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ArgumentError } from "../../../src/core/errors.js";
import {
  array,
  ascii,
  bytes,
  type FieldType,
  s32,
  struct,
  u8,
  u16,
  u32,
  u64,
} from "../../../src/core/struct.js";

function writing<T>(type: FieldType<T>, value: T): () => void {
  return () => type.write(new DataView(new ArrayBuffer(16)), 0, value);
}

describe("the layout of a struct", () => {
  test("aligns each field to its size, and the struct to its strictest field", () => {
    const mixed = struct("mixed", { a: u8, b: u32, c: u16, d: u64, e: u8 });
    expect(mixed.offsets).toEqual({ a: 0, b: 4, c: 8, d: 16, e: 24 });
    expect(mixed.alignBytes).toBe(8);
    expect(mixed.sizeBytes).toBe(32);
  });

  test("aligns an array like its elements, and raw bytes and text like char", () => {
    const arrays = struct("arrays", {
      tag: bytes(3),
      pair: array(u16, 3),
      name: ascii(5),
      last: array(u64, 2),
    });
    expect(arrays.offsets).toEqual({ tag: 0, pair: 4, name: 10, last: 16 });
    expect(arrays.sizeBytes).toBe(32);
  });

  test("keeps the padding and alignment of a nested struct", () => {
    const inner = struct("inner", { wide: u64, narrow: u8 });
    const outer = struct("outer", { first: u8, inner, after: u8, many: array(inner, 2) });
    expect(inner.sizeBytes).toBe(16);
    expect(outer.offsets).toEqual({ first: 0, inner: 8, after: 24, many: 32 });
    expect(outer.sizeBytes).toBe(64);
  });

  test("has no padding if the struct is packed, not even at the end", () => {
    const packed = struct("packed", { a: u8, b: u32, c: u64, d: u16 }, { packed: true });
    expect(packed.offsets).toEqual({ a: 0, b: 1, c: 5, d: 13 });
    expect(packed.sizeBytes).toBe(15);
    expect(packed.alignBytes).toBe(1);
  });
});

describe("an encoded struct", () => {
  const inner = struct("inner", { kind: u16, value: u64 });
  const every = struct("every", {
    byte: u8,
    half: u16,
    word: u32,
    signed: s32,
    wide: u64,
    list: array(u16, 4),
    raw: bytes(5),
    text: ascii(8),
    inner,
    inners: array(inner, 2),
  });
  const uint = (bits: number): fc.Arbitrary<number> => fc.integer({ min: 0, max: 2 ** bits - 1 });
  const u64s = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  const innerValue = fc.record({ kind: uint(16), value: u64s });
  const everyValue = fc.record({
    byte: uint(8),
    half: uint(16),
    word: uint(32),
    signed: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
    wide: u64s,
    list: fc.array(uint(16), { minLength: 4, maxLength: 4 }),
    raw: fc.uint8Array({ minLength: 5, maxLength: 5 }),
    // Padding is cut off when reading, so text can't end in it.
    text: fc.stringMatching(/^([ -~]{0,7}[!-~])?$/),
    inner: innerValue,
    inners: fc.array(innerValue, { minLength: 2, maxLength: 2 }),
  });

  test("decodes to the same value at any offset of a buffer", () => {
    fc.assert(
      fc.property(everyValue, fc.nat(64), (value, at) => {
        const place = new Uint8Array(at + every.sizeBytes + 7).fill(0xa5);
        place.set(every.encode(value), at);
        expect(every.decode(place, at)).toEqual(value);
        const exact = place.subarray(at, at + every.sizeBytes);
        expect(every.decode(exact)).toEqual(value);
        expect(every.get(exact, "inners")).toEqual(value.inners);
      }),
    );
  });

  test("has little-endian numbers, and zeros in its padding and in fields that weren't given", () => {
    const sample = struct("sample", { a: u8, b: u32, c: u64, d: u16 });
    expect([...sample.encode({ a: 1, b: 0x0203_0405, c: 0x0607_0809_0a0b_0c0dn })]).toEqual([
      1, 0, 0, 0, 5, 4, 3, 2, 0x0d, 0x0c, 0x0b, 0x0a, 9, 8, 7, 6, 0, 0, 0, 0, 0, 0, 0, 0,
    ]);
    expect(every.decode(every.encode({}))).toEqual(every.zero());
  });

  test("has text padded with spaces, which is read without trailing spaces and zeros", () => {
    const model = struct("model", { name: ascii(6) });
    expect(Buffer.from(model.encode({ name: "ab c" })).toString("latin1")).toBe("ab c  ");
    expect(model.get(Buffer.from("ab\0\0 \0", "latin1"), "name")).toBe("ab");
  });

  test("decodes raw bytes as a copy", () => {
    const blob = struct("blob", { raw: bytes(2) });
    const source = Uint8Array.of(1, 2);
    const { raw } = blob.decode(source);
    source.fill(9);
    expect([...raw]).toEqual([1, 2]);
  });

  test("has its length, including a tail, in a first field size or argsz, unless a value was given", () => {
    const iommufd = struct("iommufd_like", { size: u32, flags: u32, address: u64 });
    const vfio = struct("vfio_like", { argsz: u32, flags: u32, address: u64 });
    expect(iommufd.get(iommufd.encode({}), "size")).toBe(16);
    expect(vfio.get(vfio.encode({}), "argsz")).toBe(16);
    const withTail = vfio.encode({}, 24);
    expect(withTail.byteLength).toBe(40);
    expect(vfio.get(withTail, "argsz")).toBe(40);
    expect(vfio.get(vfio.encode({ argsz: 8 }, 24), "argsz")).toBe(8);
  });

  test("has its length in a field size only if that is the first field", () => {
    const mapping = struct("mapping", { argsz: u32, flags: u32, size: u64 });
    expect(mapping.decode(mapping.encode({}))).toEqual({ argsz: 16, flags: 0, size: 0n });
  });

  test("ends before the field that was passed to encodeUpTo(), and has the shorter length", () => {
    const grown = struct("grown", { argsz: u32, flags: u32, old: u64, pasid: u32 });
    const known = grown.encodeUpTo("pasid", { flags: 3, old: 7n });
    expect([...known]).toEqual([16, 0, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
  });
});

describe("a struct", () => {
  test.each([
    ["u8 above", writing(u8, 256)],
    ["u16 above", writing(u16, 65_536)],
    ["u32 above", writing(u32, 2 ** 32)],
    ["u32 below zero", writing(u32, -1)],
    ["u32 with a fraction", writing(u32, 1.5)],
    ["u32 that is not a number", writing(u32, Number.NaN)],
    ["s32 above", writing(s32, 2 ** 31)],
    ["s32 below", writing(s32, -(2 ** 31) - 1)],
    ["u64 above", writing(u64, 2n ** 64n)],
    ["u64 below zero", writing(u64, -1n)],
    ["an array with an element above", writing(array(u8, 2), [0, 256])],
    ["an array of too many elements", writing(array(u8, 2), [1, 2, 3])],
    ["too many bytes", writing(bytes(2), Uint8Array.of(1, 2, 3))],
    ["text that is too long", writing(ascii(2), "abc")],
    ["text that is not ASCII", writing(ascii(8), "12 €")],
  ])("rejects a value that doesn't fit its field: %s", (_what, write) => {
    expect(write).toThrow(ArgumentError);
  });

  test("has its name in the error of decode() if the source is too short", () => {
    const info = struct("vfio_thing", { argsz: u32, flags: u32 });
    expect(() => info.decode(new Uint8Array(7))).toThrow(ArgumentError);
    expect(() => info.decode(new Uint8Array(12), 5)).toThrow(
      "12 bytes are too short for struct vfio_thing at 5",
    );
  });

  test("rejects get() of a field beyond the source, even if the underlying buffer is longer", () => {
    const grown = struct("grown", { argsz: u32, late: u32, raw: bytes(4), name: ascii(4) });
    const short = new Uint8Array(64).subarray(0, 4);
    expect(grown.get(short, "argsz")).toBe(0);
    for (const field of ["late", "raw", "name"] as const) {
      expect(() => grown.get(short, field)).toThrow(RangeError);
    }
  });
});
