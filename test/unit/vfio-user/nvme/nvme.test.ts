/** The NVMe driver against the emulated controller: identify, reads, writes and logs. */
import { randomFillSync } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { RunningEmulator } from "../../../../src/emulator/worker.js";
import { NvmeController, NvmeError } from "../../../../src/index.js";
import { caught } from "../../../support/caught.js";
import { compileEmulators, emulate } from "../../../support/emulators.js";

const MIB = 1024 * 1024;

/** Controllers of several shapes, with both ways of noticing completions. */
const shapes = [
  { name: "as it comes", options: { sizeBytes: 16 * MIB } },
  { name: "with blocks of 4 KiB", options: { sizeBytes: 16 * MIB, blockSizeBytes: 4096 as const } },
  { name: "with doorbells by message", options: { sizeBytes: 16 * MIB, doorbells: "messages" as const } },
];

beforeAll(() => void compileEmulators());

describe.each(shapes)("an NVMe controller behind a socket, $name", ({ options }) => {
  describe.each(["interrupt", "poll"] as const)("completions by %s", (completion) => {
    let emulator: RunningEmulator;
    let nvme: NvmeController;
    beforeEach(async () => {
      emulator = await emulate({ device: "nvme", options });
      nvme = await NvmeController.open(emulator.address, { completion });
    });
    afterEach(async () => {
      await nvme.close();
      await emulator.close();
    });

    test("identifies itself", async () => {
      expect(nvme.backend).toBe("vfio-user");
      expect(nvme.completion).toBe(completion);
      // Who polls gives the device nowhere to signal: the pin has to be off.
      expect(nvme.device.config.interruptDisable).toBe(completion === "poll");
      expect(await nvme.namespaceIds()).toEqual([1]);
      const ns = await nvme.namespace(1);
      expect(ns.sizeBlocks * BigInt(ns.blockSizeBytes)).toBe(BigInt(16 * MIB));
    });

    test("reads the data that was written, at many lengths and offsets", async () => {
      const ns = await nvme.namespace(1);
      const { blockSizeBytes } = ns;
      using source = nvme.dma.alloc(MIB);
      using target = nvme.dma.alloc(MIB);
      randomFillSync(source.bytes);
      for (const blocks of [1, 2, 3, 8, 9, 16, 17, MIB / 4 / blockSizeBytes - 1]) {
        for (const offset of [0, 4, 512, 4092]) {
          const length = blocks * blockSizeBytes;
          target.bytes.fill(0x5a);
          await ns.write(7n, source, { offset, length });
          await ns.read(7n, target, { offset, length });
          expect(Buffer.compare(target.view(offset, length), source.view(offset, length))).toBe(0);
          expect(target.bytes[offset + length]).toBe(0x5a);
        }
      }
    });

    test("processes many commands at the same time", async () => {
      const ns = await nvme.namespace(1);
      using buffer = nvme.dma.alloc(256 * 4096);
      randomFillSync(buffer.bytes);
      const length = 4096;
      const at = (i: number): bigint => BigInt((i * length) / ns.blockSizeBytes);
      const all = Array.from({ length: 256 }, (_, i) => i);
      await Promise.all(all.map((i) => ns.write(at(i), buffer, { offset: i * length, length })));
      using back = nvme.dma.alloc(256 * 4096);
      await Promise.all(all.map((i) => ns.read(at(i), back, { offset: i * length, length })));
      expect(Buffer.compare(back.bytes, buffer.bytes)).toBe(0);
    });

    test("rejects invalid commands", async () => {
      const ns = await nvme.namespace(1);
      using buffer = nvme.dma.alloc(ns.blockSizeBytes);
      expect(await caught(ns.read(ns.sizeBlocks, buffer))).toMatchObject({ status: "LBA Out of Range" });
      expect(await caught(nvme.io({ opcode: 0x7f, nsid: 1 }))).toBeInstanceOf(NvmeError);
    });

    test("supports log pages, features, Compare, Write Zeroes and Deallocate", async () => {
      const ns = await nvme.namespace(1);
      const before = await nvme.logs.smart();
      using buffer = nvme.dma.alloc(8 * ns.blockSizeBytes);
      randomFillSync(buffer.bytes);
      await ns.write(0n, buffer);
      expect(await ns.compare(0n, buffer)).toBe(true);
      await ns.verify(0n, 8);
      await ns.writeZeroes(0n, 4);
      expect(await ns.compare(0n, buffer)).toBe(false);
      await ns.deallocate([{ lba: 0n, blocks: 8 }]);
      await ns.read(0n, buffer);
      expect(buffer.bytes.every((byte) => byte === 0)).toBe(true);
      expect((await nvme.logs.smart()).hostWriteCommands).toBeGreaterThan(before.hostWriteCommands);
      await nvme.features.setTimestamp(new Date(1_900_000_000_000));
      expect((await nvme.features.timestamp()).getTime()).toBeGreaterThanOrEqual(1_900_000_000_000);
    });
  });
});

describe("a medium in a file", () => {
  test("keeps its data when the emulator ends", async () => {
    const folder = mkdtempSync(join(tmpdir(), "iova-medium-"));
    const options = { file: join(folder, "disk"), sizeBytes: 16 * MIB };
    const content = randomFillSync(Buffer.alloc(64 * 1024));
    for (const round of ["write", "read"]) {
      const emulator = await emulate({ device: "nvme", options });
      const nvme = await NvmeController.open(emulator.address);
      const ns = await nvme.namespace(1);
      using buffer = nvme.dma.alloc(content.length);
      if (round === "write") {
        buffer.bytes.set(content);
        await ns.write(100n, buffer);
        await ns.flush();
      } else {
        await ns.read(100n, buffer);
        expect(Buffer.compare(buffer.bytes, content)).toBe(0);
      }
      await nvme.close();
      await emulator.close();
    }
    rmSync(folder, { recursive: true });
  });
});
