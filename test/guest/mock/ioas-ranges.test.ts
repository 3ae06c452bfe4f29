/** The ranges of an IOAS that can be mapped. */
import { describe, expect, test } from "vitest";
import type { Ioas } from "../../../src/doors/iommufd.js";
import { Iommufd } from "../../../src/doors/iommufd.js";
import {
  IOMMU_IOAS_IOVA_RANGES,
  iommu_ioas_iova_ranges,
  iommu_iova_range,
} from "../../../src/iommufd/uapi.js";
import { addressOf } from "../../../src/sys/libc.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { IoasScene, ioasVariants } from "../../support/ioas-variants.js";
import { addReserved, mock } from "../../support/mock.js";
import { PAGE } from "../../support/mock-domain.js";
import { kernelAnswer } from "../../support/raw-iommufd.js";
import { byVariant } from "../../support/variants.js";

const LAST = 0xffff_ffff_ffff_ffffn;
const UNTOUCHED = { start: 0n, last: 0n };

expectNothingLeft();

/** IOMMU_IOAS_IOVA_RANGES into an array that has room for two, of which the kernel is told of `room`. */
function askRanges({ iommufd, id }: Ioas, room: number) {
  const array = new Uint8Array(2 * iommu_iova_range.sizeBytes);
  const request = iommu_ioas_iova_ranges.encode({
    ioas_id: id,
    num_iovas: room,
    allowed_iovas: BigInt(addressOf(array)),
  });
  const answer = kernelAnswer(iommufd.fd, IOMMU_IOAS_IOVA_RANGES, request);
  const ranges = [0, 1].map((i) => iommu_iova_range.decode(array, i * iommu_iova_range.sizeBytes));
  return { answer, count: iommu_ioas_iova_ranges.get(request, "num_iovas"), ranges };
}

describe.each(byVariant(ioasVariants))("the addresses that can be mapped [%s]", (_, variant) => {
  test("are reported range by range, as far as the buffer has room [iommufd_ioas.iova_ranges]", () => {
    using scene = new IoasScene(variant);
    const { ioas } = scene;
    const hasDevice = variant.devices > 0;
    const whole = hasDevice
      ? { start: mock.apertureStart, last: mock.apertureLast }
      : { start: 0n, last: LAST };
    const alignmentBytes = hasDevice ? mock.pageSizeBytes : 1;
    expect(ioas.iovaRanges()).toEqual({ ranges: [whole], alignmentBytes });
    expect(askRanges(ioas, 0)).toEqual({ answer: "EMSGSIZE", count: 1, ranges: [UNTOUCHED, UNTOUCHED] });

    addReserved(ioas, BigInt(PAGE), BigInt(PAGE));
    if (hasDevice) {
      // Outside of what the IOMMU can do anyway.
      expect(ioas.iovaRanges()).toEqual({ ranges: [whole], alignmentBytes });
      expect(askRanges(ioas, 1)).toEqual({ answer: "ok", count: 1, ranges: [whole, UNTOUCHED] });
    } else {
      const [below, above] = [
        { start: 0n, last: BigInt(PAGE) - 1n },
        { start: 2n * BigInt(PAGE), last: LAST },
      ];
      expect(ioas.iovaRanges()).toEqual({ ranges: [below, above], alignmentBytes });
      expect(askRanges(ioas, 1)).toEqual({ answer: "EMSGSIZE", count: 2, ranges: [below, UNTOUCHED] });
    }
  });
});

describe("the addresses that can be mapped", () => {
  test("are read again if there are more ranges than the buffer has room for", () => {
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    const holes = 100;
    const at = (i: number): bigint => BigInt((i + 1) * 2 * PAGE);
    for (let i = 0; i < holes; i++) addReserved(ioas, at(i), BigInt(PAGE));
    const { ranges } = ioas.iovaRanges();
    expect(ranges).toHaveLength(holes + 1);
    expect(ranges[0]).toEqual({ start: 0n, last: at(0) - 1n });
    expect(ranges.at(-1)).toEqual({ start: at(holes - 1) + BigInt(PAGE), last: LAST });
  });
});
