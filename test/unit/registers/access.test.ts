/** Reading and writing declared registers, through calls. */
import { describe, expect, test } from "vitest";
import {
  bit,
  bits,
  choice,
  nested,
  reg8,
  reg16,
  reg32,
  reg64,
  registerBlock,
  repeated,
} from "../../../src/doors/pci.js";
import { ArgumentError } from "../../../src/index.js";
import { RegisterMemory } from "../../support/register-memory.js";

const Widget = registerBlock("widget", {
  id: reg32(0x00, { access: "ro" }),
  control: reg32(0x04, {
    fields: {
      go: bit(0),
      speed: choice(3, 2, { slow: 0, fast: 2 }),
      count: bits(15, 8),
      error: bit(16, { access: "w1c" }),
      state: bits(23, 20, { access: "ro" }),
      start: bit(30, { access: "wo" }),
      top: bit(31),
    },
  }),
  cause: reg32(0x08, { access: "w1c", fields: { link: bit(2), timer: bit(7) } }),
  events: reg32(0x0c, { access: "rc", fields: { lost: bits(7, 0) } }),
  doorbell: reg16(0x10, { access: "wo", fields: { tail: bits(9, 0) } }),
  byte: reg8(0x12),
  whole: reg64(0x18, { order: "whole", fields: { low: bits(39, 0), high: bits(63, 60) } }),
  lowFirst: reg64(0x24),
  highFirst: reg64(0x2c, { order: "high-first" }),
  queues: repeated(3, 0x20, nested(0x40, { head: reg32(0, { access: "ro" }), tail: reg32(4) })),
});

function make() {
  const memory = new RegisterMemory(0x100);
  return { memory, regs: Widget.on(memory), calls: memory.calls };
}

/** Calls a method that the types don't offer, as JavaScript can. */
function force(target: object, method: string, ...args: unknown[]): unknown {
  const found: unknown = Reflect.get(target, method);
  if (typeof found !== "function") throw new Error(`no method ${method}`);
  return found.apply(target, args);
}

