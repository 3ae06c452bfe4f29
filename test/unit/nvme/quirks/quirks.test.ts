/** What the driver does about each quirk, against an emulated controller that has it. */
import { describe, expect, test, vi } from "vitest";
import { TimeoutError, UnsupportedError } from "../../../../src/core/errors.js";
import { NvmeProtocolError } from "../../../../src/index.js";
import { IoOpcode } from "../../../../src/nvme/spec/opcodes.js";
import { caught } from "../../../support/caught.js";
import { openController, startController, useEmulatedNvme } from "../../../support/emulated-nvme.js";

// A busy machine is no failure.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 });
useEmulatedNvme();

describe("delay-before-ready", () => {
  const odd = { quietMs: 500 };

  test("without it, a controller that is asked too early after a reset fails", async () => {
    const nvme = await openController({ odd });
    expect(await caught(nvme.reset())).toBeInstanceOf(NvmeProtocolError);
  });

  test("with it, the driver waits before it asks", async () => {
    const nvme = await openController({ odd }, { quirks: { add: ["delay-before-ready"] } });
    await nvme.reset();
    expect(nvme.lifecycle.state).toBe("live");
  });

  test("an opening that waits can be aborted", async () => {
    const running = await startController();
    const abort = new AbortController();
    const opening = openController({}, { quirks: ["delay-before-ready"], signal: abort.signal }, running);
    setTimeout(() => abort.abort(new Error("no longer wanted")), 100);
    expect(String(await caught(opening))).toContain("no longer wanted");
  });
});

describe("no-write-zeroes", () => {
  const faults = [{ kind: "drop", queue: "io", opcode: IoOpcode.writeZeroes }] as const;
  const phison = { vendorId: 0x1987, deviceId: 0x5019 };

  test("without it, Write Zeroes never completes, and the controller is lost", async () => {
    const nvme = await openController({ odd: phison, faults }, { quirks: "auto", timeoutMs: 500 });
    const lost = await openController({ odd: phison, faults }, { quirks: [], timeoutMs: 500 });
    const ns = await lost.namespace(1);
    expect(await caught(ns.writeZeroes(0n, 8))).toBeInstanceOf(TimeoutError);
    expect(lost.lifecycle.state).not.toBe("live");
    expect(nvme.quirks).toMatchObject([{ name: "no-write-zeroes" }]);
  });

  test("with it, Write Zeroes is refused, and the error says how to use it all the same", async () => {
    const nvme = await openController({ odd: phison, faults }, { timeoutMs: 500 });
    const ns = await nvme.namespace(1);
    const error = await caught(ns.writeZeroes(0n, 8));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(String(error)).toContain('quirks { remove: ["no-write-zeroes"] }');
    expect(nvme.lifecycle.state).toBe("live");
  });
});

describe("bogus-identifiers", () => {
  const odd = { vendorId: 0x1987, deviceId: 0x5012 };

  test("without it, the identifiers are reported", async () => {
    const nvme = await openController({ odd }, { quirks: [] });
    expect(await nvme.structures.namespaceIdentifiers(1)).toMatchObject({
      eui64: expect.any(String),
      csi: 0,
    });
    const { identify } = await nvme.namespace(1);
    expect(identify.eui64.some((byte) => byte !== 0)).toBe(true);
  });

  test("with it, only the command set is", async () => {
    const nvme = await openController({ odd });
    expect(await nvme.structures.namespaceIdentifiers(1)).toEqual({ csi: 0 });
    for (const { eui64, nguid } of [
      (await nvme.namespace(1)).identify,
      await nvme.structures.namespace(1),
      await nvme.structures.allocatedNamespace(1),
    ]) {
      expect([...eui64, ...nguid].every((byte) => byte === 0)).toBe(true);
    }
  });
});

describe("a model with quirks", () => {
  test("has them as soon as Identify Controller is read", async () => {
    const odd = { vendorId: 0x144d, model: "Samsung Portable SSD X5", firmware: "51025KLA" };
    const nvme = await openController({ odd });
    expect(nvme.identify.fr).toBe("51025KLA");
    expect(nvme.quirks.map(({ name }) => name)).toContain("delay-before-ready");
  });
});
