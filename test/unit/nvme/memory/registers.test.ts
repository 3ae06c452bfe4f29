/** Decoding of a controller's capability and state registers. */
import { afterEach, describe, expect, test, vi } from "vitest";
import { DeviceGoneError, TimeoutError } from "../../../../src/core/errors.js";
import { ControllerRegisters } from "../../../../src/nvme/memory/registers.js";
import { decodeCapabilities, NvmeRegister } from "../../../../src/nvme/spec/registers.js";
import { registersIn } from "../../../support/registers.js";

/** Registers with these constant values. */
function registers(values: Readonly<Record<number, number>>): { words: Uint32Array; r: ControllerRegisters } {
  const words = new Uint32Array(16);
  for (const [offset, value] of Object.entries(values)) words[Number(offset) / 4] = value;
  return { words, r: new ControllerRegisters(registersIn(words), "a controller") };
}

describe("CAP", () => {
  test("decodes the value of QEMU's controller", () => {
    expect(decodeCapabilities(0x0240_1820_0f01_07ffn)).toEqual({
      maxQueueEntries: 2048,
      contiguousQueues: true,
      ams: 0,
      timeoutMs: 7500,
      doorbellStrideBytes: 4,
      nssrs: false,
      css: 0xc1,
      bps: false,
      minPageBytes: 4096,
      maxPageBytes: 65536,
      pmrs: false,
      cmbs: true,
      crwms: false,
      crims: false,
    });
  });

  test("decodes each field alone, at its limits", () => {
    const none = {
      maxQueueEntries: 1,
      contiguousQueues: false,
      ams: 0,
      timeoutMs: 0,
      doorbellStrideBytes: 4,
      nssrs: false,
      css: 0,
      bps: false,
      minPageBytes: 4096,
      maxPageBytes: 4096,
      pmrs: false,
      cmbs: false,
      crwms: false,
      crims: false,
    };
    expect(decodeCapabilities(0n)).toEqual(none);
    // Bit positions of Base Specification 2.x, figure "Offset 0h: CAP".
    const fields = [
      [0xffffn << 0n, { maxQueueEntries: 65536 }],
      [1n << 16n, { contiguousQueues: true }],
      [3n << 17n, { ams: 3 }],
      [0xffn << 24n, { timeoutMs: 127_500 }],
      [0xfn << 32n, { doorbellStrideBytes: 131_072 }],
      [1n << 36n, { nssrs: true }],
      [0xffn << 37n, { css: 255 }],
      [1n << 45n, { bps: true }],
      [0xfn << 48n, { minPageBytes: 2 ** 27 }],
      [0xfn << 52n, { maxPageBytes: 2 ** 27 }],
      [1n << 56n, { pmrs: true }],
      [1n << 57n, { cmbs: true }],
      [1n << 59n, { crwms: true }],
      [1n << 60n, { crims: true }],
    ] as const;
    for (const [cap, expected] of fields) {
      expect(decodeCapabilities(cap)).toEqual({ ...none, ...expected });
    }
    // Reserved bits and fields that aren't decoded change nothing.
    const known = fields.reduce((bits, [cap]) => bits | cap, 0n);
    expect(decodeCapabilities(0xffff_ffff_ffff_ffffn & ~known)).toEqual(none);
  });
});

describe("registers", () => {
  test("format VS as a version number", () => {
    expect(registers({ [NvmeRegister.VS]: 0x0001_0400 }).r.version()).toBe("1.4.0");
    expect(registers({ [NvmeRegister.VS]: 0x0002_0001 }).r.version()).toBe("2.0.1");
  });

  test.each([
    [0, { ready: false, fatal: false, shutdownComplete: false }],
    [0b0001, { ready: true, fatal: false, shutdownComplete: false }],
    [0b0010, { ready: false, fatal: true, shutdownComplete: false }],
    // SHST 01b is "in progress".
    [0b0101, { ready: true, fatal: false, shutdownComplete: false }],
    [0b1001, { ready: true, fatal: false, shutdownComplete: true }],
    // 11b is reserved.
    [0b1101, { ready: true, fatal: false, shutdownComplete: false }],
  ])("decode CSTS %i", (csts, state) => {
    expect(registers({ [NvmeRegister.CSTS]: csts }).r.state()).toEqual(state);
  });

  test("fail with DeviceGoneError if they read all ones", async () => {
    const { words, r } = registers({});
    words.fill(0xffff_ffff);
    expect(() => r.capabilities()).toThrow(DeviceGoneError);
    expect(() => r.state()).toThrow("a controller no longer answers");
    await expect(r.enable(0, 1000)).rejects.toThrow(DeviceGoneError);
    await expect(r.shutdown(1000)).rejects.toThrow(DeviceGoneError);
    words.fill(0xffff_ffff);
    await expect(r.disable(1000)).rejects.toThrow(DeviceGoneError);
    // Nothing was written to it: another device may be at this address now.
    expect(words.every((word) => word === 0xffff_ffff)).toBe(true);
  });

  test("take the admin queue's sizes zero-based and its addresses with 64 bits", () => {
    const { words, r } = registers({});
    r.setAdminQueue(32, 0x1_2345_6000n, 0xffff_0000_8765_4000n);
    expect(words[NvmeRegister.AQA / 4]).toBe(0x001f_001f);
    expect([words[NvmeRegister.ASQ / 4], words[NvmeRegister.ASQ / 4 + 1]]).toEqual([0x2345_6000, 1]);
    expect([words[NvmeRegister.ACQ / 4], words[NvmeRegister.ACQ / 4 + 1]]).toEqual([
      0x8765_4000, 0xffff_0000,
    ]);
    // The largest admin queue of the specification.
    r.setAdminQueue(4096, 0n, 0n);
    expect(words[NvmeRegister.AQA / 4]).toBe(0x0fff_0fff);
  });

  test("aren't written to disable a disabled controller", async () => {
    const { words, r } = registers({ [NvmeRegister.CC]: 0x0046_0000 });
    await r.disable(1000);
    expect(words[NvmeRegister.CC / 4]).toBe(0x0046_0000);
  });
});

describe("a controller that never gets ready", () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  test.each<[string, (r: ControllerRegisters) => Promise<void>]>([
    ["enable()", (r) => r.enable(0, 300)],
    ["shutdown()", (r) => r.shutdown(300)],
  ])("makes %s wait for its time limit, and no longer", async (_, wait) => {
    vi.useFakeTimers({ toFake: ["setTimeout", "performance"] });
    const { r } = registers({});
    let outcome: unknown = "pending";
    wait(r).then(
      () => {
        outcome = "ready";
      },
      (error: unknown) => {
        outcome = error;
      },
    );
    await vi.advanceTimersByTimeAsync(299);
    expect(outcome).toBe("pending");
    await vi.advanceTimersByTimeAsync(2);
    expect(outcome).toBeInstanceOf(TimeoutError);
    expect(outcome).toMatchObject({ timeoutMs: 300 });
  });
});