describe("a declared register", () => {
  test("is read and written by one access of its width, at its offset", () => {
    const { memory, regs, calls } = make();
    memory.view.setUint32(0, 0x1234_5678, true);
    expect(regs.id.read()).toBe(0x1234_5678);
    regs.doorbell.write(0x123);
    regs.byte.write(0xff);
    expect(regs.byte.read()).toBe(0xff);
    regs.whole.write(0x1122_3344_5566_7788n);
    expect(regs.whole.read()).toBe(0x1122_3344_5566_7788n);
    regs.queues.at(2).tail.write(7);
    expect(calls).toEqual([
      { kind: "read", width: 32, offset: 0 },
      { kind: "write", width: 16, offset: 0x10 },
      { kind: "write", width: 8, offset: 0x12 },
      { kind: "read", width: 8, offset: 0x12 },
      { kind: "write", width: 64, offset: 0x18 },
      { kind: "read", width: 64, offset: 0x18 },
      { kind: "write", width: 32, offset: 0x84 },
    ]);
    expect(memory.view.getUint32(0x84, true)).toBe(7);
  });

  test("of 64 bits can be accessed in halves, in either order", () => {
    const { regs, calls } = make();
    regs.lowFirst.write(0x1_0000_0002n);
    expect(regs.lowFirst.read()).toBe(0x1_0000_0002n);
    regs.highFirst.write(0x3_0000_0004n);
    expect(regs.highFirst.read()).toBe(0x3_0000_0004n);
    expect(calls.map(({ kind, width, offset }) => [kind, width, offset])).toEqual([
      ["write", 32, 0x24],
      ["write", 32, 0x28],
      ["read", 32, 0x24],
      ["read", 32, 0x28],
      ["write", 32, 0x30],
      ["write", 32, 0x2c],
      ["read", 32, 0x30],
      ["read", 32, 0x2c],
    ]);
  });

  test("takes what JavaScript's bit operators make of 32 bits", () => {
    const { memory, regs } = make();
    regs.control.write(0x11 | (1 << 31));
    expect(memory.view.getUint32(4, true)).toBe(0x8000_0011);
    expect(regs.control.read()).toBe(0x8000_0011);
    regs.control.write(~0);
    expect(regs.control.read()).toBe(0xffff_ffff);
  });

  test.each<[string, (regs: ReturnType<typeof make>["regs"]) => unknown]>([
    ["33 bits", (regs) => regs.control.write(2 ** 32)],
    ["a negative number of more than 32 bits", (regs) => regs.control.write(-(2 ** 31) - 1)],
    ["a fraction", (regs) => regs.control.write(0.5)],
    ["NaN", (regs) => regs.control.write(Number.NaN)],
    ["a string", (regs) => force(regs.control, "write", "1")],
    ["a date", (regs) => force(regs.control, "write", new Date())],
    ["an array", (regs) => force(regs.control, "write", [])],
    ["null", (regs) => force(regs.control, "write", null)],
    ["nothing", (regs) => force(regs.control, "write")],
    ["a bigint for 32 bits", (regs) => force(regs.control, "write", 1n)],
    ["17 bits for 16", (regs) => regs.doorbell.write(0x1_0000)],
    ["a negative number for 16 bits", (regs) => regs.doorbell.write(-1)],
    ["a number for 64 bits", (regs) => force(regs.whole, "write", 1)],
    ["65 bits", (regs) => regs.whole.write(2n ** 64n)],
    ["a negative bigint", (regs) => regs.lowFirst.write(-1n)],
    ["a value too wide for its field", (regs) => regs.control.write({ count: 256 })],
    ["a number for a bit", (regs) => force(regs.control, "write", { go: 1 })],
    ["a name that the field doesn't have", (regs) => force(regs.control, "write", { speed: "warp" })],
    ["a field that the register doesn't have", (regs) => force(regs.control, "write", { stop: true })],
    ["a read-only field", (regs) => force(regs.control, "write", { state: 1 })],
    ["a read-only register", (regs) => force(regs.id, "write", 1)],
    ["a register that reading clears", (regs) => force(regs.events, "write", 1)],
  ])("refuses to write %s, and writes nothing", (_, write) => {
    const { regs, calls } = make();
    expect(() => write(regs)).toThrow(ArgumentError);
    expect(calls).toEqual([]);
  });

  test("refuses to read what is write-only, fields that it doesn't have, and elements that aren't there", () => {
    const { regs, calls } = make();
    expect(() => force(regs.doorbell, "read")).toThrow("register doorbell of test memory is write-only");
    expect(() => force(regs.doorbell, "get", "tail")).toThrow("write-only");
    expect(() => force(regs.control, "get", "start")).toThrow("write-only");
    expect(() => force(regs.control, "get", "stop")).toThrow("has no field stop: it has go, speed,");
    expect(() => force(regs.id, "get", "x")).toThrow("it has none");
    for (const index of ["constructor", "length", "1"])
      expect(() => force(regs.queues, "at", index)).toThrow(ArgumentError);
    for (const index of [3, -1, 0.5, Number.NaN]) expect(() => regs.queues.at(index)).toThrow(ArgumentError);
    expect(calls).toEqual([]);
  });

  test("has fields by name: booleans, numbers, names", () => {
    const { regs } = make();
    regs.control.write({ go: true, speed: "fast", count: 200, start: true, top: true });
    expect(regs.control.read()).toBe(0xc000_c809);
    expect(regs.control.get("go")).toBe(true);
    expect(regs.control.get("speed")).toBe("fast");
    expect(regs.control.get("count")).toBe(200);
    expect(regs.control.decode()).toEqual({
      go: true,
      speed: "fast",
      count: 200,
      error: false,
      state: 0,
      top: true,
    });
    regs.control.write({ speed: 3, go: undefined });
    expect(regs.control.get("speed")).toBe(3);
    regs.whole.write({ low: 2 ** 40 - 1, high: 9 });
    expect(regs.whole.read()).toBe(0x9000_00ff_ffff_ffffn);
    expect(regs.whole.decode()).toEqual({ low: 2 ** 40 - 1, high: 9 });
    expect(regs.whole.decode(0n)).toEqual({ low: 0, high: 0 });
  });

  test("decodes a value that was read before, without another access", () => {
    const { regs, calls } = make();
    const { speed, top } = regs.control.fields;
    expect(speed.of(0x8000_0008)).toBe("fast");
    expect(top.of(0x8000_0008)).toBe(true);
    expect(speed.bits("fast")).toBe(8);
    expect([speed.mask, speed.shift, top.mask]).toEqual([0xc, 2, 0x8000_0000]);
    expect(calls).toEqual([]);
  });

  test("is modified by one read and one write that keep the other fields, and clears nothing by accident", () => {
    const { memory, regs, calls } = make();
    memory.view.setUint32(4, 0x0011_c801, true);
    regs.control.modify({ count: 1, go: false });
    expect(memory.view.getUint32(4, true)).toBe(0x0010_0100);
    regs.control.modify({ error: true });
    expect(memory.view.getUint32(4, true)).toBe(0x0011_0100);
    expect(calls.map(({ kind }) => kind)).toEqual(["read", "write", "read", "write"]);
    expect(() => force(regs.control, "modify", { count: 1, nope: 1 })).toThrow(ArgumentError);
    expect(() => force(regs.cause, "modify", { link: true })).toThrow("only registers that are rw");
    expect(() => force(regs.control, "modify", 5)).toThrow(ArgumentError);
    expect(calls).toHaveLength(4);
  });

  test("of the kind w1c is cleared bit by bit", () => {
    const { memory, regs } = make();
    regs.cause.write({ link: true });
    expect(memory.view.getUint32(8, true)).toBe(4);
  });

  test("knows its name and offset", () => {
    const { regs } = make();
    const names = [...regs.queues].map(({ tail }) => `${tail.name} ${tail.offset.toString(16)}`);
    expect(names).toEqual(["queues[0].tail 44", "queues[1].tail 64", "queues[2].tail 84"]);
    expect(regs.queues.at(1)).toBe(regs.queues.at(1));
  });
});

