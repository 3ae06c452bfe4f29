/** The example's driver for virtio's disk where there is no IOMMU. */
import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { VirtioBlk, type VirtioBlkOptions } from "../../../examples/drivers/virtio/blk.js";
import { bindToVfio, PciDevice } from "../../../src/index.js";
import { virtioBlkBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { kernelDisk, readDisk } from "../../support/kernel-disk.js";

const PAGE = 4096;
const SECTOR = 512;

describe("virtio-blk by physical addresses", () => {
  expectNothingLeft();

  test.each<[string, VirtioBlkOptions]>([
    ["a split ring", {}],
    ["a packed ring", { packed: true }],
  ])("writes by %s what the kernel's driver reads", async (_, options) => {
    const pages = Array.from({ length: 8 }, () => randomBytes(PAGE));
    {
      using binding = bindToVfio(virtioBlkBdf());
      using device = PciDevice.open(binding.bdf, { backend: "noiommu" });
      await using disk = await VirtioBlk.start(device, options);
      using buffer = device.dma.alloc(PAGE);
      for (const [i, page] of pages.entries()) {
        buffer.bytes.set(page);
        await disk.write((i * PAGE) / SECTOR, buffer);
      }
      await disk.flush();
    }
    const read = readDisk(await kernelDisk(virtioBlkBdf()), 0, pages.length * PAGE);
    expect(Buffer.compare(read, Buffer.concat(pages))).toBe(0);
  });
});
