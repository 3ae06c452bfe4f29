/** The addresses that a DmaSpace chooses on iommufd, beside devices that join later and others that use the same IOAS. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { IoasMapper, Iommufd } from "../../../src/doors/iommufd.js";
import {
  bindToVfio,
  type DmaBuffer,
  DmaSpace,
  MappedMemory,
  PciDevice,
  type VfioBinding,
} from "../../../src/index.js";
import { Edu } from "../../support/edu.js";
import { eduBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";

const PAGE = 4096;
const GIB = 1024 ** 3;
const MSI_WINDOW = { start: 0xfee00000n, last: 0xfeefffffn };

let binding: VfioBinding;
beforeAll(() => {
  binding = bindToVfio(eduBdf());
});
afterAll(() => binding.close());

function lastOf({ iova, sizeBytes }: DmaBuffer): bigint {
  return iova + BigInt(sizeBytes) - 1n;
}

describe("a DmaSpace on iommufd", () => {
  expectNothingLeft();

  test("leaves out what the host's IOMMU reserves before a device has joined", async () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using space = new DmaSpace(new IoasMapper(ioas));
    // Nothing is pinned without a device, so the memory takes no pages.
    using memory = MappedMemory.anonymous(GIB);
    const large = Array.from({ length: 6 }, () => space.map(memory));
    for (const buffer of large) {
      expect(buffer.iova > MSI_WINDOW.last || lastOf(buffer) < MSI_WINDOW.start).toBe(true);
    }
    expect(new Set(large.map(({ iova }) => iova)).size).toBe(large.length);
    for (const buffer of large) buffer.close();
    using small = space.alloc(PAGE);
    using device = PciDevice.open(eduBdf(), { dma: space });
    small.bytes.fill(0x5a);
    const edu = new Edu(device.io);
    await edu.load(small.iova, PAGE / 2);
    small.bytes.fill(0);
    await edu.store(small.iova, PAGE / 2);
    expect(small.bytes.lastIndexOf(0x5a)).toBe(PAGE / 2 - 1);
  });

  test("maps at a fixed address that it would not choose, and again after a release", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using space = new DmaSpace(new IoasMapper(ioas));
    using memory = MappedMemory.anonymous(PAGE);
    for (let i = 0; i < 2; i++) {
      using fixed = space.map(memory, { iova: MSI_WINDOW.start });
      expect(fixed.iova).toBe(MSI_WINDOW.start);
      expect(() => space.map(memory, { iova: MSI_WINDOW.start })).toThrow(
        expect.objectContaining({ name: "IovaSpaceError", reason: "taken" }),
      );
    }
  });

  test("finds free addresses beside others that map into the same IOAS", () => {
    using device = PciDevice.open(eduBdf(), { backend: "iommufd" });
    const { mapper } = device.dma;
    if (!(mapper instanceof IoasMapper)) throw new Error("not iommufd");
    using other = new DmaSpace(new IoasMapper(mapper.ioas));
    for (let round = 0; round < 2; round++) {
      const buffers = Array.from({ length: 200 }, (_, i) =>
        (i % 5 === 0 ? device.dma : other).alloc(((i % 3) + 1) * PAGE),
      );
      const sorted = buffers.toSorted((a, b) => (a.iova < b.iova ? -1 : 1));
      sorted.slice(1).forEach((buffer, i) => {
        const before = sorted[i];
        if (before === undefined) throw new Error("no buffer");
        expect(buffer.iova).toBeGreaterThan(lastOf(before));
      });
      // Where the kernel would have chosen: mapped by neither of the two lists.
      const bare = mapper.ioas.map(buffers[0]?.memory ?? { address: 0, sizeBytes: 0 });
      using beside = device.dma.alloc(64 * PAGE, { addressBits: 32 });
      expect(beside.iova).not.toBe(bare);
      expect(mapper.ioas.unmap(bare, PAGE)).toBe(PAGE);
      for (const buffer of buffers) buffer.close();
    }
  });

  test("stays within the ranges of allowIovas(), and moves on when they change", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using space = new DmaSpace(new IoasMapper(ioas));
    const full = expect.objectContaining({ name: "IovaSpaceError", reason: "full" });
    ioas.allowIovas([{ start: 0x100000n, last: 0x101fffn }]);
    using first = space.alloc(PAGE);
    using second = space.alloc(PAGE);
    expect(new Set([first.iova, second.iova])).toEqual(new Set([0x100000n, 0x101000n]));
    expect(() => space.alloc(PAGE)).toThrow(full);
    using fixed = space.alloc(PAGE, { iova: 0x400000n });
    expect(fixed.iova).toBe(0x400000n);
    ioas.allowIovas([{ start: 0x200000n, last: 0x200fffn }]);
    using third = space.alloc(PAGE);
    expect(third.iova).toBe(0x200000n);
    expect(() => space.alloc(PAGE)).toThrow(full);
    first.close();
    expect(() => space.alloc(PAGE)).toThrow(full);
    ioas.allowIovas([]);
    using anywhere = space.alloc(2 * PAGE);
    expect(anywhere.iova).toBeGreaterThan(0n);
  });
});
