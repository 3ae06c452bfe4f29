/** Registers as a device in software holds them. */
import { describe, expect, test } from "vitest";
import { DeviceRegisters, type DriverWrite } from "../../../src/doors/emulator.js";
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

const Widget = registerBlock("widget", {
  id: reg32(0x00, { access: "ro", reset: 0x1234_5678 }),
  control: reg32(0x04, {
    reset: 0x100,
    fields: {
      go: bit(0),
      speed: choice(3, 2, { slow: 0, fast: 2 }),
      error: bit(16, { access: "w1c" }),
      state: bits(23, 20, { access: "ro" }),
    },
  }),
  cause: reg32(0x08, { access: "w1c", fields: { link: bit(2) } }),
  events: reg32(0x0c, { access: "rc", fields: { lost: bits(7, 0) } }),
  doorbell: reg16(0x10, { access: "wo" }),
  byte: reg8(0x12, { reset: 0x80 }),
  whole: reg64(0x18),
  status: reg32(0x20, { access: "ro" }),
  command: reg32(0x20, { access: "wo" }),
  queues: repeated(3, 0x10, nested(0x40, { head: reg32(0, { access: "ro" }), tail: reg32(4) })),
});

function read(device: DeviceRegisters<typeof Widget.registers>, offset: number, width: number): number[] {
  const target = new Uint8Array(width);
  device.read(offset, target);
  return [...target];
}

function read32(device: DeviceRegisters<typeof Widget.registers>, offset: number): number {
  const target = new Uint8Array(4);
  device.read(offset, target);
  return new DataView(target.buffer).getUint32(0, true);
}

function write32(device: DeviceRegisters<typeof Widget.registers>, offset: number, value: number): void {
  device.write(offset, new Uint8Array(Uint32Array.of(value).buffer));
}

