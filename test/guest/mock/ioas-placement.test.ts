/** Which addresses the kernel chooses in an IOAS. */
import { describe, expect, test } from "vitest";
import type { UserRange } from "../../../src/doors/iommufd.js";
import { sysError } from "../../support/errors.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { sharedBuffer } from "../../support/ioas-buffer.js";
import { IoasScene, ioasVariants } from "../../support/ioas-variants.js";
import { addReserved, mock } from "../../support/mock.js";
import { PAGE } from "../../support/mock-domain.js";
import { sysAnswer } from "../../support/raw-iommufd.js";
import { byVariant } from "../../support/variants.js";

const buffer = sharedBuffer();
expectNothingLeft();

const offset = (page: number): bigint => BigInt(page * PAGE);
const reserved = { start: offset(4), length: offset(100) };

/** Where the kernel put ten mappings of one to ten pages; they are gone again. */
function placeTen({ ioas }: IoasScene, address: number): { start: bigint; last: bigint }[] {
  const ten: UserRange[] = Array.from({ length: 10 }, (_, i) => ({ address, sizeBytes: PAGE * (i + 1) }));
  const places = ten.map((range) => {
    const start = ioas.map(range);
    // Placed as its length is aligned.
    expect(start % BigInt(range.sizeBytes & -range.sizeBytes)).toBe(0n);
    return { start, last: start + BigInt(range.sizeBytes) - 1n };
  });
  ten.forEach(({ sizeBytes }, i) => {
    expect(ioas.unmap(places[i]?.start ?? -1n, sizeBytes)).toBe(sizeBytes);
  });
  return places;
}

describe.each(byVariant(ioasVariants))("an address that the kernel chooses [%s]", (_, variant) => {
  const hasDevice = variant.devices > 0;

  test("is aligned, not reserved, and allowed [iommufd_ioas.area_auto_iova]", () => {
    using scene = new IoasScene(variant);
    const { ioas } = scene;
    const page = { address: buffer().address, sizeBytes: PAGE };
    const places = Array.from({ length: 10 }, () => ioas.map(page));
    expect(new Set(places).size).toBe(10);
    for (const at of places) expect(ioas.unmap(at, PAGE)).toBe(PAGE);

    // Without a device nobody looks whether there is any memory.
    expect(placeTen(scene, hasDevice ? buffer().address : 2 ** 31)).toHaveLength(10);

    addReserved(ioas, reserved.start, reserved.length);
    for (const { start, last } of placeTen(scene, buffer().address)) {
      expect(last < reserved.start || start >= reserved.start + reserved.length).toBe(true);
    }

    const reservedToo = { start: offset(1), last: offset(600) };
    expect(() => ioas.allowIovas([reservedToo])).toThrow(sysError("IOMMU_IOAS_ALLOW_IOVAS", "EADDRINUSE"));
    const first = hasDevice ? mock.apertureStart + offset(1) : offset(200);
    const end = hasDevice ? mock.apertureStart + offset(600) : offset(600);
    ioas.allowIovas([{ start: first, last: end - 1n }]);
    for (const { start, last } of placeTen(scene, buffer().address)) {
      expect(start).toBeGreaterThanOrEqual(first);
      expect(last).toBeLessThan(end);
    }
  });

  test("exists for each of 4096 mappings, and again for each that takes the place of another", () => {
    using scene = new IoasScene(variant);
    const { ioas } = scene;
    const page = { address: buffer().address, sizeBytes: PAGE };
    const places = Array.from({ length: 4096 }, () => ioas.map(page));
    expect(new Set(places).size).toBe(4096);
    const { ranges } = ioas.iovaRanges();
    const isRight = (at: bigint): boolean =>
      at % BigInt(PAGE) === 0n && ranges.some(({ start, last }) => at >= start && at < last);
    expect(places.filter((at) => !isRight(at))).toEqual([]);
    // Every second one leaves a hole of a page.
    const [kept, gone] = [0, 1].map((odd) => places.filter((_, i) => i % 2 === odd));
    for (const at of gone ?? []) expect(ioas.unmap(at, PAGE)).toBe(PAGE);
    const others = Array.from({ length: 2048 }, () => ioas.map(page));
    const all = [...(kept ?? []), ...others];
    expect(new Set(all).size).toBe(4096);
    for (const at of all) expect(ioas.unmap(at, PAGE)).toBe(PAGE);
    expect(() => ioas.unmap(all[0] ?? 0n, PAGE)).toThrow(sysError("IOMMU_IOAS_UNMAP", "ENOENT"));
  });

  test("doesn't exist when nearly everything is reserved [iommufd_ioas.reserved_overflow]", () => {
    using scene = new IoasScene(variant);
    const { ioas } = scene;
    // Ends a little before the last address there is: the sum of what is left must not overflow.
    addReserved(ioas, 6n, 0xffff_ffff_ffff_8001n);
    const map = (): bigint => ioas.map({ address: buffer().address, sizeBytes: 5 * PAGE });
    expect(map).toThrow(sysError("IOMMU_IOAS_MAP", "ENOSPC"));
  });

  test("can't be both allowed and reserved [iommufd_ioas.area_allowed]", () => {
    using scene = new IoasScene(variant);
    const { ioas, base } = scene;
    const allowed = { start: base, last: base + offset(600) };
    const reserve = (): void => addReserved(ioas, base + offset(1), offset(1));
    ioas.allowIovas([allowed]);
    expect(sysAnswer(reserve)).toBe("EADDRINUSE");
    ioas.allowIovas([]);
    expect(sysAnswer(reserve)).toBe("ok");
    expect(() => ioas.allowIovas([allowed])).toThrow(sysError("IOMMU_IOAS_ALLOW_IOVAS", "EADDRINUSE"));
  });

  test("fits any length, or any multiple of the IOMMU's pages [iommufd_ioas.ioas_iova_alloc]", () => {
    using scene = new IoasScene(variant);
    const { ioas } = scene;
    const { address } = buffer();
    const wrong: string[] = [];
    for (let sizeBytes = 1; sizeBytes < 2 * PAGE; sizeBytes++) {
      const answer = sysAnswer(() => ioas.unmap(ioas.map({ address, sizeBytes }), sizeBytes));
      const fits = !hasDevice || sizeBytes % mock.pageSizeBytes === 0;
      if (answer !== (fits ? "ok" : "EINVAL")) wrong.push(`${sizeBytes}: ${answer}`);
    }
    expect(wrong).toEqual([]);
  });
});
