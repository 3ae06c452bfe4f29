/** Controllers as bug reports describe them: older than today's specification, or breaking it. */
import { randomFillSync } from "node:crypto";
import { describe, expect, test, vi } from "vitest";
import { TimeoutError, UnsupportedError } from "../../../../src/core/errors.js";
import type { OddControllerOptions } from "../../../../src/emulator/nvme/host/oddities.js";
import { type NvmeController, NvmeError } from "../../../../src/index.js";
import { assertEntrySizes } from "../../../../src/nvme/engine/start-up.js";
import { ControllerRegisters } from "../../../../src/nvme/memory/registers.js";
import { Feature } from "../../../../src/nvme/spec/features.js";
import { AdminOpcode, FeatureId } from "../../../../src/nvme/spec/opcodes.js";
import { decodeCapabilities, NvmeRegister } from "../../../../src/nvme/spec/registers.js";
import { caught } from "../../../support/caught.js";
import { MIB, openController, startController, useEmulatedNvme } from "../../../support/emulated-nvme.js";
import { registersIn } from "../../../support/registers.js";

useEmulatedNvme();

const odd = (options: OddControllerOptions) => ({ odd: options });

/** Writes random bytes and reads them back. */
async function carriesData(nvme: NvmeController): Promise<boolean> {
  const ns = await nvme.namespace(1);
  using source = nvme.dma.alloc(4096);
  using target = nvme.dma.alloc(4096);
  randomFillSync(source.bytes);
  await ns.write(0n, source);
  await ns.read(0n, target);
  return Buffer.compare(source.bytes, target.bytes) === 0;
}

describe("a controller that becomes ready later than it says", () => {
  test("opens when CAP.TO is 0 and it takes 100 ms", async () => {
    const nvme = await openController(odd({ readyTimeoutMs: 0, readyDelayMs: 100 }));
    expect(nvme.capabilities.timeoutMs).toBe(0);
    expect(await carriesData(nvme)).toBe(true);
  });

  test("has the time of CRTO if it is longer than CAP.TO", async () => {
    const nvme = await openController(
      odd({ readyTimeoutMs: 0, readyWithMediaMs: 60_000, readyDelayMs: 1500 }),
    );
    expect(nvme.capabilities.crwms).toBe(true);
    expect(await carriesData(nvme)).toBe(true);
  });

  test("is given up after CAP.TO and one more unit", async () => {
    const error = await caught(openController(odd({ readyTimeoutMs: 0, readyDelayMs: 600_000 })));
    expect(error).toBeInstanceOf(TimeoutError);
    expect(String(error)).toContain("500 ms");
  });

  test.each([
    ["CAP.TO alone", 0x0300_0000, 0, 0, 2000],
    ["the longer of CAP.TO and CRWMT", 0x0300_0000, 1 << 27, 0x0001_0008, 4500],
    ["CRIMT where the controller is only ready without media", 0x0300_0000, 1 << 28, 0x0009_0008, 5000],
    ["CAP.TO where CRTO is shorter", 0x0900_0000, 3 << 27, 0x0001_0002, 5000],
  ])("states its limit in %s", (_, low, high, crto, limitMs) => {
    const words = new Uint32Array(32);
    words.set([low, high]);
    words[NvmeRegister.CRTO / 4] = crto;
    const cap = decodeCapabilities((BigInt(high) << 32n) | BigInt(low));
    expect(new ControllerRegisters(registersIn(words), "a controller").readyLimitMs(cap)).toBe(limitMs);
  });
});

describe("a controller with queues of one entry (MQES 0)", () => {
  test("has admin commands, and says why it has no I/O queues", async () => {
    const running = await startController(odd({ mqes: 0 }));
    const error = await caught(openController({}, {}, running));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(String(error)).toContain("CAP.MQES 0");
    const nvme = await openController({}, { queues: 0 }, running);
    expect(await nvme.namespaceIds()).toEqual([1]);
  });

  test("has a separate limit for the admin queue", async () => {
    const nvme = await openController(odd({ mqes: 1 }), { adminQueueEntries: 64 });
    const reads = Array.from({ length: 100 }, () => nvme.structures.controller());
    expect(await Promise.all(reads)).toHaveLength(100);
    expect(await carriesData(nvme)).toBe(true);
  });
});

describe("an admin queue of two entries", () => {
  test("rejects waiting for events, which would take its only slot, and accepts other commands", async () => {
    const nvme = await openController({}, { adminQueueEntries: 2 });
    const error = await caught(nvme.events[Symbol.asyncIterator]().next());
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(String(error)).toContain("adminQueueEntries");
    expect(await nvme.namespaceIds()).toEqual([1]);
    await nvme.close();
  });

  test("leaves no room for events and commands, but three entries do", async () => {
    const nvme = await openController({}, { adminQueueEntries: 3 });
    const next = nvme.events[Symbol.asyncIterator]().next();
    expect(await nvme.namespaceIds()).toEqual([1]);
    await nvme.close();
    expect(await next).toMatchObject({ done: true });
  });
});

