/** Interrupt vectors: awaited once, iterated over, masked, triggered, and ended by a device that goes. */
import { getEventListeners } from "node:events";
import { setImmediate } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import type { RunningEmulator } from "../../../src/emulator/worker.js";
import {
  ArgumentError,
  BusyError,
  ClosedError,
  DeviceGoneError,
  type Interrupts,
  type InterruptVector,
  PciDevice,
  TimeoutError,
  UnsupportedError,
} from "../../../src/index.js";
import { caught } from "../../support/caught.js";
import { Edu } from "../../support/edu.js";
import { useEmulatedEdu } from "../../support/emulated-edu.js";
import { compileEmulators, emulate } from "../../support/emulators.js";

beforeAll(() => void compileEmulators());

let device: PciDevice;
let emulator: RunningEmulator;

function enable(kind: "msi" | "intx"): { interrupts: Interrupts; vector: InterruptVector; edu: Edu } {
  const edu = new Edu(device.io);
  const interrupts = device.enableInterrupts({ kind });
  const [vector] = interrupts.vectors;
  if (vector === undefined) throw new Error("edu has no vector");
  return { interrupts, vector, edu };
}

describe("a vector", () => {
  useEmulatedEdu((made) => {
    ({ device, emulator } = made);
  });

  test("resolves once() at the next interrupt, also at one that came before", async () => {
    const { vector, edu } = enable("msi");
    expect(vector.index).toBe(0);
    const first = vector.once();
    edu.raise(1);
    expect(await first).toBe(1);
    edu.raise(2);
    edu.raise(4);
    expect(await vector.once({ timeoutMs: 60_000 })).toBe(2);
    expect(edu.interruptStatus).toBe(7);
  });

  test("resolves once() by its number as well, and there must be such a vector", async () => {
    const { interrupts, edu } = enable("msi");
    edu.raise(1);
    expect(await interrupts.once(0, { timeoutMs: 60_000 })).toBe(1);
    await expect(interrupts.once(1)).rejects.toThrow(/^there is no vector 1: 1 are enabled/);
    await expect(interrupts.once(-1)).rejects.toThrow(ArgumentError);
  });

  test("rejects once() at its limit, and says so if the device isn't bus master", async () => {
    const { interrupts, vector } = enable("msi");
    const hint = "the device isn't bus master, and sends no MSI or MSI-X: set device.config.busMaster = true";
    expect(String(await caught(vector.once({ timeoutMs: 1 })))).not.toContain("bus master");
    device.config.busMaster = false;
    const error = await caught(vector.once({ timeoutMs: 1 }));
    expect(error).toBeInstanceOf(TimeoutError);
    expect(String(error)).toContain(hint);
    interrupts.close();
    const line = enable("intx");
    expect(String(await caught(line.vector.once({ timeoutMs: 1 })))).not.toContain("bus master");
  });

  test("rejects once() of INTx at its limit, and says so if Interrupt Disable is set", async () => {
    const hint =
      "Interrupt Disable is set in the device's command register: set device.config.interruptDisable = false";
    const { interrupts, vector, edu } = enable("intx");
    expect(String(await caught(vector.once({ timeoutMs: 1 })))).not.toContain("Interrupt Disable");
    device.config.interruptDisable = true;
    edu.raise(1);
    const error = await caught(vector.once({ timeoutMs: 1 }));
    expect(error).toBeInstanceOf(TimeoutError);
    expect(String(error)).toContain(hint);
    device.config.interruptDisable = false;
    expect(await vector.once({ timeoutMs: 60_000 })).toBe(1);
    // The bit doesn't matter to messages.
    interrupts.close();
    device.config.interruptDisable = true;
    expect(String(await caught(enable("msi").vector.once({ timeoutMs: 1 })))).not.toContain(
      "Interrupt Disable",
    );
  });

  test("isn't taken away by a second enableInterrupts()", async () => {
    const { interrupts, vector, edu } = enable("msi");
    expect(() => device.enableInterrupts()).toThrow(BusyError);
    expect(() => device.enableInterrupts({ kind: "intx" })).toThrow(
      /^msi interrupts of .* are enabled already/,
    );
    edu.raise(1);
    expect(await vector.once({ timeoutMs: 60_000 })).toBe(1);
    interrupts.close();
    expect(enable("intx").interrupts.kind).toBe("intx");
  });

  test("counts a flood of interrupts as one turn of the iteration", async () => {
    const { interrupts, vector } = enable("msi");
    for (let i = 0; i < 1000; i++) vector.trigger();
    const counts: number[] = [];
    for await (const count of vector) {
      counts.push(count);
      if (counts.length === 3) interrupts.close();
      else for (let i = 0; i < 10 * counts.length; i++) vector.trigger();
    }
    expect(counts).toEqual([1000, 10, 20]);
  });

  test("resolves once() with an interrupt that came in time, although the thread was blocked beyond the limit", async () => {
    const { interrupts, vector } = enable("msi");
    const limit = 20;
    const interrupt = vector.once({ timeoutMs: limit });
    vector.signal();
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3 * limit);
    expect(await interrupt).toBe(1);
    interrupts.close();
  });

  test("ends an iteration that waits when the interrupts close, and rejects once()", async () => {
    for (const close of ["interrupts", "device"] as const) {
      const { interrupts, vector } = enable("msi");
      const next = vector.values().next();
      await setImmediate();
      interrupts.close();
      expect(await next).toEqual({ done: true, value: undefined });
      const again = enable("msi");
      const error = caught(again.vector.once());
      await setImmediate();
      if (close === "interrupts") again.interrupts.close();
      else device.close();
      expect(await error).toBeInstanceOf(ClosedError);
      expect(() => again.vector.values()).toThrow(ClosedError);
      expect(await caught(again.vector.once())).toBeInstanceOf(ClosedError);
    }
  });

  test("ends once() and an iteration by a signal, and leaves no listener on it", async () => {
    const { vector } = enable("msi");
    const controller = new AbortController();
    const { signal } = controller;
    vector.trigger();
    expect(await vector.once({ signal })).toBe(1);
    expect(getEventListeners(signal, "abort")).toEqual([]);
    const waits = caught(vector.once({ signal }));
    const reason = new Error("enough");
    controller.abort(reason);
    expect(await waits).toBe(reason);
    expect(await caught(vector.values({ signal }).next())).toBe(reason);
    vector.trigger();
    expect(await vector.once()).toBe(1);
  });

  test("rejects once() with a TimeoutError at its limit", async () => {
    const { vector } = enable("msi");
    expect(await caught(vector.once({ timeoutMs: 0 }))).toBeInstanceOf(TimeoutError);
    vector.trigger();
    expect(await vector.once()).toBe(1);
  });

  test("is waited for by one at a time", async () => {
    const { vector } = enable("msi");
    const first = vector.once();
    expect(await caught(vector.once())).toBeInstanceOf(BusyError);
    expect(() => vector.watch(() => {})).toThrow(BusyError);
    vector.trigger();
    expect(await first).toBe(1);
  });

  test("rejects invalid options", async () => {
    const { interrupts, vector } = enable("msi");
    for (const timeoutMs of [-1, 0.5, Number.NaN]) {
      expect(await caught(vector.once({ timeoutMs }))).toBeInstanceOf(ArgumentError);
    }
    for (const count of [0, -1, 0.5, 2049]) expect(() => interrupts.grow(count)).toThrow(ArgumentError);
    for (const options of [null, 1, { signal: 1 }]) {
      const called: Promise<number> = Reflect.apply(vector.once, vector, [options]);
      expect(await caught(called)).toBeInstanceOf(ArgumentError);
    }
  });

  test("can't be masked with MSI, and its number can't grow beyond the function's", () => {
    const { interrupts, vector } = enable("msi");
    expect(() => vector.mask()).toThrow(UnsupportedError);
    expect(() => vector.unmask()).toThrow("only INTx can");
    interrupts.grow(8);
    expect(interrupts.vectors).toHaveLength(1);
    interrupts.close();
    expect(() => interrupts.grow(1)).toThrow(ClosedError);
    expect(() => vector.trigger()).toThrow(ClosedError);
  });

  test("delivers a masked INTx after unmask()", async () => {
    const { vector, edu } = enable("intx");
    vector.mask();
    edu.raise(1);
    expect(vector.take()).toBe(0);
    vector.unmask();
    expect(await vector.once()).toBe(1);
  });

  test("unmasks INTx with the next turn, the next once() and the next listener", async () => {
    const { vector, edu } = enable("intx");
    for (const bits of [1, 2]) {
      edu.raise(bits);
      expect(await vector.once()).toBe(1);
      edu.acknowledge();
    }
    let turns = 0;
    edu.raise(4);
    for await (const count of vector) {
      expect(count).toBe(1);
      edu.acknowledge();
      if (++turns === 3) break;
      edu.raise(8);
    }
    const seen = new Promise<number>((resolve) => vector.watch(resolve));
    edu.raise(16);
    expect(await seen).toBe(1);
  });

  test("stays masked if the listener masks it", async () => {
    const { vector, edu } = enable("intx");
    let calls = 0;
    const seen = new Promise<void>((resolve) => {
      vector.watch(() => {
        calls++;
        vector.mask();
        edu.acknowledge();
        resolve();
      });
    });
    edu.raise(1);
    await seen;
    edu.raise(2);
    await setImmediate();
    expect(calls).toBe(1);
    vector.unmask();
    await expect.poll(() => calls).toBe(2);
  });

  test("ends all waits with a DeviceGoneError when the device goes", async () => {
    const { vector } = enable("msi");
    const waits = caught(vector.once());
    await emulator.close();
    expect(await waits).toBeInstanceOf(DeviceGoneError);
    expect(await caught(vector.once())).toBeInstanceOf(DeviceGoneError);
    const stream = vector.values();
    expect(await caught(stream.next())).toBeInstanceOf(DeviceGoneError);
    expect(await stream.next()).toEqual({ done: true, value: undefined });
  });
});

test("vectors beyond those enabled can't be added where the server can't", async () => {
  const controller = await emulate({ device: "nvme", options: { sizeBytes: 16 * 1024 * 1024 } });
  {
    using nvme = PciDevice.open(controller.address);
    using interrupts = nvme.enableInterrupts({ kind: "msix", count: 2 });
    interrupts.grow(2);
    expect(() => interrupts.grow(3)).toThrow(UnsupportedError);
    expect(interrupts.vectors).toHaveLength(2);
  }
  await controller.close();
});