describe("the registers of a device in software", () => {
  test("hold their reset values at first and after a reset", () => {
    const device = new DeviceRegisters(Widget);
    expect(read32(device, 0)).toBe(0x1234_5678);
    write32(device, 4, 0xffff_ffff);
    device.state.byte.value = 1;
    device.state.whole.value = 5n;
    device.reset();
    expect([read32(device, 4), read(device, 0x12, 1), device.state.whole.value]).toEqual([0x100, [0x80], 0n]);
  });

  test("keep read-only bits, clear bits that are written as 1, and store the others", () => {
    const device = new DeviceRegisters(Widget);
    device.state.control.set({ state: 5, error: true });
    write32(device, 0x04, 0x00f0_0009);
    expect(device.state.control.value).toBe(0x0051_0009);
    expect(device.state.control.get("speed")).toBe("fast");
    write32(device, 0x04, 0x0001_0000);
    expect(device.state.control.value).toBe(0x0050_0000);
    write32(device, 0x00, 0);
    expect(read32(device, 0)).toBe(0x1234_5678);
    device.state.cause.value = 0xc;
    write32(device, 0x08, 0x4);
    expect(read32(device, 0x08)).toBe(0x8);
  });

  test("are cleared by reading where they are rc, and read as 0 where they are write-only", () => {
    const device = new DeviceRegisters(Widget);
    device.state.events.value = 0x1_0007;
    expect(read32(device, 0x0c)).toBe(0x1_0007);
    expect(read32(device, 0x0c)).toBe(0);
    device.write(0x10, Uint8Array.of(0x34, 0x12));
    expect(device.state.doorbell.value).toBe(0x1234);
    expect(read(device, 0x10, 2)).toEqual([0, 0]);
  });

  test("give a handler the fields of what was written", () => {
    const written: unknown[] = [];
    const device: DeviceRegisters<typeof Widget.registers> = new DeviceRegisters(Widget, {
      control: {
        write(value) {
          const { go, speed } = device.state.control.fields;
          written.push([go.of(value), speed.of(value)]);
        },
      },
    });
    write32(device, 0x04, 0x9);
    expect(written).toEqual([[true, "fast"]]);
    expect(() => Reflect.apply(device.state.control.get, device.state.control, ["toString"])).toThrow(
      "register control has no field toString: it has go, speed, error, state",
    );
  });

  test("can share an offset, one to read and one to write", () => {
    const device = new DeviceRegisters(Widget, {
      command: {
        write(value) {
          device.state.status.value = value + 1;
        },
      },
    });
    write32(device, 0x20, 7);
    expect(read32(device, 0x20)).toBe(8);
  });

  test("take accesses of part of a register, and of several", () => {
    const device = new DeviceRegisters(Widget);
    expect(read(device, 1, 2)).toEqual([0x56, 0x34]);
    expect(read(device, 0x10, 4)).toEqual([0, 0, 0x80, 0]);
    device.write(0x10, Uint8Array.of(1, 2, 3, 4));
    expect([device.state.doorbell.value, device.state.byte.value]).toEqual([0x201, 3]);
    device.write(0x1c, Uint8Array.of(1, 0, 0, 0));
    device.write(0x18, Uint8Array.of(2, 0, 0, 0));
    expect(device.state.whole.value).toBe(0x1_0000_0002n);
    expect(read(device, 0x1c, 4)).toEqual([1, 0, 0, 0]);
    device.state.control.set({ error: true });
    device.write(0x04, Uint8Array.of(0xff));
    expect(device.state.control.value).toBe(0x0001_01ff);
    device.state.cause.value = 0x0101;
    device.write(0x08, Uint8Array.of(0xff));
    expect(device.state.cause.value).toBe(0x0100);
    device.write(0, Uint8Array.of(0, 0, 0, 0, 0xaa, 0, 0, 0));
    expect(device.state.control.value).toBe(0x0001_00aa);
  });

  test("call handlers with the indexes of their arrays, and hold what those return", () => {
    const seen: [number, DriverWrite<number>][] = [];
    const device = new DeviceRegisters(Widget, {
      byte: { read: (held) => held + 1 },
      control: { write: (written, { before }) => (written === 1 ? before : ~written) },
      queues: { tail: { write: (written, how) => void seen.push([written, how]) } },
    });
    expect(read(device, 0x12, 1)).toEqual([0x81]);
    expect(device.state.byte.value).toBe(0x80);
    write32(device, 4, 1);
    expect(device.state.control.value).toBe(0x100);
    write32(device, 4, 2);
    expect(device.state.control.value).toBe(0xffff_fffd);
    write32(device, 0x64, 9);
    expect(seen).toEqual([[9, { next: 9, before: 0, at: [2] }]]);
    expect(device.state.queues.at(2).tail.value).toBe(9);
    expect(device.state.queues.at(2).tail.name).toBe("queues[2].tail");
  });

  test("refuse values that don't fit, handlers of no register, and accesses that no bus makes", () => {
    const device = new DeviceRegisters(Widget, { byte: { read: () => 256 } });
    expect(() => {
      device.state.byte.value = 256;
    }).toThrow(ArgumentError);
    expect(() => device.state.control.set({ state: 16 })).toThrow(ArgumentError);
    expect(() => read(device, 0x12, 1)).toThrow("value of register byte");
    const handlers = (wrong: object) => () => Reflect.construct(DeviceRegisters, [Widget, wrong]);
    expect(handlers({ nothing: {} })).toThrow("widget has no register nothing");
    expect(handlers({ queues: { foot: {} } })).toThrow("no register queues[0].foot");
    expect(handlers({ byte: 1 })).toThrow(ArgumentError);
    expect(handlers({ byte: { write: 1 } })).toThrow(ArgumentError);
    expect(() => read(device, -1, 4)).toThrow(ArgumentError);
    expect(() => read(device, 0, 9)).toThrow(ArgumentError);
    expect(() => read(device, 0, 0)).toThrow(ArgumentError);
  });

  test("are driven by the same declaration in the same process", async () => {
    const device = new DeviceRegisters(Widget, {
      control: {
        write(written, { next }) {
          setImmediate(() => device.state.control.set({ state: 9 }));
          // A handler may act as the driver of another register.
          regs.queues.at(0).tail.write(written);
          return next;
        },
      },
    });
    const regs = Widget.on(device.access);
    regs.control.write({ go: true, speed: "fast" });
    expect(regs.control.decode()).toEqual({ go: true, speed: "fast", error: false, state: 0 });
    await regs.control.until({ state: 9 }, { timeoutMs: 60_000 });
    expect(regs.queues.at(0).tail.read()).toBe(9);
    regs.doorbell.write(0x123);
    expect(device.state.doorbell.value).toBe(0x123);
    regs.byte.write(7);
    expect(regs.byte.read()).toBe(7);
    regs.whole.write(0x1_0000_0002n);
    expect([regs.whole.read(), device.state.whole.value]).toEqual([0x1_0000_0002n, 0x1_0000_0002n]);
    device.state.cause.value = 0xff;
    regs.cause.write({ link: true });
    expect(regs.cause.read()).toBe(0xfb);
    const whole = registerBlock("whole", { a: reg64(0, { order: "whole" }), b: reg16(8), c: reg8(10) });
    const other = new DeviceRegisters(whole);
    const its = whole.on(other.access);
    its.a.write(2n ** 63n);
    its.b.write(0xbeef);
    its.c.write(0xaa);
    expect([its.a.read(), its.b.read(), its.c.read()]).toEqual([2n ** 63n, 0xbeef, 0xaa]);
    expect(Widget.dump(device.access)).toHaveLength(15);
  });

  test("give their state and take it back, whole or not at all", () => {
    const device = new DeviceRegisters(Widget);
    write32(device, 4, 0x0000_0009);
    device.state.whole.value = 2n ** 64n - 1n;
    device.state.queues.at(1).head.value = 3;
    const state = device.save();
    const other = new DeviceRegisters(Widget);
    other.load(state);
    expect(other.save()).toEqual(state);
    expect(other.state.queues.at(1).head.value).toBe(3);
    expect(other.state.whole.value).toBe(2n ** 64n - 1n);
    const bad = state.slice();
    // The upper half of a 32-bit register.
    bad[4] = 1;
    const before = device.save();
    expect(() => device.load(bad)).toThrow("register id has 32 bits");
    expect(() => device.load(state.subarray(8))).toThrow(ArgumentError);
    expect(device.save()).toEqual(before);
  });
});
