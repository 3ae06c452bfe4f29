/** Cache invalidation through a virtual IOMMU. */
import { describe, expect, test } from "vitest";
import { Iommufd } from "../../../src/doors/iommufd.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { type MockDevice, mock, mockViommuInvalidations } from "../../support/mock.js";
import {
  ENTRIES,
  expectFormChecked,
  expectRefused,
  invalidateNothing,
  UNKNOWN_FLAGS,
} from "../../support/mock-invalidation.js";
import { MockNesting } from "../../support/mock-nesting.js";

const NAME = 0x99;
const ALL = 1;
const ENTRY_BYTES = 12;

/** The device's cache holds zero in these entries and what it began with in the others. */
function expectDropped(device: MockDevice, ...dropped: number[]): void {
  for (const entry of ENTRIES)
    device.checkCache(entry, dropped.includes(entry) ? 0 : mock.deviceCacheDefault);
}

describe("invalidation without a virtual IOMMU [no_viommu]", () => {
  test("fails, because there is no such object [iommufd_viommu.vdevice_cache]", () => {
    using iommufd = Iommufd.open();
    expect(invalidateNothing(iommufd.fd, 0, ENTRY_BYTES, 0)).toEqual(["ENOENT", 0]);
  });
});

describe("invalidation through a virtual IOMMU [mock_viommu]", () => {
  expectNothingLeft();

  test("drops a device's cache request by request [iommufd_viommu.vdevice_cache]", () => {
    using nesting = new MockNesting();
    const { iommufd, device, viommu } = nesting;
    using vdevice = viommu.allocVdevice(device, BigInt(NAME));
    expectDropped(device);

    expectFormChecked(viommu, ENTRY_BYTES);
    expect(invalidateNothing(iommufd.fd, viommu.id, ENTRY_BYTES)).toEqual(["EINVAL", 0]);
    const refused: [requests: [number, number, number][], code: string, handled: number][] = [
      [[[UNKNOWN_FLAGS, NAME, 0]], "EOPNOTSUPP", 0],
      [[[0, NAME, ENTRIES.length]], "EINVAL", 0],
      [[[0, 0x9, 0]], "EINVAL", 0],
    ];
    for (const [requests, code, handled] of refused) {
      expectRefused(viommu, mockViommuInvalidations(requests), code, handled);
    }
    expectDropped(device);

    // The first is carried out, whatever stops the second.
    const partly: [requests: [number, number, number][], code: string][] = [
      [
        [
          [0, NAME, 0],
          [UNKNOWN_FLAGS, NAME, 1],
        ],
        "EOPNOTSUPP",
      ],
      [
        [
          [0, NAME, 0],
          [0, NAME, ENTRIES.length],
        ],
        "EINVAL",
      ],
    ];
    for (const [requests, code] of partly) {
      expectRefused(viommu, mockViommuInvalidations(requests), code, 1);
      expectDropped(device, 0);
    }

    viommu.invalidate(mockViommuInvalidations([[0, NAME, 1]]));
    expectDropped(device, 0, 1);
    viommu.invalidate(
      mockViommuInvalidations([
        [0, NAME, 2],
        [0, NAME, 3],
      ]),
    );
    expectDropped(device, ...ENTRIES);
    viommu.invalidate(mockViommuInvalidations([[ALL, NAME, 0]]));
    expectDropped(device, ...ENTRIES);
    vdevice.close();
    // Nobody of that name any more.
    expectRefused(viommu, mockViommuInvalidations([[ALL, NAME, 0]]), "EINVAL", 0);
  });

  test("drops one device's whole cache at once, and nothing of another", () => {
    using nesting = new MockNesting();
    const { device, viommu } = nesting;
    using vdevice = viommu.allocVdevice(device, BigInt(NAME));
    viommu.invalidate(mockViommuInvalidations([[ALL, NAME, 0]]));
    expectDropped(device, ...ENTRIES);
    expect(vdevice.closed).toBe(false);
    viommu.close();
    expect(() => viommu.invalidate(mockViommuInvalidations([[ALL, NAME, 0]]))).toThrow(
      expect.objectContaining({ code: "ERR_IOVA_CLOSED" }),
    );
  });
});
