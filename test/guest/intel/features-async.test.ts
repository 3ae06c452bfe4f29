/** Calls that take long in the kernel have a form that leaves the JavaScript thread free. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  ArgumentError,
  BusyError,
  bindToVfio,
  Iommufd,
  MappedMemory,
  UnsupportedError,
  type VfioBinding,
  VfioDevice,
} from "../../../src/index.js";
import { caught } from "../../support/caught.js";
import { sysError } from "../../support/errors.js";
import { eduBdf, nvmeBdf } from "../../support/functions.js";
import { expectNothingLeft, holdings } from "../../support/holdings.js";
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

/** Turns of the event loop until the promise settles. */
async function turnsDuring(promise: Promise<unknown>): Promise<number> {
  let turns = 0;
  let settled = false;
  const done = promise.finally(() => {
    settled = true;
  });
  const turn = (): void => {
    if (settled) return;
    turns++;
    setImmediate(turn);
  };
  turn();
  await done;
  return turns;
}

expectNothingLeft();

describe.each(["iommufd", "vfio_type1v2_iommu"] as const)("resetAsync() by %s", (mode) => {
  it("lets the event loop turn, and keeps the device from being closed meanwhile", async () => {
    using space = openMode(mode);
    const { device } = space.open(nvmeBdf());
    const reset = device.resetAsync();
    expect(() => device.close()).toThrow(BusyError);
    expect(() => device.close()).toThrow("a reset under way");
    // The first turn comes in any case.
    expect(await turnsDuring(reset)).toBeGreaterThan(2);
    expect(device.info().resettable).toBe(true);
  });

  it("refuses as reset() does, by a rejection", async () => {
    using space = openMode(mode);
    const { device } = space.open(eduBdf());
    expect(await caught(device.resetAsync())).toBeInstanceOf(UnsupportedError);
    device.close();
    expect(await caught(device.resetAsync())).toMatchObject({ name: "ClosedError" });
  });
});

describe("mapAsync() and unmapAsync()", () => {
  it("let the event loop turn while hundreds of megabytes are pinned and let go", async () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using device = VfioDevice.openCdev(nvmeBdf());
    device.bind(iommufd);
    device.attach(ioas);
    const sizeBytes = 128 * MIB;
    using memory = MappedMemory.anonymous(sizeBytes);
    const before = holdings().pinnedKib;
    const mapping = ioas.mapAsync(memory, { iova: 0x1_0000_0000n });
    expect(() => ioas.close()).toThrow("a mapping under way");
    expect(() => iommufd.close()).toThrow(BusyError);
    expect(await turnsDuring(mapping)).toBeGreaterThan(2);
    expect(await mapping).toBe(0x1_0000_0000n);
    expect(holdings().pinnedKib - before).toBe(sizeBytes / 1024);

    const unmapping = ioas.unmapAsync(0x1_0000_0000n, sizeBytes);
    expect(() => ioas.close()).toThrow("an unmapping under way");
    expect(await turnsDuring(unmapping)).toBeGreaterThan(2);
    expect(await unmapping).toBe(sizeBytes);
    expect(holdings().pinnedKib).toBe(before);
  });

  it("let the kernel choose, and refuse as map() and unmap() do", async () => {
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