test("a dump reads what can be read without an effect, and decodes it", () => {
  const { memory, calls } = make();
  memory.view.setUint32(4, 0x109, true);
  const dump = Widget.dump(memory);
  expect(dump.map(({ name, value }) => `${name} ${value ?? "-"}`)).toEqual([
    "id 0x00000000",
    "control 0x00000109",
    "cause 0x00000000",
    "events -",
    "doorbell -",
    "byte 0x00",
    "whole 0x0000000000000000",
    "lowFirst 0x0000000000000000",
    "highFirst 0x0000000000000000",
    "queues[0].head 0x00000000",
    "queues[0].tail 0x00000000",
    "queues[1].head 0x00000000",
    "queues[1].tail 0x00000000",
    "queues[2].head 0x00000000",
    "queues[2].tail 0x00000000",
  ]);
  expect(dump[1]?.fields).toMatchObject({ go: true, speed: "fast", count: 1 });
  expect(calls.some(({ offset }) => offset === 0xc || offset === 0x10)).toBe(false);
  const shifted = Widget.dump(new RegisterMemory(0x200), 0x100);
  expect(shifted[1]).toMatchObject({ name: "control", offset: 0x104 });
});

test("types refuse what the access doesn't allow, unknown fields and wrong values", () => {
  // Compiled, never called.
  const wrong = (regs: ReturnType<typeof make>["regs"]): void => {
    // @ts-expect-error: it is read-only
    regs.id.write(1);
    // @ts-expect-error: it is write-only
    regs.doorbell.read();
    // @ts-expect-error: writing 1 clears
    regs.cause.modify({ link: true });
    // @ts-expect-error: no such field
    regs.control.write({ stop: true });
    // @ts-expect-error: the field is read-only
    regs.control.modify({ state: 1 });
    // @ts-expect-error: the field is write-only
    regs.control.get("start");
    // @ts-expect-error: a bit is a boolean
    regs.control.write({ go: 1 });
    // @ts-expect-error: no such name
    regs.control.write({ speed: "warp" });
    // @ts-expect-error: 64 bits are a bigint
    regs.whole.write(1);
    // @ts-expect-error: it has no fields, so it takes numbers only
    regs.byte.write("1");
    // @ts-expect-error: it has no fields
    regs.byte.modify({ low: 1 });
    // @ts-expect-error: it has no fields
    void regs.byte.until({ low: 1 }, { timeoutMs: 1 });
    // @ts-expect-error: 64 bits without fields are a bigint, too
    regs.lowFirst.write(1);
    // @ts-expect-error: no such register
    regs.nothing;
    const speed: "slow" | "fast" | number = regs.control.get("speed");
    const count: number = regs.control.decode().count;
    const whole: bigint = regs.whole.read();
    expect([speed, count, whole]).toBeDefined();
  };
  expect(wrong).toBeTypeOf("function");
});
