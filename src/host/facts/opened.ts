/** What the kernel says of a device only to who has it open: whom a reset of its bus resets, too, and what its IOMMU unit can. */
import { IovaError, UnsupportedError } from "../../core/errors.js";
import { assertIommu } from "../../iommufd/attach-device.js";
import type { HwInfo } from "../../iommufd/hw-info.js";
import { Iommufd } from "../../iommufd/iommufd.js";
import { VfioDevice } from "../../vfio/device.js";
import { hotResetInfo } from "../../vfio/hot-reset.js";

/** What an open device tells. */
export interface OpenedFacts {
  /** Addresses of the functions that a reset of its bus resets, itself included; empty if there is no such reset. */
  readonly sameReset: readonly string[] | undefined;
  /** IOMMU_GET_HW_INFO. */
  readonly unit: HwInfo | undefined;
}

/** Opens a device through iommufd for a moment, which resets it, as each opening does. Undefined if that fails. */
export function readOpened(bdf: string): OpenedFacts | undefined {
  return attempt(() => {
    assertIommu(bdf, false);
    using iommufd = Iommufd.open();
    using device = VfioDevice.openCdev(bdf);
    device.bind(iommufd);
    return {
      sameReset: attempt(() => resetWith(device)),
      unit: attempt(() => iommufd.hwInfo(device)),
    };
  });
}

function resetWith(device: VfioDevice): string[] {
  try {
    return hotResetInfo(device).devices.map(({ bdf }) => bdf);
  } catch (error) {
    if (error instanceof UnsupportedError) return [];
    throw error;
  }
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof IovaError) return undefined;
    throw error;
  }
}
