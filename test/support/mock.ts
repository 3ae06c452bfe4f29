/**
 * The kernel's own mock IOMMU and devices (CONFIG_IOMMUFD_TEST, drivers/iommu/iommufd/selftest.c), used through
 * IOMMU_TEST_CMD. Real iommufd code runs above it; only the hardware is missing.
 */
import { readdirSync, readlinkSync } from "node:fs";
import { Lease } from "../../src/core/lifetime/lease.js";
import { Resource } from "../../src/core/lifetime/resource.js";
import { struct, u32, u64 } from "../../src/core/struct.js";
import type { BoundDevice, DriverData, InvalidationData, Ioas, Iommufd } from "../../src/doors/iommufd.js";
import { destroying } from "../../src/iommufd/destroy.js";
import { ioctl, ioctlRequest } from "../../src/sys/ioctl.js";
import { close } from "../../src/sys/syscalls.js";

export const IOMMU_TEST_CMD = ioctlRequest("IOMMU_TEST_CMD", ";", 0xa0);
const SIZE = 72;
const UNION = 16;

const header = struct("iommu_test_cmd", { size: u32, op: u32, id: u32, __reserved: u32 });

export const TestOp = {
  addReserved: 1,
  mockDomain: 2,
  checkMap: 3,
  checkRefs: 4,
  createAccess: 5,
  destroyAccessPages: 6,
  accessPages: 7,
  accessRw: 8,
  setTempMemoryLimit: 9,
  mockDomainReplace: 10,
  accessReplaceIoas: 11,
  mockDomainFlags: 12,
  dirty: 13,
  checkIotlb: 14,
  triggerIopf: 15,
  checkDeviceCache: 16,
  triggerVevent: 17,
  pasidAttach: 18,
  pasidReplace: 19,
  pasidDetach: 20,
  pasidCheckHwpt: 21,
  dmabufGet: 22,
  dmabufRevoke: 23,
} as const;

export const mock = {
  apertureStart: 1n << 24n,
  apertureLast: (1n << 31n) - 1n,
  pageSizeBytes: 2048,
  hugePageSizeBytes: 512 * 2048,
  pasidWidth: 20,
  /** A PASID whose second page table always fails with ENOMEM. */
  pasidReserved: 1024,
  hwInfoType: 0xfeed_beef,
  hwInfoRegister: 0xdead_beef,
  hwptDataType: 0xdead,
  iotlbDefault: 0xbad_beef,
  deviceCacheDefault: 0xba_ddad,
  invalidateType: 0xdead_beef,
  invalidateTypeInvalid: 0xdad_beef,
  viommuType: 0xdead_beef,
  veventqType: 0xbeef_beef,
  hwQueueType: 0xdead_beef,
  hwQueueMax: 2,
} as const;

/** The union of struct iommu_test_cmd: words and quads at byte offsets from its start. */
type Arguments = readonly (readonly [offset: number, value: number | bigint])[];

/** An IOMMU_TEST_CMD, and its part from the union on. */
export function encodeTestCommand(
  op: number,
  id: number,
  args: Arguments,
): { command: Uint8Array; union: DataView } {
  const command = new Uint8Array(SIZE);
  command.set(header.encode({ size: SIZE, op, id }));
  const union = new DataView(command.buffer, UNION);
  for (const [offset, value] of args) {
    if (typeof value === "bigint") u64.write(union, offset, value);
    else u32.write(union, offset, value);
  }
  return { command, union };
}

/** IOMMU_TEST_CMD. @returns the ioctl's result and the command as the kernel left it, from the union on */
export function testCommand(
  fd: number,
  op: number,
  id: number,
  args: Arguments,
): { result: number; out: DataView } {
  const { command, union } = encodeTestCommand(op, id, args);
  const name = Object.entries(TestOp).find(([, number]) => number === op)?.[0] ?? String(op);
  const result = ioctl(fd, IOMMU_TEST_CMD, command, { object: `test op ${name}` });
  return { result, out: union };
}

/** Flags of a mock device (MOCK_FLAGS_DEVICE_*). */
export interface MockDeviceOptions {
  /** Its IOMMU has no dirty tracking. */
  readonly noDirty?: boolean;
  /** It has PASIDs, 20 bits of them. */
  readonly pasid?: boolean;
}

/**
 * A mock device, bound and attached from the start. It can't be detached: it leaves its page table by a replace or by
 * close(), so the kernel refuses to close the page table before.
 */
export class MockDevice extends Resource implements BoundDevice {
  private constructor(
    readonly iommufd: Iommufd,
    /** Id of the mock, for replace and PASID operations. */
    readonly stdevId: number,
    /** Its iommufd device object. */
    readonly deviceId: number,
    /** The HWPT it was attached to first. */
    readonly hwptId: number,
    private readonly home: { readonly id: number },
  ) {
    const { fd } = iommufd;
    const label = `mock device ${deviceId}`;
    super(new Lease(label, destroying(fd, stdevId, label), iommufd.lease));
  }

