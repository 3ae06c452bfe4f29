/** The example's driver for virtio's disk, beside the kernel's. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { VirtioBlk, type VirtioBlkOptions } from "../../../examples/drivers/virtio/blk.js";
import { bindToVfio, PciDevice } from "../../../src/index.js";
import { backendNames } from "../../../src/pci/open.js";
import { lockedBlkBdf, packedBlkBdf, virtioBlkBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { kernelDisk, readDisk, writeDisk } from "../../support/kernel-disk.js";
import { QemuMonitor } from "../../support/qemu-monitor.js";

const MIB = 1024 * 1024;
const SECTOR = 512;
const SECTORS = (32 * MIB) / SECTOR;
/** Only ends what would never end. */
const LONG = { timeout: 600_000 };

describe.each(backendNames)("virtio-blk through %s", (backend) => {
  expectNothingLeft();

  test("says its size and serial number", async () => {
    using binding = bindToVfio(virtioBlkBdf());
    using device = PciDevice.open(binding.bdf, { backend });
    await using disk = await VirtioBlk.start(device);
    expect([disk.sectors, disk.isReadOnly, await disk.id()]).toEqual([SECTORS, false, "virtio"]);
  });

  test("reads what the kernel's driver wrote, and writes what that reads", LONG, async () => {
    const at = 3 * MIB;
    const byKernel = randomBytes(MIB);
    writeDisk(await kernelDisk(virtioBlkBdf()), at, byKernel);
    const byUs = randomBytes(MIB);
    {
      using binding = bindToVfio(virtioBlkBdf());
      using device = PciDevice.open(binding.bdf, { backend });
      await using disk = await VirtioBlk.start(device);
      using buffer = device.dma.alloc(MIB);
      await disk.read(at / SECTOR, buffer);
      expect(Buffer.compare(buffer.bytes, byKernel)).toBe(0);
      buffer.bytes.set(byUs);
      await disk.write(2 * (at / SECTOR), buffer);
      await disk.flush();
    }
    const read = readDisk(await kernelDisk(virtioBlkBdf()), 2 * at, MIB);
    expect(Buffer.compare(read, byUs)).toBe(0);
  });

  test.each<[string, VirtioBlkOptions, expected: { queues: number }]>([
    ["a split ring", { indirect: false }, { queues: 1 }],
    ["a split ring and tables", {}, { queues: 1 }],
    ["a packed ring", { packed: true, indirect: false }, { queues: 1 }],
    ["a packed ring and tables", { packed: true }, { queues: 1 }],
    ["four split rings", { queues: 4 }, { queues: 4 }],
    ["all the packed rings it has", { packed: true, queues: 100 }, { queues: 4 }],
  ])(
    "takes many more requests than its queue holds, each with its own data, by %s",
    LONG,
    async (_, options, expected) => {
      using binding = bindToVfio(packedBlkBdf());
      using device = PciDevice.open(binding.bdf, { backend });
      await using disk = await VirtioBlk.start(device, options);
      expect(disk.queues).toBe(expected.queues);
      const count = 1000;
      using buffer = device.dma.alloc(count * SECTOR);
      for (let i = 0; i < count; i++) buffer.view(i * SECTOR, SECTOR).fill(i % 251);
      const each = (action: (sector: number, extent: { offset: number; length: number }) => Promise<void>) =>
        Promise.all(
          Array.from({ length: count }, (_, i) =>
            action((i * 37) % SECTORS, { offset: i * SECTOR, length: SECTOR }),
          ),
        );
      await each((sector, extent) => disk.write(sector, buffer, extent));
      buffer.bytes.fill(0);
      await each((sector, extent) => disk.read(sector, buffer, extent));
      const wrong = Array.from({ length: count }, (_, i) => i).filter(
        (i) => !buffer.view(i * SECTOR, SECTOR).every((byte) => byte === i % 251),
      );
      expect(wrong).toEqual([]);
    },
  );

  test("writes by a packed ring what the kernel's driver reads", LONG, async () => {
    const byUs = randomBytes(MIB);
    {
      using binding = bindToVfio(packedBlkBdf());
      using device = PciDevice.open(binding.bdf, { backend });
      await using disk = await VirtioBlk.start(device, { packed: true });
      using buffer = device.dma.alloc(MIB);
      buffer.bytes.set(byUs);
      await disk.write(0, buffer);
      await disk.flush();
    }
    const read = readDisk(await kernelDisk(packedBlkBdf()), 0, MIB);
    expect(Buffer.compare(read, byUs)).toBe(0);
  });

  test("tells when the disk becomes longer", LONG, async () => {
    using binding = bindToVfio(packedBlkBdf());
    using device = PciDevice.open(binding.bdf, { backend });
    await using disk = await VirtioBlk.start(device);
    const monitor = await QemuMonitor.open();
    const resize = async (bytes: number): Promise<number> => {
      const change = once(disk.events, "capacity");
      await monitor.run("block_resize", { device: "packed", size: bytes });
      await change;
      return disk.sectors;
    };
    try {
      expect(await resize(48 * MIB)).toBe((48 * MIB) / SECTOR);
      using buffer = device.dma.alloc(SECTOR);
      await disk.read(disk.sectors - 1, buffer);
      expect(await resize(32 * MIB)).toBe(SECTORS);
      await expect(disk.read(disk.sectors, buffer)).rejects.toThrow("beyond the disk's");
    } finally {
      await monitor.close();
    }
  });

  test("ends what is outstanding by an error when the driver is closed", LONG, async () => {
    using binding = bindToVfio(virtioBlkBdf());
    using device = PciDevice.open(binding.bdf, { backend });
    const disk = await VirtioBlk.start(device);
    using buffer = device.dma.alloc(MIB);
    const reads = Promise.allSettled(Array.from({ length: 200 }, () => disk.read(0, buffer)));
    await disk[Symbol.asyncDispose]();
    const rejected = (await reads).filter(({ status }) => status === "rejected");
    expect(rejected.length).toBeGreaterThan(0);
    for (const each of rejected) expect(each).toMatchObject({ reason: { code: "ERR_VIRTIO" } });
  });

  test("refuses what doesn't fit, and writes to a disk that can only be read", LONG, async () => {
    using binding = bindToVfio(lockedBlkBdf());
    using device = PciDevice.open(binding.bdf, { backend });
    await using disk = await VirtioBlk.start(device);
    using buffer = device.dma.alloc(4096);
    expect(disk.isReadOnly).toBe(true);
    await expect(disk.write(0, buffer)).rejects.toThrow("the disk is read-only");
    await disk.read(disk.sectors - 8, buffer);
    for (const [sector, extent] of [
      [disk.sectors - 7, {}],
      [-1, {}],
      [0.5, {}],
      [0, { offset: 4000 }],
      [0, { length: 100 }],
      [0, { offset: 4096 }],
    ] as const)
      await expect(disk.read(sector, buffer, extent)).rejects.toThrow(RangeError);
  });
});
