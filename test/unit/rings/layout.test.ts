/** Descriptors by declaration: their words by slot, in memory of any size, and what is refused. */
import { describe, expect, test } from "vitest";
import {
  bit,
  bits,
  choice,
  descriptorLayout,
  nested,
  reg8,
  reg16,
  reg32,
  reg64,
} from "../../../src/doors/pci.js";
import { ArgumentError } from "../../../src/index.js";

const Receive = descriptorLayout("receive", 16, {
  address: reg64(0),
  length: reg16(8, { access: "ro" }),
  queue: reg8(10),
  status: reg32(12, {
    fields: { done: bit(0), kind: choice(2, 1, { frame: 0, error: 2 }), count: bits(31, 16) },
  }),
});

function memory(descriptors: number): Uint8Array {
  return new Uint8Array(new SharedArrayBuffer(descriptors * Receive.sizeBytes));
}

describe("descriptors of a declared layout", () => {
  test("have their words at the declared offsets of each slot, in little-endian order", () => {
    const bytes = memory(4);
    const slots = Receive.on(bytes);
    slots.address.write(2, 0x1122_3344_5566_7788n);
    slots.queue.write(2, 0xab);
    slots.status.write(2, { done: true, kind: "error", count: 0xbeef });
    expect([...bytes.subarray(32, 48)]).toEqual([
      0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0, 0, 0xab, 0, 0x05, 0, 0xef, 0xbe,
    ]);
    expect(bytes.subarray(0, 32).every((byte) => byte === 0)).toBe(true);
    expect(bytes.subarray(48).every((byte) => byte === 0)).toBe(true);
  });

  test("give what the device wrote: numbers, halves, bigints and fields", () => {
    const bytes = memory(2);
    const slots = Receive.on(bytes);
    new DataView(bytes.buffer).setBigUint64(16, 0xffff_ffff_8000_0001n, true);
    new DataView(bytes.buffer).setUint16(24, 1514, true);
    new DataView(bytes.buffer).setUint32(28, 0x8000_0007, true);
    expect(slots.address.read(1)).toBe(0xffff_ffff_8000_0001n);
    expect([slots.address.readLow(1), slots.address.readHigh(1)]).toEqual([0x8000_0001, 0xffff_ffff]);
    expect(slots.length.read(1)).toBe(1514);
    const status = slots.status.read(1);
    expect(status).toBe(0x8000_0007);
    expect(slots.status.fields.done.of(status)).toBe(true);
    expect(slots.status.decode(1)).toEqual({ done: true, kind: 3, count: 0x8000 });
  });

  test("give the same by a plain load, once the device has settled them", () => {
    const bytes = memory(2);
    const slots = Receive.on(bytes);
    new DataView(bytes.buffer).setUint8(26, 0xab);
    new DataView(bytes.buffer).setUint16(24, 1514, true);
    new DataView(bytes.buffer).setUint32(28, 0x8000_0007, true);
    expect(slots.queue.readSettled(1)).toBe(0xab);
    expect(slots.length.readSettled(1)).toBe(1514);
    expect(slots.status.readSettled(1)).toBe(0x8000_0007);
    for (const column of [slots.queue, slots.length, slots.status])
      expect(() => column.readSettled(2)).toThrow("receive has slots 0 to 1, got 2");
  });

  test("take halves as numbers, and negative numbers as the 32 bits that they are", () => {
    const slots = Receive.on(memory(1));
    slots.address.writeHalves(0, 1 << 31, 0x7fff_ffff);
    expect(slots.address.read(0)).toBe(0x7fff_ffff_8000_0000n);
    slots.status.write(0, ~0);
    expect(slots.status.read(0)).toBe(0xffff_ffff);
  });

  test("lie in memory of another layout, as read and write-back formats do", () => {
    const WriteBack = descriptorLayout("write-back", 16, { low: reg32(0), status: reg32(12) });
    const bytes = memory(3);
    Receive.on(bytes).address.writeHalves(1, 0x1234, 0);
    expect(WriteBack.on(bytes).low.read(1)).toBe(0x1234);
  });

  test("lie at any address that is aligned to their widest word", () => {
    const bytes = new Uint8Array(new SharedArrayBuffer(64));
    for (const [word, align] of [
      [reg8(4), 1],
      [reg16(4), 2],
      [reg32(4), 4],
    ] as const) {
      const layout = descriptorLayout("narrow", 8, { word });
      layout.forDevice(bytes.subarray(align)).word.write(1, 0x5a);
      expect(bytes[align + 12]).toBe(0x5a);
      expect(layout.on(bytes.subarray(align)).word.read(1)).toBe(0x5a);
    }
  });

  test("fill as much of the memory as whole descriptors take", () => {
    const slots = Receive.on(new Uint8Array(new SharedArrayBuffer(40)));
    slots.queue.write(1, 1);
    expect(() => slots.queue.write(2, 1)).toThrow("receive has slots 0 to 1, got 2 for queue");
  });
});