  static create(
    pageTable: { readonly iommufd: Iommufd; readonly id: number },
    options: MockDeviceOptions = {},
  ): MockDevice {
    const flags = (options.noDirty === true ? 1 : 0) | (options.pasid === true ? 4 : 0);
    const { fd } = pageTable.iommufd;
    const op = flags === 0 ? TestOp.mockDomain : TestOp.mockDomainFlags;
    const { out } = testCommand(fd, op, pageTable.id, [[12, flags]]);
    return new MockDevice(
      pageTable.iommufd,
      out.getUint32(0, true),
      out.getUint32(8, true),
      out.getUint32(4, true),
      pageTable,
    );
  }

  /** Attaches to another page table in one step. @returns id of the HWPT in use */
  replace(pageTable: { readonly id: number }): number {
    const { out } = testCommand(this.iommufd.fd, TestOp.mockDomainReplace, this.stdevId, [[0, pageTable.id]]);
    return out.getUint32(0, true);
  }

  /** As VfioDevice.attach: by PASID if one is given, else a replace. */
  attach(pageTable: { readonly id: number }, options: { readonly pasid?: number } = {}): number {
    if (options.pasid === undefined) return this.replace(pageTable);
    this.attachPasid(options.pasid, pageTable);
    return pageTable.id;
  }

  /** As VfioDevice.detach. Without a PASID it returns to its first page table, because it must be attached to one. */
  detach(options: { readonly pasid?: number } = {}): void {
    if (options.pasid === undefined) this.replace(this.home);
    else this.detachPasid(options.pasid);
  }

  attachPasid(pasid: number, pageTable: { readonly id: number }): void {
    this.pasid(TestOp.pasidAttach, pasid, pageTable.id);
  }

  replacePasid(pasid: number, pageTable: { readonly id: number }): void {
    this.pasid(TestOp.pasidReplace, pasid, pageTable.id);
  }

  detachPasid(pasid: number): void {
    testCommand(this.iommufd.fd, TestOp.pasidDetach, this.stdevId, [[0, pasid]]);
  }

  /** @throws unless the PASID is attached to this page table; undefined means to none */
  checkPasid(pasid: number, pageTable: { readonly id: number } | undefined): void {
    this.pasid(TestOp.pasidCheckHwpt, pasid, pageTable?.id ?? 0);
  }

  /** Injects an I/O page fault. PASID 0, the default, means requests without a PASID. */
  triggerFault(fault: { pasid?: number; groupId?: number; perm?: number; address?: bigint } = {}): void {
    testCommand(this.iommufd.fd, TestOp.triggerIopf, 0, [
      [0, this.deviceId],
      [4, fault.pasid ?? 0],
      [8, fault.groupId ?? 0x2],
      [12, fault.perm ?? 0x3],
      [16, fault.address ?? 0xdead_beafn],
    ]);
  }

  /** Reports an event into the vEVENTQ of the device's vIOMMU. */
  triggerVevent(): void {
    testCommand(this.iommufd.fd, TestOp.triggerVevent, 0, [[0, this.deviceId]]);
  }

  /** @throws unless cache entry `id` of the device holds `value` */
  checkCache(id: number, value: number): void {
    testCommand(this.iommufd.fd, TestOp.checkDeviceCache, this.deviceId, [
      [0, id],
      [4, value],
    ]);
  }

  private pasid(op: number, pasid: number, hwptId: number): void {
    testCommand(this.iommufd.fd, op, this.stdevId, [
      [0, pasid],
      [4, hwptId],
    ]);
  }
}

/** @throws unless each page of [iova, + length) is translated to this process's page at `address` */
export function checkMap(
  hwpt: { iommufd: Iommufd; id: number },
  iova: bigint,
  length: number,
  address: number,
): void {
  testCommand(hwpt.iommufd.fd, TestOp.checkMap, hwpt.id, [
    [0, iova],
    [8, BigInt(length)],
    [16, BigInt(address)],
  ]);
}

/** @throws EIO unless each page at `address` is pinned `refs` times */
export function checkRefs(iommufd: Iommufd, address: number, length: number, refs: number): void {
  testCommand(iommufd.fd, TestOp.checkRefs, 0, [
    [0, BigInt(length)],
    [8, BigInt(address)],
    [16, refs],
  ]);
}

/** @throws unless entry `id` of a nested page table's mock IOTLB holds `value` */
export function checkIotlb(hwpt: { iommufd: Iommufd; id: number }, id: number, value: number): void {
  testCommand(hwpt.iommufd.fd, TestOp.checkIotlb, hwpt.id, [
    [0, id],
    [4, value],
  ]);
}

export function addReserved(ioas: Ioas, start: bigint, length: bigint): void {
  testCommand(ioas.iommufd.fd, TestOp.addReserved, ioas.id, [
    [0, start],
    [8, length],
  ]);
}

/** Shrinks the kernel's temporary page buffer, so that its slow paths run. */
export function setTempMemoryLimit(iommufd: Iommufd, limit: number): void {
  testCommand(iommufd.fd, TestOp.setTempMemoryLimit, 0, [[0, limit]]);
}

