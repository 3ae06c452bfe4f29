/** Waiting for the value of a register. */
import { describe, expect, test } from "vitest";
import { bit, reg32, registerBlock } from "../../../src/doors/pci.js";
import { ArgumentError, DeviceGoneError, TimeoutError } from "../../../src/index.js";
import { RegisterMemory } from "../../support/register-memory.js";

const Widget = registerBlock("widget", {
  status: reg32(0, { access: "ro", fields: { ready: bit(0), failed: bit(1) } }),
});
/** Only ends a wait that would never end. */
const LONG_MS = 60_000;

function make() {
  const memory = new RegisterMemory(16);
  return { memory, status: Widget.on(memory).status, calls: memory.calls };
}

describe("waiting for a register", () => {
  test("ends at once if the value is there already", async () => {
    const { memory, status, calls } = make();
    memory.view.setUint32(0, 1, true);
    expect(await status.until({ ready: true, failed: false }, { timeoutMs: 0 })).toBe(1);
    expect(calls).toHaveLength(1);
  });

  test.each([0, 1])("polls, every %i ms, until all fields are as wanted", async (everyMs) => {
    const { memory, status, calls } = make();
    memory.view.setUint32(0, 2, true);
    memory.after = () => {
      if (calls.length === 3) memory.view.setUint32(0, 3, true);
      if (calls.length === 6) memory.view.setUint32(0, 1, true);
    };
    const wanted = { ready: true, failed: false };
    expect(await status.until(wanted, { timeoutMs: LONG_MS, everyMs })).toBe(1);
    expect(calls).toHaveLength(7);
  });

  test("takes a test of the value", async () => {
    const { memory, status, calls } = make();
    memory.after = () => memory.view.setUint32(0, calls.length, true);
    expect(await status.until((value) => value > 4, { timeoutMs: LONG_MS })).toBe(5);
  });

  test("reads at each wake-up only, and closes what wakes it", async () => {
    const { memory, status, calls } = make();
    let again: (() => void) | undefined;
    let closed = 0;
    const wake = (listener: () => void) => {
      again = listener;
      return { close: () => void closed++ };
    };
    const done = status.until({ ready: true }, { timeoutMs: LONG_MS, wake });
    await new Promise((resolve) => setTimeout(resolve, 20));
    const before = calls.length;
    again?.();
    expect(calls).toHaveLength(before + 1);
    memory.view.setUint32(0, 1, true);
    again?.();
    expect(await done).toBe(1);
    expect(closed).toBe(1);
    again?.();
    expect(calls).toHaveLength(before + 2);
  });

  test("finds the value at the limit although the interrupt was lost", async () => {
    const { memory, status } = make();
    const wake = () => {
      setTimeout(() => memory.view.setUint32(0, 1, true), 1);
      return { close: () => {} };
    };
    expect(await status.until({ ready: true }, { timeoutMs: 200, wake })).toBe(1);
  });

  test("ends with a TimeoutError that says what was read and what was wanted", async () => {
    const { status } = make();
    for (const everyMs of [0, 1]) {
      const wait = status.until({ ready: true }, { timeoutMs: 5, everyMs });
      await expect(wait).rejects.toThrow(TimeoutError);
      await expect(status.until({ ready: true }, { timeoutMs: 0 })).rejects.toThrow(
        "register status of test memory reads 0x00000000, waiting for ready = true: no answer within 0 ms",
      );
    }
  });

  test("ends with a DeviceGoneError at all ones from a device that is gone, and only then", async () => {
    const { memory, status, calls } = make();
    memory.view.setUint32(0, 0xffff_ffff, true);
    memory.after = () => {
      if (calls.length === 3) memory.gone = true;
    };
    await expect(status.until({ failed: false }, { timeoutMs: LONG_MS })).rejects.toThrow(DeviceGoneError);
    expect(calls).toHaveLength(3);
  });

  test("ends with the signal's reason", async () => {
    const { status } = make();
    const reason = new Error("enough");
    const { signal } = abortSoon(reason);
    await expect(status.until({ ready: true }, { timeoutMs: LONG_MS, signal })).rejects.toBe(reason);
    await expect(status.until({ ready: true }, { timeoutMs: LONG_MS, signal })).rejects.toBe(reason);
  });

  test("notices with a wake-up that never comes that the value is there", async () => {
    const { memory, status } = make();
    setTimeout(() => memory.view.setUint32(0, 1, true), 1);
    const wake = () => ({ close: () => {} });
    expect(await status.until({ ready: true }, { timeoutMs: LONG_MS, wake })).toBe(1);
  });

  test("ends as it would although what woke it can't be closed", async () => {
    const { memory, status } = make();
    const warned = new Promise<Error>((resolve) => process.once("warning", resolve));
    const wake = () => ({
      close() {
        throw new Error("can't be closed");
      },
    });
    const reason = new Error("enough");
    const { signal } = abortSoon(reason);
    await expect(status.until({ ready: true }, { timeoutMs: LONG_MS, wake, signal })).rejects.toBe(reason);
    expect((await warned).message).toBe("can't be closed");
    setTimeout(() => memory.view.setUint32(0, 1, true), 1);
    expect(await status.until({ ready: true }, { timeoutMs: LONG_MS, wake })).toBe(1);
  });

  test("ends with the reason of a signal that the test of the value aborts", async () => {
    const { status } = make();
    const controller = new AbortController();
    const test = () => {
      controller.abort("stop");
      return false;
    };
    const wait = status.until(test, { timeoutMs: LONG_MS, signal: controller.signal });
    await expect(wait).rejects.toBe("stop");
  });

  test("ends with what an access, a test or a wake-up throws", async () => {
    const { memory, status } = make();
    const wake = (): never => {
      throw new Error("no interrupts");
    };
    await expect(status.until({ ready: true }, { timeoutMs: LONG_MS, wake })).rejects.toThrow(
      "no interrupts",
    );
    const bad = (): never => {
      throw new Error("bad test");
    };
    await expect(status.until(bad, { timeoutMs: LONG_MS })).rejects.toThrow("bad test");
    memory.after = ({ kind }) => {
      if (memory.calls.length > 4) throw new Error(`${kind} failed`);
    };
    await expect(status.until({ ready: true }, { timeoutMs: LONG_MS })).rejects.toThrow("read failed");
  });

  test.each<[string, unknown, unknown]>([
    ["no fields", {}, { timeoutMs: 1 }],
    ["a list of fields", ["ready"], { timeoutMs: 1 }],
    ["a number for fields", 5, { timeoutMs: 1 }],
    ["a field that the register doesn't have", { done: true }, { timeoutMs: 1 }],
    ["a test that returns a promise", async () => false, { timeoutMs: 1 }],
    ["no options", { ready: true }, undefined],
    ["an option that there isn't", { ready: true }, { timeoutMs: 1, evryMs: 5 }],
    ["a wake that is no function", { ready: true }, { timeoutMs: 1, wake: 5 }],
    ["a wake that returns nothing to close", { ready: true }, { timeoutMs: 1, wake: () => undefined }],
    ["a signal that is none", { ready: true }, { timeoutMs: 1, signal: {} }],
  ])("refuses %s", async (_, wanted, options) => {
    const { status } = make();
    const until: unknown = Reflect.get(status, "until");
    if (typeof until !== "function") throw new Error("no method until");
    await expect(until.call(status, wanted, options)).rejects.toThrow(ArgumentError);
  });

  test.each([-1, 0.5, Number.NaN, 2 ** 31])("refuses a limit of %s", async (timeoutMs) => {
    const { status, calls } = make();
    await expect(status.until({ ready: true }, { timeoutMs })).rejects.toThrow(ArgumentError);
    await expect(status.until({ ready: true }, { timeoutMs: 1, everyMs: timeoutMs })).rejects.toThrow(
      ArgumentError,
    );
    expect(calls).toEqual([]);
  });
});

function abortSoon(reason: Error): AbortController {
  const controller = new AbortController();
  setTimeout(() => controller.abort(reason), 1);
  return controller;
}