describe("doorbells that lead beyond BAR 0", () => {
  test.each(["shared", "messages"] as const)("are not used, with doorbells %s", async (doorbells) => {
    const nvme = await openController(
      { ...odd({ doorbellStrideBytes: 512 }), doorbells, queuePairs: 64 },
      { queues: 64 },
    );
    // 4096 bytes hold eight doorbells, two of them the admin queue's.
    expect(nvme.queues).toHaveLength(3);
    for (const queue of nvme.queues) {
      await nvme.io({ opcode: 0, nsid: 1 }, { queue });
    }
    expect(await carriesData(nvme)).toBe(true);
  });

  test("are rung in their registers if they are beyond the memory of shadow doorbells", async () => {
    const nvme = await openController(odd({ doorbellStrideBytes: 64 }), {
      queues: 31,
      shadowDoorbells: true,
    });
    expect(nvme.usesShadowDoorbells).toBe(true);
    for (const queue of nvme.queues) await nvme.io({ opcode: 0, nsid: 1 }, { queue });
    expect(await carriesData(nvme)).toBe(true);
  });
});

describe("a controller that refuses Number of Queues", () => {
  const faults = [
    { kind: "status", queue: "admin", opcode: AdminOpcode.setFeatures, status: 0x006 },
  ] as const;

  test("accepts admin commands, and I/O is rejected with the reason", async () => {
    const nvme = await openController({ faults }, { queues: 4 });
    expect(nvme.queues).toEqual([]);
    expect(await nvme.namespaceIds()).toEqual([1]);
    expect((await nvme.logs.smart()).compositeTemperature).toBeGreaterThan(0);
    for (const error of [
      await caught(nvme.io({ opcode: 0, nsid: 1 })),
      await caught(nvme.createQueuePair()),
    ]) {
      expect(error).toBeInstanceOf(UnsupportedError);
      expect(String(error)).toContain("Number of Queues");
      expect((error as Error).cause).toBeInstanceOf(NvmeError);
    }
  });
});

describe("an NVMe 1.0 controller", () => {
  test("has its namespaces found without a namespace list", async () => {
    const nvme = await openController({ ...odd({ version: "1.0" }), namespaces: 3 });
    expect(nvme.version).toBe("1.0.0");
    expect(await nvme.namespaceIds()).toEqual([1, 2, 3]);
    expect(await carriesData(nvme)).toBe(true);
  });
});

describe("sizes of queue entries", () => {
  test.each([
    ["sqes", 0x77, "128"],
    ["cqes", 0x55, "32"],
  ] as const)("a controller whose %s is %d is refused at open", async (field, value, bytes) => {
    const error = await caught(openController(odd({ [field]: value })));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(String(error)).toContain(`${bytes} to ${bytes} bytes`);
  });

  test("are accepted if 64 and 16 bytes are the smallest sizes, also without a stated maximum", () => {
    for (const sqes of [0x66, 0x76, 0x06]) assertEntrySizes("a controller", { sqes, cqes: 0x44 });
  });
});

describe("events", () => {
  test("tell of namespaces without a feature being written first, also after a reset", async () => {
    const nvme = await openController({ capacityBytes: 32 * MIB });
    const events = nvme.events[Symbol.asyncIterator]();
    for (const reset of [false, true]) {
      if (reset) await nvme.reset();
      const next = events.next();
      // The feature is on as soon as the request for events is there.
      await vi.waitFor(async () => {
        const { namespaceAttributes } = await nvme.features.read(Feature.asyncEventConfiguration);
        expect(namespaceAttributes).toBe(true);
      });
      const nsid = await nvme.namespaceManagement.create({ sizeBlocks: 2048n, capacityBlocks: 2048n });
      await nvme.namespaceManagement.attach(nsid, [nvme.identify.cntlid]);
      const { value } = await next;
      expect(value).toMatchObject({ type: "notice", name: "namespaceAttributeChanged" });
      if (value !== undefined) await nvme.events.clear(value);
      await nvme.namespaceManagement.delete(nsid);
      // Its own event, which is taken and cleared.
      const deleted = await events.next();
      if (deleted.value !== undefined) await nvme.events.clear(deleted.value);
    }
  });

  test("don't change the program's choice", async () => {
    const nvme = await openController();
    await nvme.features.write(Feature.asyncEventConfiguration, { temperature: true });
    const next = nvme.events[Symbol.asyncIterator]().next();
    expect(await nvme.features.get(FeatureId.asyncEventConfiguration)).toMatchObject({ value: 2 });
    await nvme.close();
    expect(await next).toMatchObject({ done: true });
  });
});