/** Data of a mock nested page table; `huge`: the parent's table uses huge pages. */
export function mockHwptData(iotlb: number, huge = false): DriverData {
  return { type: mock.hwptDataType, bytes: new Uint8Array(Uint32Array.of(iotlb, huge ? 1 : 0).buffer) };
}

/** Invalidations of a mock nested page table: flags (1: all), IOTLB entry. */
export function mockInvalidations(entries: readonly (readonly [number, number])[]): InvalidationData {
  return {
    type: mock.invalidateType,
    entryBytes: 8,
    bytes: new Uint8Array(Uint32Array.from(entries.flat()).buffer),
  };
}

/** Invalidations of a mock vIOMMU: flags (1: all), virtual device id, cache entry. */
export function mockViommuInvalidations(
  entries: readonly (readonly [number, number, number])[],
): InvalidationData {
  return {
    type: mock.invalidateType,
    entryBytes: 12,
    bytes: new Uint8Array(Uint32Array.from(entries.flat()).buffer),
  };
}

/** An in-kernel user of an IOAS, such as a mediated device: it pins pages, or reads and writes through the IOAS. */
export class MockAccess extends Resource {
  private constructor(
    readonly iommufd: Iommufd,
    /** The access's descriptor; also its id in the test operations. */
    readonly fd: number,
  ) {
    super(new Lease(`mock access ${fd}`, () => close(fd), iommufd.lease));
  }

  /** @param needsPinPages the access pins; otherwise it only reads and writes */
  static create(ioas: Ioas, needsPinPages = true): MockAccess {
    const { out } = testCommand(ioas.iommufd.fd, TestOp.createAccess, ioas.id, [[4, needsPinPages ? 1 : 0]]);
    return new MockAccess(ioas.iommufd, out.getUint32(0, true));
  }

  /** Pins pages and checks that they are those at `address`. @returns an id for {@link unpin} */
  pin(iova: bigint, length: number, address: number, flags = 1): number {
    const { out } = testCommand(this.iommufd.fd, TestOp.accessPages, this.fd, [
      [0, flags],
      [8, iova],
      [16, BigInt(length)],
      [24, BigInt(address)],
    ]);
    return out.getUint32(4, true);
  }

  unpin(pagesId: number): void {
    testCommand(this.iommufd.fd, TestOp.destroyAccessPages, this.fd, [[0, pagesId]]);
  }

  /** Reads or writes `length` bytes between the IOAS and this process's memory at `address`. */
  rw(
    iova: bigint,
    length: number,
    address: number,
    options: { write?: boolean; slowPath?: boolean } = {},
  ): void {
    testCommand(this.iommufd.fd, TestOp.accessRw, this.fd, [
      [0, iova],
      [8, BigInt(length)],
      [16, BigInt(address)],
      [24, (options.write === true ? 1 : 0) | (options.slowPath === true ? 4 : 0)],
    ]);
  }

  replaceIoas(ioas: Ioas): void {
    testCommand(this.iommufd.fd, TestOp.accessReplaceIoas, this.fd, [[0, ioas.id]]);
  }
}

/**
 * A dma-buf of the mock exporter. The kernel (7.3.4) returns 0 and loses the descriptor's number, which its own self-test
 * takes for descriptor 0. This class finds the new descriptor in /proc/self/fd.
 */
export function mockDmaBuf(iommufd: Iommufd, length: number): number {
  const O_RDWR_CLOEXEC = 0o2000002;
  // Without the descriptor of the listing, whose number the new one may get.
  const before = new Set(readdirSync("/proc/self/fd").filter((fd) => link(fd) !== ""));
  const { result } = testCommand(iommufd.fd, TestOp.dmabufGet, 0, [
    [0, length],
    [4, O_RDWR_CLOEXEC],
  ]);
  if (result > 0) return result;
  const added = readdirSync("/proc/self/fd").filter((fd) => !before.has(fd) && link(fd).includes("dmabuf"));
  if (added.length !== 1) throw new Error(`expected one new dma-buf descriptor, found ${added.join(", ")}`);
  return Number(added[0]);
}

function link(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return "";
  }
}

export function revokeDmaBuf(iommufd: Iommufd, fd: number, revoked: boolean): void {
  testCommand(iommufd.fd, TestOp.dmabufRevoke, 0, [
    [0, fd],
    [4, revoked ? 1 : 0],
  ]);
}

/** Marks pages as written to in the mock's page table. @returns how many it marked */
export function markDirty(
  hwpt: { iommufd: Iommufd; id: number },
  iova: bigint,
  length: number,
  pageSize: number,
  bitmapAddress: number,
): bigint {
  const { out } = testCommand(hwpt.iommufd.fd, TestOp.dirty, hwpt.id, [
    [0, 0],
    [8, iova],
    [16, BigInt(length)],
    [24, BigInt(pageSize)],
    [32, BigInt(bitmapAddress)],
  ]);
  return out.getBigUint64(40, true);
}
