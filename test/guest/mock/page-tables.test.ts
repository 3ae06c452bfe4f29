/** Page tables of a program's own for an open device: PASIDs, page faults, nesting, and back, on the kernel's mock. */
import { expect, test } from "vitest";
import { DevicePageTables, IoasMapper, Iommufd } from "../../../src/doors/iommufd.js";
import { ArgumentError, ClosedError, DmaSpace } from "../../../src/index.js";
import { sysError } from "../../support/errors.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { checkIotlb, checkMap, MockDevice, mock, mockHwptData } from "../../support/mock.js";

const PAGE = 4096;

expectNothingLeft();

/** A device with PASIDs in its ordinary space. */
class Opened implements Disposable {
  readonly iommufd = Iommufd.open();
  readonly ioas = this.iommufd.allocIoas();
  readonly device = MockDevice.create(this.ioas, { pasid: true });
  readonly dma = new DmaSpace(new IoasMapper(this.ioas));
  readonly tables = new DevicePageTables(this.device, this.dma);

  /** In the order in which the mock can close: it stays on a page table until it closes itself. */
  [Symbol.dispose](): void {
    if (!this.device.closed) this.tables.attach(this.dma);
    this.iommufd.close();
  }
}

test("a page table of the program's own has the mappings of the device's space", () => {
  using opened = new Opened();
  const { tables, dma } = opened;
  expect(tables.ioas).toBe(opened.ioas);
  expect(tables.device).toBe(opened.device);
  expect(tables.hwInfo().maxPasidLog2).toBe(mock.pasidWidth);
  const before = dma.alloc(PAGE);
  const table = tables.alloc();
  tables.attach(table);
  const after = dma.alloc(PAGE);
  for (const { iova, memory } of [before, after]) checkMap(table, iova, PAGE, memory.address);
  tables.attach(dma);
  table.close();
});

test("each PASID has the space that was attached to it, until it is detached", () => {
  using opened = new Opened();
  const { tables, device } = opened;
  const own = tables.alloc({ pasid: true });
  tables.attach(own);
  const spaces = [tables.allocSpace(), tables.allocSpace()] as const;
  const both = spaces.map((space) => tables.alloc({ space, pasid: true }));
  for (const [index, table] of both.entries()) tables.attach(table, { pasid: 5 + index });
  const buffer = spaces[0].alloc(PAGE);
  for (const [index, table] of both.entries()) device.checkPasid(5 + index, table);
  if (both[0] === undefined) throw new Error("no table");
  checkMap(both[0], buffer.iova, PAGE, buffer.memory.address);
  for (const pasid of [5, 6]) tables.detach({ pasid });
  device.checkPasid(5, undefined);
  // A space closes its buffers and its tables.
  for (const space of spaces) space.close();
  expect(both.every(({ closed }) => closed)).toBe(true);
  expect(buffer.closed).toBe(true);
});

test("a table with a queue delivers the device's page requests", () => {
  using opened = new Opened();
  const { tables, device, dma } = opened;
  const faults = tables.allocFaultQueue();
  const table = tables.alloc({ faultQueue: faults });
  tables.attach(table);
  device.triggerFault({ address: 0x7000n, groupId: 3 });
  const [group] = faults.take();
  expect(group).toMatchObject({ groupId: 3, pasid: undefined, deviceId: device.deviceId });
  expect(group?.requests).toMatchObject([{ address: 0x7000n, read: true, write: true }]);
  group?.respond("success");
  tables.attach(dma);
  table.close();
  faults.close();
});

test("a nest parent takes a guest's table, and the device returns to its ordinary space", () => {
  using opened = new Opened();
  const { tables, dma } = opened;
  const parent = tables.alloc({ nestParent: true });
  const nested = parent.allocNested(tables.device, mockHwptData(mock.iotlbDefault));
  tables.attach(nested);
  checkIotlb(nested, 0, mock.iotlbDefault);
  // The device is on the table, so the kernel keeps it.
  expect(() => nested.close()).toThrow(sysError("IOMMU_DESTROY", "EBUSY"));
  tables.attach(dma);
  nested.close();
  parent.close();
});

test("the device can be moved to another space whole", () => {
  using opened = new Opened();
  const { tables, dma } = opened;
  using other = tables.allocSpace();
  tables.attach(other);
  const buffer = other.alloc(PAGE);
  expect(buffer.bytes.length).toBe(PAGE);
  tables.attach(dma);
});

test("wrong tables, spaces and options are refused", () => {
  using opened = new Opened();
  const { tables, device, iommufd } = opened;
  using elsewhere = Iommufd.open();
  using ioas = elsewhere.allocIoas();
  using foreign = new DmaSpace(new IoasMapper(ioas));
  expect(() => tables.attach(foreign)).toThrow(ArgumentError);
  expect(() => tables.alloc({ space: foreign })).toThrow("belongs to another iommufd");
  expect(() => new DevicePageTables(device, foreign)).toThrow("make it by allocSpace()");
  const closed = tables.allocSpace();
  closed.close();
  expect(() => tables.attach(closed)).toThrow(ClosedError);
  expect(() => tables.alloc({ space: closed })).toThrow(ClosedError);
  expect(() => Reflect.apply(tables.attach, tables, [{}])).toThrow(
    "table must be a page table or a DmaSpace",
  );
  expect(() => Reflect.apply(tables.alloc, tables, [{ nested: true }])).toThrow(ArgumentError);
  expect(() => Reflect.apply(tables.detach, tables, [{ pasids: 1 }])).toThrow(ArgumentError);
  // A page table that wasn't made for PASIDs.
  const plain = tables.alloc();
  expect(() => tables.attach(plain, { pasid: 5 })).toThrow(sysError("IOMMU_TEST_CMD", "EINVAL"));
  plain.close();
  expect(iommufd.closed).toBe(false);
});

test("an asynchronous close of the iommufd closes spaces that the program forgot", async () => {
  using opened = new Opened();
  const { tables, iommufd, device, dma } = opened;
  const space = tables.allocSpace();
  const buffer = space.alloc(PAGE);
  tables.attach(dma);
  device.close();
  await iommufd.closeAsync();
  expect([buffer.closed, space.closed]).toEqual([true, true]);
});
