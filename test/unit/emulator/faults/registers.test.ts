/** Faults of declared registers, for a driver in the same process. */
import { describe, expect, test } from "vitest";
import { type DeviceFault, DeviceFaults, DeviceRegisters } from "../../../../src/doors/emulator.js";
import { bit, bits, nested, reg8, reg32, reg64, registerBlock, repeated } from "../../../../src/doors/pci.js";
import { ArgumentError, ConfigError, DeviceGoneError, TimeoutError } from "../../../../src/index.js";

const Widget = registerBlock("widget", {
  id: reg32(0x00, { access: "ro", reset: 0x1234_5678 }),
  status: reg32(0x04, { fields: { ready: bit(0), state: bits(7, 4) } }),
  whole: reg64(0x08, { order: "whole" }),
  halves: reg64(0x10),
  byte: reg8(0x18),
  port: nested(0x20, { control: reg32(0x00) }),
  queues: repeated(2, 0x10, nested(0x40, { tail: reg32(0x00), head: reg32(0x04) })),
});
type WidgetFault = DeviceFault<typeof Widget.registers>;

function widget(...faults: WidgetFault[]) {
  const device = new DeviceRegisters(Widget);
  const order = new DeviceFaults(Widget);
  const injected = faults.map((fault) => order.inject(fault));
  return { device, faults: order, injected, regs: Widget.on(order.access(device.access)) };
}

describe("a fault of a register", () => {
  test("all-ones reads all ones and takes no writes, until it is removed", () => {
    const { device, injected, regs } = widget({ kind: "all-ones", where: "status" });
    regs.status.write(5);
    expect(regs.status.read()).toBe(0xffff_ffff);
    expect(regs.id.read()).toBe(0x1234_5678);
    expect(device.state.status.value).toBe(0);
    expect(injected[0]?.hits).toBe(2);
    injected[0]?.remove();
    injected[0]?.remove();
    regs.status.write(5);
    expect(regs.status.read()).toBe(5);
    expect(injected[0]?.hits).toBe(2);
  });

  test("all-ones without a register hits all of them, and then the device has gone", async () => {
    const { faults, regs } = widget({ kind: "all-ones" });
    expect([regs.id.read(), regs.byte.read(), regs.whole.read()]).toEqual([
      0xffff_ffff,
      0xff,
      2n ** 64n - 1n,
    ]);
    await expect(regs.status.until({ ready: true }, { timeoutMs: 60_000 })).rejects.toThrow(DeviceGoneError);
    faults.clearFaults();
    expect(regs.id.read()).toBe(0x1234_5678);
  });

  test("all-ones of a BAR is no sign that the device has gone", async () => {
    const { regs } = widget({ kind: "all-ones", bar: 0 });
    expect(regs.id.read()).toBe(0xffff_ffff);
    await expect(regs.status.until({ ready: false }, { timeoutMs: 20 })).rejects.toThrow(TimeoutError);
  });

  test("stuck reads as after a reset, though the device takes writes: a wait never ends", async () => {
    const { device, faults, regs } = widget({ kind: "stuck", where: "status" });
    regs.status.write({ ready: true });
    expect(device.state.status.get("ready")).toBe(true);
    await expect(regs.status.until({ ready: true }, { timeoutMs: 20 })).rejects.toThrow(TimeoutError);
    faults.clearFaults();
    faults.inject({ kind: "stuck" });
    device.state.id.value = 1;
    expect([regs.status.read(), regs.id.read(), regs.whole.read()]).toEqual([0, 0x1234_5678, 0n]);
  });

  test("write-lost keeps writes from the device", () => {
    const { device, regs } = widget({ kind: "write-lost", where: "port.control", count: 1 });
    regs.port.control.write(1);
    expect(device.state.port.control.value).toBe(0);
    regs.port.control.write(2);
    expect(regs.port.control.read()).toBe(2);
  });

  test("wrong-value gives a value, or fields and the other bits as they are", () => {
    const { regs } = widget(
      { kind: "wrong-value", where: "id", value: 7 },
      { kind: "wrong-value", where: "status", fields: { state: 9 } },
      { kind: "wrong-value", where: "whole", value: 2n ** 63n + 1n },
      { kind: "wrong-value", where: "halves", value: 0x1_0000_0002n },
      { kind: "wrong-value", where: "queues[1].tail", value: 11 },
    );
    regs.status.write({ ready: true, state: 1 });
    expect(regs.status.decode()).toEqual({ ready: true, state: 9 });
    expect([regs.id.read(), regs.whole.read(), regs.halves.read()]).toEqual([
      7,
      2n ** 63n + 1n,
      0x1_0000_0002n,
    ]);
    expect([regs.queues.at(0).tail.read(), regs.queues.at(1).tail.read()]).toEqual([0, 11]);
  });

  test("hits the accesses that it counts to", () => {
    const read = (fault: Partial<WidgetFault>): number[] => {
      const { regs } = widget({ kind: "wrong-value", where: "status", value: 1, ...fault } as WidgetFault);
      return Array.from({ length: 6 }, () => regs.status.read());
    };
    expect(read({ nth: 2 })).toEqual([0, 1, 0, 0, 0, 0]);
    expect(read({ nth: 2, every: 2 })).toEqual([0, 1, 0, 1, 0, 1]);
    expect(read({ count: 3 })).toEqual([1, 1, 1, 0, 0, 0]);
    expect(read({ nth: 2, durationMs: 600_000 })).toEqual([0, 1, 1, 1, 1, 1]);
  });

  test("ends with its scope, and several at a time apply in order", () => {
    const { faults, regs } = widget({ kind: "wrong-value", where: "status", value: 0xff });
    {
      using second = faults.inject({ kind: "wrong-value", where: "status", fields: { ready: false } });
      expect(regs.status.read()).toBe(0xfe);
      expect(second.hits).toBe(1);
    }
    expect(regs.status.read()).toBe(0xff);
  });

  test("remove makes the device go at an access, and come back when it is removed", async () => {
    const { injected, regs } = widget({ kind: "remove", where: "status", nth: 2 });
    expect([regs.status.read(), regs.id.read()]).toEqual([0, 0x1234_5678]);
    expect([regs.status.read(), regs.id.read()]).toEqual([0xffff_ffff, 0xffff_ffff]);
    regs.byte.write(1);
    await expect(regs.status.until({ ready: true }, { timeoutMs: 60_000 })).rejects.toThrow(DeviceGoneError);
    injected[0]?.remove();
    expect([regs.status.read(), regs.byte.read()]).toEqual([0, 0]);
  });
});

