/** Calls that take long in the kernel have a form that leaves the JavaScript thread free. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Iommufd } from "../../../src/doors/iommufd.js";
import { VfioDevice } from "../../../src/doors/vfio.js";
import {
  ArgumentError,
  BusyError,
  bindToVfio,
  MappedMemory,
  PciDevice,
  UnsupportedError,
  type VfioBinding,
} from "../../../src/index.js";
import { caught } from "../../support/caught.js";
import { sysError } from "../../support/errors.js";
import { eduBdf, nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft, holdings } from "../../support/holdings.js";
import { withPoolHeld } from "../../support/thread-pool.js";
import { openMode } from "../../support/vfio-modes.js";

const PAGE = 4096;
const MIB = 1024 * 1024;

const bindings: VfioBinding[] = [];
beforeAll(() => {
  for (const bdf of [eduBdf(), nvmeBdf()]) bindings.push(bindToVfio(bdf));
});
afterAll(() => {
  for (const binding of bindings) binding.close();
});

expectNothingLeft();

describe.each(["iommufd", "vfio_type1v2_iommu"] as const)("resetAsync() by %s", (mode) => {
  test("lets the event loop run, and keeps the device from being closed meanwhile", async () => {
    using space = openMode(mode);
    const { device } = space.open(nvmeBdf());
    await withPoolHeld(
      () => device.resetAsync(),
      () => {
        expect(() => device.close()).toThrow(BusyError);
        expect(() => device.close()).toThrow("a reset under way");
      },
    );
    expect(device.info().resettable).toBe(true);
  });

  test("rejects where reset() throws", async () => {
    using space = openMode(mode);
    const { device } = space.open(eduBdf());
    expect(await caught(device.resetAsync())).toBeInstanceOf(UnsupportedError);
    device.close();
    expect(await caught(device.resetAsync())).toMatchObject({ name: "ClosedError" });
  });
});

describe("closeAsync()", () => {
  test.each(["iommufd", "vfio_type1v2_iommu"] as const)(
    "lets the event loop run while a device and its mappings are closed through %s",
    async (mode) => {
      const before = holdings();
      const space = openMode(mode);
      const { device } = space.open(nvmeBdf());
      const memory = MappedMemory.anonymous(128 * MIB);
      space.map(memory, 0x1_0000_0000n);
      await withPoolHeld(() => device.closeAsync());
      expect(device.closed).toBe(true);
      await device.closeAsync();
      await withPoolHeld(() => space.closeAsync());
      memory.close();
      expect(holdings()).toEqual(before);
    },
  );

  test("works with `await using`, dependents first", async () => {
    await using iommufd = Iommufd.open();
    const ioas = iommufd.allocIoas();
    const device = VfioDevice.openCdev(nvmeBdf());
    device.bind(iommufd);
    device.attach(ioas);
    await iommufd.closeAsync();
    expect([device.closed, ioas.closed, iommufd.closed]).toEqual([true, true, true]);
  });

  test("closes a PciDevice with its buffers, and rejects while one is in flight", async () => {
    const device = PciDevice.open(nvmeBdf());
    const buffer = device.dma.alloc(PAGE);
    buffer.lease.hold("a command");
    await expect(device.closeAsync()).rejects.toThrow(BusyError);
    expect(device.closed).toBe(false);
    buffer.lease.drop();
    await device.closeAsync();
    expect([device.closed, buffer.closed]).toEqual([true, true]);
  });
});

describe("a container's mapAsync() and unmapAsync()", () => {
  test("let the event loop run, and reject where map() and unmap() throw", async () => {
    using space = openMode("vfio_type1v2_iommu");
    space.open(nvmeBdf());
    const { container } = space;
    if (container === undefined) throw new Error("the mode has a container");
    const sizeBytes = 128 * MIB;
    using memory = MappedMemory.anonymous(sizeBytes);
    const before = holdings().pinnedKib;
    await withPoolHeld(
      () => container.mapAsync(memory, 0x1_0000_0000n, "read-write"),
      () => {
        expect(() => container.close()).toThrow("a mapping under way");
        expect(holdings().pinnedKib).toBe(before);
      },
    );
    const again = await caught(container.mapAsync(memory, 0x1_0000_0000n, "read-write"));
    expect(again).toEqual(sysError("VFIO_IOMMU_MAP_DMA", "EEXIST"));
    const cut = await caught(container.unmapAsync(0x1_0000_0000n, PAGE));
    expect(cut).toEqual(sysError("VFIO_IOMMU_UNMAP_DMA", "EINVAL"));
    const pinned = holdings().pinnedKib;
    const unmapped = await withPoolHeld(
      () => container.unmapAsync(0x1_0000_0000n, sizeBytes),
      () => {
        expect(() => container.close()).toThrow(BusyError);
        expect(holdings().pinnedKib).toBe(pinned);
      },
    );
    expect(unmapped).toBe(sizeBytes);
    expect(holdings().pinnedKib).toBe(before);
    expect(await caught(container.unmapAsync(-1n, PAGE))).toBeInstanceOf(ArgumentError);
  });
});

describe("mapAsync() and unmapAsync() of an IOAS", () => {
  test("let the event loop run while hundreds of megabytes are pinned and unpinned", async () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using device = VfioDevice.openCdev(nvmeBdf());
    device.bind(iommufd);
    device.attach(ioas);
    const sizeBytes = 128 * MIB;
    using memory = MappedMemory.anonymous(sizeBytes);
    const before = holdings().pinnedKib;
    const iova = await withPoolHeld(
      () => ioas.mapAsync(memory, { iova: 0x1_0000_0000n }),
      () => {
        expect(() => ioas.close()).toThrow("a mapping under way");
        expect(() => iommufd.close()).toThrow(BusyError);
        expect(holdings().pinnedKib).toBe(before);
      },
    );
    expect(iova).toBe(0x1_0000_0000n);
    expect(holdings().pinnedKib - before).toBe(sizeBytes / 1024);

    const unmapped = await withPoolHeld(
      () => ioas.unmapAsync(0x1_0000_0000n, sizeBytes),
      () => {
        expect(() => ioas.close()).toThrow("an unmapping under way");
        expect(holdings().pinnedKib - before).toBe(sizeBytes / 1024);
      },
    );
    expect(unmapped).toBe(sizeBytes);
    expect(holdings().pinnedKib).toBe(before);
  });

  test("let the kernel choose addresses, and reject where map() and unmap() throw", async () => {
    using iommufd = Iommufd.open();
    const ioas = iommufd.allocIoas();
    using memory = MappedMemory.anonymous(PAGE);
    const at = await ioas.mapAsync(memory);
    const error = await caught(ioas.mapAsync(memory, { iova: at }));
    expect(error).toEqual(sysError("IOMMU_IOAS_MAP", "EEXIST"));
    expect(await ioas.unmapAsync(at, PAGE)).toBe(PAGE);
    expect(await caught(ioas.unmapAsync(at, PAGE))).toEqual(sysError("IOMMU_IOAS_UNMAP", "ENOENT"));
    expect(await caught(ioas.mapAsync({ address: -1, sizeBytes: PAGE }))).toBeInstanceOf(ArgumentError);
    expect(await caught(ioas.unmapAsync(-1n, PAGE))).toBeInstanceOf(ArgumentError);
    ioas.close();
    expect(await caught(ioas.mapAsync(memory))).toMatchObject({ name: "ClosedError" });
    expect(await caught(ioas.unmapAsync(0n, PAGE))).toMatchObject({ name: "ClosedError" });
  });
});
