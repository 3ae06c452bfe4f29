/** What a declaration of registers may say, and what is refused. */
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

describe("a declaration", () => {
  test.each<[string, () => unknown]>([
    ["a register at a negative offset", () => reg32(-4)],
    ["a 16-bit register at an odd offset", () => reg16(1)],
    ["a 32-bit register at an offset that is no multiple of 4", () => reg32(2)],
    ["a whole 64-bit register at an offset that is no multiple of 8", () => reg64(4, { order: "whole" })],
    ["a field beyond the register", () => reg8(0, { fields: { top: bit(8) } })],
    ["fields that overlap", () => reg32(0, { fields: { a: bits(4, 0), b: bit(4) } })],
    ["a field from high to low", () => bits(0, 4)],
    ["a field of more than 53 bits", () => bits(63, 0)],
    ["a name for a value that doesn't fit the field", () => choice(1, 0, { four: 4 })],
    ["an array of no elements", () => repeated(0, 4, reg32(0))],
    ["an access that there isn't", () => Reflect.apply(reg32, undefined, [0, { access: "readonly" }])],
    ["an option that there isn't", () => Reflect.apply(reg32, undefined, [0, { acess: "ro" }])],
    ["an order for 32 bits", () => Reflect.apply(reg32, undefined, [0, { order: "whole" }])],
    ["an order that there isn't", () => Reflect.apply(reg64, undefined, [0, { order: "lowfirst" }])],
    ["a field that is a number", () => Reflect.apply(reg32, undefined, [0, { fields: { a: 3 } }])],
    ["a field of an access that there isn't", () => Reflect.apply(bit, undefined, [0, { access: "r" }])],
    ["a reset value that doesn't fit", () => reg8(0, { reset: 256 })],
    ["a number as the reset value of 64 bits", () => reg64(0, { reset: 1 })],
    ["a value of a field that is a text", () => Reflect.apply(choice, undefined, [1, 0, { one: "1" }])],
    ["a value with two names", () => choice(1, 0, { a: 0, b: 0 })],
    ["a register that is a number", () => Reflect.apply(registerBlock, undefined, ["b", { a: 16 }])],
    ["a nested register that is a number", () => Reflect.apply(nested, undefined, [0, { a: 16 }])],
    ["a distance at which the second element isn't aligned", () => repeated(3, 6, reg32(0))],
    [
      "a distance at which a register of the second block isn't aligned",
      () => repeated(3, 12, nested(0, { a: reg8(0), b: reg64(8, { order: "whole" }) })),
    ],
    ["a repeated array", () => Reflect.apply(repeated, undefined, [2, 8, repeated(2, 4, reg32(0))])],
    ["a block without a name", () => Reflect.apply(registerBlock, undefined, [{ a: reg32(0) }])],
    ["registers that overlap", () => registerBlock("b", { a: reg32(0), b: reg16(2) })],
    [
      "an array that runs into a register",
      () => registerBlock("b", { a: repeated(4, 8, reg32(0)), b: reg32(24) }),
    ],
    [
      "arrays that overlap between their elements",
      () => registerBlock("b", { a: repeated(4, 8, reg32(0)), b: repeated(4, 8, reg64(4)) }),
    ],
  ])("refuses %s", (_, declare) => {
    expect(declare).toThrow(ArgumentError);
  });

  test("allows a read-only register at the place of a write-only one", () => {
    const block = registerBlock("b", {
      status: reg32(0, { access: "ro" }),
      command: reg32(0, { access: "wo" }),
    });
    expect(block.sizeBytes).toBe(4);
  });

  test("allows arrays that interleave", () => {
    const block = registerBlock("b", { head: repeated(4, 8, reg32(0)), tail: repeated(4, 8, reg32(4)) });
    expect(block.sizeBytes).toBe(32);
  });

  test("is refused by memory that is too small, or where its registers would not be aligned", () => {
    const block = registerBlock("b", { a: reg32(0), b: repeated(3, 6, reg16(8)) });
    expect(() => block.on(new RegisterMemory(20))).toThrow(
      "b needs 22 bytes at 0, but test memory ends at 20",
    );
    expect(() => block.on(new RegisterMemory(64), 2)).toThrow("register a would be at 2");
    expect(() => block.on(new RegisterMemory(64), -4)).toThrow(ArgumentError);
    for (const wrong of [0, null, {}, { read32: () => 0 }])
      expect(() => Reflect.apply(block.on, block, [wrong])).toThrow(
        "b.on() takes a BAR, such as device.bar(0)",
      );
  });

  test("makes a table for documentation", () => {
    const block = registerBlock("Widget", {
      control: reg32(0, {
        reset: 0x80,
        doc: "Control",
        fields: { go: bit(0, { doc: "1 | starts it" }), speed: choice(3, 2, { slow: 0, fast: 1 }) },
      }),
      queues: repeated(4, 16, nested(0x100, { tail: reg16(2, { access: "wo" }) })),
    });
    expect(block.toMarkdown().split("\n")).toEqual([
      "## Widget",
      "",
      "| offset | register | bits | access | reset | meaning |",
      "|---|---|---|---|---|---|",
      "| 0h | control | 32 | rw | 80h | Control |",
      "| | control.go | 0 | rw | | 1 \\| starts it |",
      "| | control.speed | 3:2 | rw | | 0: slow, 1: fast |",
      "| 102h + 10h × 0 to 3 | queues[].tail | 16 | wo |  |  |",
      "",
    ]);
  });
});
