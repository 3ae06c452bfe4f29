/** How completions are noticed: interrupts per command, under load, and polling. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { NvmeController, PciDevice } from "../../../src/index.js";
import { VFIO_PCI_MSIX_IRQ_INDEX } from "../../../src/vfio/uapi.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { vfioInterrupts } from "../../support/interrupts.js";
import { backends, bindGroup, nvmeControllers } from "../../support/nvme-machine.js";

/**
 * The driver looks for completions by itself four times per time limit, in case an interrupt got lost. With this one it
 * would be minutes until then: what completes was told by an interrupt.
 */
const NO_HELP_MS = 600_000;

describe.each(nvmeControllers)("the $name controller", ({ bdf }) => {
  let binding: { close(): void };
  beforeAll(() => {
    binding = bindGroup(bdf());
  });
  afterAll(() => binding.close());
  expectNothingLeftSoon();

  describe.each(backends)("through %s", (backend) => {
    test("completes commands by MSI-X, with one interrupt for each command that is alone", async () => {
      const vectors = Math.min(2, msixVectors(backend));
      const nvme = await NvmeController.open(bdf(), { backend, timeoutMs: NO_HELP_MS });
      expect(nvme.completion).toBe("interrupt");
      const ns = await nvme.namespace(1);
      using buffer = nvme.dma.alloc(ns.blockSizeBytes);
      const before = vfioInterrupts(bdf());
      expect(before.length).toBe(vectors);
      for (let i = 0; i < 25; i++) await ns.read(BigInt(i), buffer);
      const afterReads = vfioInterrupts(bdf());
      // I/O has the last vector, admin the first; where there is one only, it serves both.
      expect(afterReads.at(-1)).toBeGreaterThanOrEqual((before.at(-1) ?? 0) + 25);
      if (vectors > 1) expect(afterReads[0]).toBe(before[0]);
      for (let i = 0; i < 5; i++) await nvme.namespaceIds();
      const afterAdmin = vfioInterrupts(bdf());
      expect(afterAdmin[0]).toBeGreaterThanOrEqual((afterReads[0] ?? 0) + 5);
      if (vectors > 1) expect(afterAdmin[1]).toBe(afterReads[1]);
      buffer.close();
      await nvme.close();
      expect(vfioInterrupts(bdf())).toEqual([]);
    });

    test("completes many commands with far fewer reads of the queue than commands, and loses none", async () => {
      await using nvme = await NvmeController.open(bdf(), { backend, timeoutMs: NO_HELP_MS });
      const ns = await nvme.namespace(1);
      const buffers = Array.from({ length: 64 }, () => nvme.dma.alloc(ns.blockSizeBytes));
      for (let round = 0; round < 10; round++) {
        const reads = buffers.map((buffer, i) => ns.read(BigInt(round * 64 + i), buffer));
        expect(await Promise.all(reads)).toHaveLength(64);
      }
      const io = vfioInterrupts(bdf()).at(-1) ?? 0;
      expect(io).toBeGreaterThan(0);
      expect(io).toBeLessThanOrEqual(640 + 1);
    });

    test("polls with all interrupts off", async () => {
      await using nvme = await NvmeController.open(bdf(), {
        backend,
        completion: "poll",
        timeoutMs: NO_HELP_MS,
      });
      expect(vfioInterrupts(bdf())).toEqual([]);
      const ns = await nvme.namespace(1);
      using buffer = nvme.dma.alloc(ns.blockSizeBytes);
      for (let i = 0; i < 25; i++) await ns.read(BigInt(i), buffer);
      expect(vfioInterrupts(bdf())).toEqual([]);
      expect(nvme.completion).toBe("poll");
    });
  });

  function msixVectors(backend: "iommufd" | "type1"): number {
    using device = PciDevice.open(bdf(), { backend });
    return device.io.irqInfo(VFIO_PCI_MSIX_IRQ_INDEX).count;
  }
});
