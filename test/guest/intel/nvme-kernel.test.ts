/** Data is exchanged with the kernel's nvme driver. */
import { randomFillSync } from "node:crypto";
import { describe, expect, test } from "vitest";
import { bindToVfio, NvmeController } from "../../../src/index.js";
import { driverOf } from "../../../src/pci/sysfs.js";
import { nvmeBdf, wideNvmeBdf } from "../../support/functions.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { kernelDisk, readDisk, writeDisk } from "../../support/kernel-disk.js";
import { backends } from "../../support/nvme-machine.js";

const MIB = 1024 * 1024;

describe.each([
  { name: "default", bdf: nvmeBdf },
  { name: "wide", bdf: wideNvmeBdf },
])("the $name controller", ({ bdf }) => {
  expectNothingLeftSoon();

  describe.each(backends)("through %s", (backend) => {
    test("exchanges data with the kernel's nvme driver both ways", async () => {
      const ours = randomFillSync(new Uint8Array(2 * MIB));
      const offset = 3 * MIB;
      {
        using binding = bindToVfio(bdf());
        expect(binding.previousDriver).toBe("nvme");
        await using nvme = await NvmeController.open(bdf(), { backend });
        const ns = await nvme.namespace(1);
        using buffer = nvme.dma.alloc(ours.length);
        buffer.bytes.set(ours);
        await inPieces(nvme.maxTransferBytes, ours.length, (at, length) =>
          ns.write(BigInt((offset + at) / ns.blockSizeBytes), buffer, { offset: at, length }),
        );
        await ns.flush();
        await nvme.close();
      }
      expect(driverOf(bdf())).toBe("nvme");
      const disk = await kernelDisk(bdf());
      expect(Buffer.compare(readDisk(disk, offset, ours.length), ours)).toBe(0);

      const theirs = randomFillSync(new Uint8Array(2 * MIB));
      writeDisk(disk, offset, theirs);
      {
        using _binding = bindToVfio(bdf());
        await using nvme = await NvmeController.open(bdf(), { backend });
        const ns = await nvme.namespace(1);
        using buffer = nvme.dma.alloc(theirs.length);
        await inPieces(nvme.maxTransferBytes, theirs.length, (at, length) =>
          ns.read(BigInt((offset + at) / ns.blockSizeBytes), buffer, { offset: at, length }),
        );
        expect(Buffer.compare(buffer.bytes, theirs)).toBe(0);
        await nvme.close();
      }
      await kernelDisk(bdf());
    });
  });
});

/** One transfer after the other, none longer than a command can carry. */
async function inPieces(
  most: number,
  total: number,
  transfer: (at: number, length: number) => Promise<void>,
): Promise<void> {
  for (let at = 0; at < total; at += most) await transfer(at, Math.min(most, total - at));
}