describe("a slot or value that can't be right is an ArgumentError, and nothing is written:", () => {
  const bytes = memory(4);
  const slots = Receive.on(bytes);
  const wrongSlots = [-1, 4, 1.5, Number.NaN, Number.POSITIVE_INFINITY, "0", undefined, 1n];
  test.each(wrongSlots.map((slot) => [slot]))("slot %s", (slot) => {
    for (const column of [slots.address, slots.queue, slots.status]) {
      expect(() => Reflect.apply(column.read, column, [slot])).toThrow(ArgumentError);
      expect(() => Reflect.apply(column.write, column, [slot, column === slots.address ? 1n : 1])).toThrow(
        ArgumentError,
      );
    }
    expect(() => Reflect.apply(slots.length.read, slots.length, [slot])).toThrow(ArgumentError);
    expect(() => Reflect.apply(slots.address.writeHalves, slots.address, [slot, 0, 0])).toThrow(
      ArgumentError,
    );
    expect(bytes.every((byte) => byte === 0)).toBe(true);
  });

  test.each<[string, () => unknown]>([
    ["256 for 8 bits", () => slots.queue.write(0, 256)],
    ["a fraction for 32 bits", () => slots.status.write(0, 0.5)],
    ["2^32 for 32 bits", () => slots.status.write(0, 2 ** 32)],
    ["a number for 64 bits", () => Reflect.apply(slots.address.write, slots.address, [0, 1])],
    ["2^64 for 64 bits", () => slots.address.write(0, 2n ** 64n)],
    ["a fraction as the low half", () => slots.address.writeHalves(0, 0.5, 0)],
    ["a bigint as the high half", () => Reflect.apply(slots.address.writeHalves, slots.address, [0, 1, 1n])],
    ["a field that isn't there", () => Reflect.apply(slots.status.write, slots.status, [0, { don: true }])],
    ["a field's value that is too wide", () => slots.status.write(0, { count: 65_536 })],
  ])("%s", (_, use) => {
    expect(use).toThrow(ArgumentError);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
  });
});