test.each<[string, object, string]>([
  ["an unknown kind", { kind: "nonsense" }, 'kind: expected one of "all-ones"'],
  ["no kind", {}, "kind: expected one of"],
  ["an unknown register", { kind: "stuck", where: "nothing" }, "widget has no register nothing"],
  ["an element beyond an array", { kind: "stuck", where: "queues[2].tail" }, "no register queues[2].tail"],
  ["a register of another BAR", { kind: "stuck", where: "id", bar: 1 }, "register id is in BAR 0"],
  ["an option of another kind", { kind: "stuck", vector: 1 }, "vector"],
  [
    "a value that is too wide",
    { kind: "wrong-value", where: "byte", value: 256 },
    "byte has 8 bits, got value: 256",
  ],
  ["neither value nor fields", { kind: "wrong-value", where: "byte" }, "takes either value or fields"],
  ["an unknown field", { kind: "wrong-value", where: "status", fields: { no: 1 } }, "status has no field no"],
  ["a count of 0", { kind: "all-ones", count: 0 }, "count"],
])("DeviceFaults refuses %s", (_, fault, text) => {
  const { faults, regs } = widget();
  expect(() => faults.inject(fault as WidgetFault)).toThrow(ConfigError);
  expect(() => faults.inject(fault as WidgetFault)).toThrow(text);
  expect(regs.id.read()).toBe(0x1234_5678);
});

test("DeviceFaults refuses a field's value that doesn't fit, and a place that no BAR has", () => {
  const { faults } = widget();
  const fault: WidgetFault = { kind: "wrong-value", where: "status", fields: { state: 16 } };
  expect(() => faults.inject(fault)).toThrow(ArgumentError);
  expect(() => new DeviceFaults(Widget, { bar: 6 })).toThrow(ArgumentError);
  expect(() => new DeviceFaults(Widget, { offset: -1 })).toThrow(ArgumentError);
});

test("the types of a fault know the registers, their fields and values", () => {
  const { faults } = widget();
  // @ts-expect-error: no such register
  expect(() => faults.inject({ kind: "stuck", where: "statsu" })).toThrow(ConfigError);
  // @ts-expect-error: a field takes a number
  expect(() => faults.inject({ kind: "wrong-value", where: "status", fields: { state: true } })).toThrow();
  // @ts-expect-error: an option of another kind
  expect(() => faults.inject({ kind: "remove", latencyMs: 5 })).toThrow(ConfigError);
});
