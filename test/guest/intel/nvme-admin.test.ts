/** Log pages, features, events and the optional commands, on QEMU's controllers. */
import { randomFillSync } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { NvmeEvent } from "../../../src/doors/nvme.js";
import {
  ArgumentError,
  NvmeController,
  NvmeError,
  type NvmeNamespace,
  UnsupportedError,
} from "../../../src/index.js";
import { AsyncEventInfo, FeatureId, LogPageId } from "../../../src/nvme/spec/opcodes.js";
import { caught } from "../../support/caught.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { bindGroup, nvmeControllers } from "../../support/nvme-machine.js";
import { provoke } from "../../support/provoke.js";

describe.each(nvmeControllers)("the $name controller", ({ bdf }) => {
  let binding: { close(): void };
  beforeAll(() => {
    binding = bindGroup(bdf());
  });
  afterAll(() => binding.close());
  expectNothingLeftSoon();

  let nvme: NvmeController;
  let ns: NvmeNamespace;
  beforeEach(async () => {
    nvme = await NvmeController.open(bdf());
    ns = await nvme.namespace(1);
  });
  afterEach(() => nvme.close());

  describe("log pages", () => {
    test("report its health, and count its commands", async () => {
      const before = await nvme.logs.smart();
      expect(before).toMatchObject({ criticalWarning: 0, availableSpare: 0, percentageUsed: 0 });
      expect(before.compositeTemperature).toBeGreaterThan(273);
      using buffer = nvme.dma.alloc(ns.blockSizeBytes);
      for (let i = 0; i < 3; i++) await ns.read(BigInt(i), buffer);
      await ns.write(0n, buffer);
      const after = await nvme.logs.smart();
      expect(after.hostReadCommands - before.hostReadCommands).toBe(3n);
      expect(after.hostWriteCommands - before.hostWriteCommands).toBe(1n);
    });

    test("report firmware, commands, and that no namespace changed", async () => {
      const { active, revisions } = await nvme.logs.firmwareSlots();
      expect(active).toBe(1);
      expect(revisions).toHaveLength(7);
      expect(revisions[0]).not.toBe("");
      const { admin, io } = await nvme.logs.commandEffects();
      // Identify and read are supported, and change nothing.
      expect([admin[0x06], io[0x02]]).toEqual([1, 1]);
      expect(await nvme.logs.changedNamespaces()).toEqual([]);
      expect(await nvme.logs.errors()).toEqual([]);
    });

    test("are read from any offset, in parts within the transfer limit", async () => {
      const whole = await nvme.logs.read(LogPageId.commandsSupported, 4096);
      expect(await nvme.logs.read(LogPageId.commandsSupported, 1024, { offset: 1024 })).toEqual(
        whole.subarray(1024, 2048),
      );
    });

    test("are refused if the controller lacks them, or arguments are invalid", async () => {
      provoke("pci_nvme_err_invalid_log_page", "pci_nvme_err_req_status");
      const error = await caught(nvme.logs.read(0xc5, 512));
      expect(error).toBeInstanceOf(NvmeError);
      for (const wrong of [
        () => nvme.logs.read(256, 512),
        () => nvme.logs.read(2, 0),
        () => nvme.logs.read(2, 510),
        () => nvme.logs.read(2, 512, { offset: 2 }),
        () => nvme.logs.read(2, 512, { lsp: 128 }),
      ]) {
        expect(await caught(wrong())).toBeInstanceOf(ArgumentError);
      }
    });
  });

  describe("features", () => {
    test("are read and set: write cache, temperature threshold, interrupt coalescing", async () => {
      const { features } = nvme;
      for (const enabled of [false, true]) {
        await features.setVolatileWriteCache(enabled);
        expect(await features.volatileWriteCache()).toBe(enabled);
      }
      const before = await features.temperatureThreshold();
      await features.setTemperatureThreshold(before + 1);
      expect(await features.temperatureThreshold()).toBe(before + 1);
      expect((await features.get(FeatureId.temperatureThreshold, { select: "default" })).value & 0xffff).toBe(
        before,
      );
      await features.setTemperatureThreshold(before);
      expect(await features.numberOfQueues()).toMatchObject({ submission: expect.any(Number) });
    });

    test("include the timestamp", async () => {
      const time = new Date("2031-02-03T04:05:06.789Z");
      await nvme.features.setTimestamp(time);
      const shown = await nvme.features.timestamp();
      expect(shown.getTime()).toBeGreaterThanOrEqual(time.getTime());
      expect(shown.getTime()).toBeLessThan(time.getTime() + 600_000);
      expect(await caught(nvme.features.setTimestamp(new Date(Number.NaN)))).toBeInstanceOf(ArgumentError);
    });

    test("are rejected before the controller sees them if they are invalid", async () => {
      const { features } = nvme;
      for (const wrong of [
        () => features.get(256),
        () => features.set(1, -1),
        () => features.set(1, 2 ** 32),
        () => features.setTemperatureThreshold(65_536),
        () => features.setInterruptCoalescing(257, 0),
        () => features.set(1, 0, { data: new Uint8Array(4097) }),
      ]) {
        expect(await caught(wrong())).toBeInstanceOf(ArgumentError);
      }
    });
  });

  describe("events", () => {
    test("reach everyone who waits, and are kept for those who wait later", async () => {
      const { events, features, logs } = nvme;
      const next = async (): Promise<NvmeEvent> => {
        for await (const event of events) return event;
        throw new Error("the events ended");
      };
      const both = Promise.all([next(), next()]);
      // Hotter than what warns.
      const before = await features.temperatureThreshold();
      await features.set(FeatureId.asyncEventConfiguration, 0xff);
      await features.setTemperatureThreshold(200);
      const expected = {
        type: "smart",
        name: "temperature",
        info: AsyncEventInfo.smart.temperature,
        logPage: LogPageId.smart,
        parameter: 0,
      };
      expect(await both).toEqual([expected, expected]);
      await features.setTemperatureThreshold(before);
      // Read, and so told again next time.
      await logs.smart();
      const later = next();
      await features.setTemperatureThreshold(200);
      expect(await later).toEqual(expected);
      await features.setTemperatureThreshold(before);
    });

    test("end with the controller, and don't keep it from closing", async () => {
      const seen: NvmeEvent[] = [];
      const reading = (async () => {
        for await (const event of nvme.events) seen.push(event);
      })();
      await setTimeout(10);
      await nvme.close();
      await reading;
      expect(seen).toEqual([]);
    });
  });

  describe("commands on ranges of blocks", () => {
    test("compare blocks with a buffer", async () => {
      using buffer = nvme.dma.alloc(ns.blockSizeBytes);
      randomFillSync(buffer.bytes);
      await ns.write(8n, buffer);
      provoke("pci_nvme_err_req_status");
      expect(await ns.compare(8n, buffer)).toBe(true);
      buffer.bytes[100] = (buffer.bytes[100] ?? 0) ^ 1;
      expect(await ns.compare(8n, buffer)).toBe(false);
    });

    test("set to zero and deallocate, and report what the controller lacks", async () => {
      using buffer = nvme.dma.alloc(2 * ns.blockSizeBytes);
      const reads = async (): Promise<boolean> => {
        buffer.bytes.fill(0x77);
        await ns.read(16n, buffer);
        return buffer.bytes.every((byte) => byte === 0);
      };
      buffer.bytes.fill(0x55);
      await ns.write(16n, buffer);
      expect(await reads()).toBe(false);
      await ns.writeZeroes(16n, 2);
      expect(await reads()).toBe(true);
      // QEMU 7.2 has none.
      expect(await caught(ns.verify(16n, 2))).toBeInstanceOf(UnsupportedError);
      buffer.bytes.fill(0x55);
      await ns.write(16n, buffer);
      await ns.deallocate([{ lba: 16n, blocks: 1 }]);
      // What is in it now is the controller's to say; its neighbour is untouched.
      buffer.bytes.fill(0);
      await ns.read(17n, buffer, { length: ns.blockSizeBytes });
      expect(buffer.view(0, ns.blockSizeBytes).every((byte) => byte === 0x55)).toBe(true);
    });

    test("are rejected if they are invalid", async () => {
      for (const wrong of [
        () => ns.writeZeroes(-1n, 1),
        () => ns.writeZeroes(0n, 0),
        () => ns.writeZeroes(0n, 65_537),
        () => ns.deallocate([]),
        () => ns.deallocate([{ lba: 0n, blocks: 0 }]),
        () => ns.deallocate(Array.from({ length: 257 }, () => ({ lba: 0n, blocks: 1 }))),
      ]) {
        expect(await caught(wrong())).toBeInstanceOf(ArgumentError);
      }
      provoke("pci_nvme_err_invalid_lba_range", "pci_nvme_err_req_status");
      expect(await caught(ns.writeZeroes(ns.sizeBlocks, 1))).toMatchObject({ status: "LBA Out of Range" });
    });
  });
});