describe("a word that is declared ro", () => {
  const Answer = descriptorLayout("answer", 16, {
    code: reg8(0, { access: "ro" }),
    length: reg16(2, { access: "ro" }),
    status: reg32(4, { access: "ro", fields: { done: bit(0) } }),
    address: reg64(8, { access: "ro" }),
  });
  const bytes = new Uint8Array(new SharedArrayBuffer(32));
  const slots = Answer.on(bytes);

  test.each([
    ["a number to 8 bits", "code", "write", [0, 1]],
    ["a number to 16 bits", "length", "write", [1, 1]],
    ["a number to 32 bits", "status", "write", [0, 1]],
    ["fields", "status", "write", [0, { done: true }]],
    ["a bigint to 64 bits", "address", "write", [0, 1n]],
    ["a value of another type", "address", "write", [0, 1]],
    ["halves to 64 bits", "address", "writeHalves", [1, 1, 1]],
    ["to a slot that isn't there", "length", "write", [2, 1]],
  ] as const)("rejects a write of %s by a program that TypeScript doesn't check", (_, word, method, args) => {
    const column: object = slots[word];
    const write: unknown = Reflect.get(column, method);
    if (typeof write !== "function") throw new Error(`${word} has no method ${method}`);
    const use = (): unknown => Reflect.apply(write, column, args);
    expect(use).toThrow(ArgumentError);
    expect(use).toThrow(`${word} of answer is read-only, because only the device writes it`);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
  });

  test("is read, and its memory is written by another layout", () => {
    const Other = descriptorLayout("other", 16, { status: reg32(4), address: reg64(8) });
    Other.on(bytes).status.write(1, 1);
    expect(slots.status.decode(1)).toEqual({ done: true });
    Other.on(bytes).status.write(1, 0);
  });

  test("is written by a device in software, with its fields that are ro, and read by the driver", () => {
    const memory = new Uint8Array(new SharedArrayBuffer(32));
    const device = Answer.forDevice(memory);
    const driver = Answer.on(memory);
    device.code.write(1, 200);
    device.length.write(1, 1514);
    device.status.write(1, { done: true });
    device.address.writeHalves(1, 1, 2);
    expect([driver.code.read(1), driver.length.read(1), driver.address.read(1)]).toEqual([
      200,
      1514,
      0x2_0000_0001n,
    ]);
    expect(driver.status.decode(1)).toEqual({ done: true });
    const Mixed = descriptorLayout("mixed", 4, {
      word: reg32(0, { fields: { done: bit(0, { access: "ro" }), kind: choice(2, 1, { frame: 2 }) } }),
    });
    Mixed.forDevice(memory).word.write(0, { done: true, kind: "frame" });
    expect(Mixed.on(memory).word.decode(0)).toEqual({ done: true, kind: "frame" });
    expect(() => Mixed.forDevice(memory).word.write(8, 1)).toThrow("mixed has slots 0 to 7");
    // @ts-expect-error: there is no such field
    expect(() => Mixed.forDevice(memory).word.write(0, { don: true })).toThrow("it has done, kind");
  });

  test("has no method to write it in TypeScript, and a field that is ro has no name to write it by", () => {
    const Mixed = descriptorLayout("mixed", 4, {
      word: reg32(0, { fields: { done: bit(0, { access: "ro" }), count: bits(31, 16) } }),
    });
    const mixed = Mixed.on(new Uint8Array(new SharedArrayBuffer(4)));
    mixed.word.write(0, { count: 1 });
    const refused = (): void => {
      // @ts-expect-error: only the device writes it
      mixed.word.write(0, { done: true });
    };
    expect(refused).toThrow("field done of word of mixed is read-only");
    expect(mixed.word.read(0)).toBe(0x1_0000);
    const unchecked = (): void => {
      // @ts-expect-error: only the device writes it
      slots.address.writeHalves(0, 1, 1);
    };
    expect(unchecked).toThrow(ArgumentError);
  });
});

describe("a declaration is refused that has", () => {
  test.each<[string, () => unknown]>([
    ["words that overlap", () => descriptorLayout("d", 16, { a: reg64(0), b: reg32(4) })],
    ["a word beyond the descriptor", () => descriptorLayout("d", 8, { a: reg32(8) })],
    ["a size that is no multiple of its words", () => descriptorLayout("d", 10, { a: reg32(0) })],
    ["no size", () => descriptorLayout("d", 0, {})],
    ["a word that only the driver writes", () => descriptorLayout("d", 8, { a: reg32(0, { access: "wo" }) })],
    [
      "a block",
      () => Reflect.apply(descriptorLayout, undefined, ["d", 8, { a: nested(0, { b: reg32(0) }) }]),
    ],
    ["a name that is a number", () => Reflect.apply(descriptorLayout, undefined, [1, 8, { a: reg32(0) }])],
    ["a word that is a number", () => Reflect.apply(descriptorLayout, undefined, ["d", 8, { a: 1 }])],
  ])("%s", (_, declare) => {
    expect(declare).toThrow(ArgumentError);
  });

  test.each<[string, () => unknown]>([
    ["isn't aligned to the widest word", () => Receive.on(memory(2).subarray(1))],
    ["is too small for one descriptor", () => Receive.on(memory(1).subarray(0, 15))],
    ["is no Uint8Array", () => Reflect.apply(Receive.on, Receive, [new Uint32Array(16)])],
    ["isn't there", () => Reflect.apply(Receive.on, Receive, [undefined])],
  ])("memory is refused that %s", (_, use) => {
    expect(use).toThrow(ArgumentError);
  });
});

test("TypeScript knows the words, their values, and which of them the device alone writes", () => {
  const slots = Receive.on(memory(1));
  const refused = (): void => {
    // @ts-expect-error: only the device writes it
    slots.length.write(0, 1);
    // @ts-expect-error: no such word
    slots.lenght.read(0);
    // @ts-expect-error: no such field
    slots.status.write(0, { don: true });
    // @ts-expect-error: 64 bits are a bigint
    slots.address.write(0, 1);
    // @ts-expect-error: words of 32 bits have no halves
    slots.status.writeHalves(0, 1, 1);
  };
  expect(refused).toBeTypeOf("function");
});
