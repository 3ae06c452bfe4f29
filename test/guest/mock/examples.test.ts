/** The examples that need what no emulated IOMMU has, on the kernel's mock. */
import { describe, expect, test } from "vitest";
import { pagesWritten } from "../../../examples/dirty-tracking.js";
import { attachWithFaults, serveFaults } from "../../../examples/fault-handling.js";
import { giveToGuest } from "../../../examples/nested-translation.js";
import { allocPasids } from "../../../examples/pasid.js";
import { DevicePageTables, type Ioas, IoasMapper, Iommufd, PagingHwpt } from "../../../src/doors/iommufd.js";
import { DmaSpace, MappedMemory } from "../../../src/index.js";
import { checkIotlb, MockDevice, markDirty, mock, mockHwptData } from "../../support/mock.js";

const PAGE = 4096;

describe("examples", () => {
  test("dirty-tracking.ts finds the pages that a device wrote to", async () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    // Large pages would be dirty as a whole.
    ioas.hugePages = false;
    using device = MockDevice.create(ioas);
    using memory = MappedMemory.anonymous(64 * PAGE);
    const iova = ioas.map(memory);
    // Pages 1, 2 and 9: the mock marks as dirty what a bitmap tells it to.
    const marks = MappedMemory.anonymous(PAGE);
    marks.bytes[0] = 0b0000_0110;
    marks.bytes[1] = 0b0000_0010;
    const hwpts: PagingHwpt[] = [];
    const watched = {
      ...bound(device),
      attach(pageTable: { id: number }): number {
        if (pageTable instanceof PagingHwpt) hwpts.push(pageTable);
        return device.attach(pageTable);
      },
      detach: () => device.detach(),
    };
    using dma = new DmaSpace(new IoasMapper(ioas));
    const tables = new DevicePageTables(watched, dma);
    const ranges = await pagesWritten(tables, iova, memory.sizeBytes, async () => {
      const [hwpt] = hwpts;
      if (hwpt === undefined) throw new Error("nothing was attached");
      expect(markDirty(hwpt, iova, memory.sizeBytes, PAGE, marks.address)).toBe(3n);
    });
    marks.close();
    expect(ranges).toEqual([
      { iova: iova + BigInt(PAGE), sizeBytes: 2 * PAGE },
      { iova: iova + BigInt(9 * PAGE), sizeBytes: PAGE },
    ]);
  });

  test("fault-handling.ts maps pages that a device requests, and refuses those outside", async () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using device = MockDevice.create(ioas);
    using dma = new DmaSpace(new IoasMapper(ioas));
    const tables = new DevicePageTables(device, dma);
    const { faults, table } = attachWithFaults(tables);
    using memory = MappedMemory.anonymous(4 * PAGE);
    const start = mock.apertureStart;
    const served = serveFaults(tables, faults, memory, start);
    device.triggerFault({ address: start + BigInt(PAGE) });
    device.triggerFault({ address: start + BigInt(PAGE) + 8n, groupId: 3 });
    device.triggerFault({ address: start - BigInt(PAGE), groupId: 4 });
    await expect.poll(() => isMapped(ioas, start + BigInt(PAGE))).toBe(true);
    tables.attach(dma);
    table.close();
    faults.close();
    expect(await served).toBe(1);
  });

  test("nested-translation.ts attaches a device to a guest's page table", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using dma = new DmaSpace(new IoasMapper(ioas));
    using device = MockDevice.create(ioas);
    const tables = new DevicePageTables(device, dma);
    const nested = giveToGuest(tables, {
      viommu: { type: mock.viommuType, bytes: new Uint8Array(24) },
      virtualDeviceId: 0x42n,
      pageTable: mockHwptData(mock.iotlbDefault),
    });
    checkIotlb(nested, 0, mock.iotlbDefault);
    tables.attach(dma);
    device.close();
    ioas.close();
    expect(nested.closed).toBe(true);
  });

  test("pasid.ts gives each PASID its own address space", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using device = MockDevice.create(ioas, { pasid: true });
    using dma = new DmaSpace(new IoasMapper(ioas));
    const tables = new DevicePageTables(device, dma);
    const { spaces, pageTables } = allocPasids(tables, [7, 8]);
    device.checkPasid(7, pageTables[1]);
    device.checkPasid(8, pageTables[2]);
    expect(spaces[0]).not.toBe(spaces[1]);
    for (const pasid of [7, 8]) tables.detach({ pasid });
    tables.attach(dma);
    for (const space of spaces) space.close();
    expect(pageTables.map(({ closed }) => closed)).toEqual([false, true, true]);
    device.checkPasid(7, undefined);
  });
});

/** A device's identity, for an object that adds to its behaviour. */
function bound(device: MockDevice): Pick<MockDevice, "deviceId" | "iommufd" | "lease"> {
  return { deviceId: device.deviceId, iommufd: device.iommufd, lease: device.lease };
}

/** A second mapping in the same place is refused exactly where the first one stands. */
function isMapped(ioas: Ioas, iova: bigint): boolean {
  using probe = MappedMemory.anonymous(PAGE);
  try {
    ioas.map(probe, { iova });
  } catch {
    return true;
  }
  ioas.unmap(iova, PAGE);
  return false;
}
