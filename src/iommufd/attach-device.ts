/** Attaches one more device to an IOAS, by its character device. */
import { UnsupportedError } from "../core/errors.js";
import { ofCopy } from "../sys/syscalls.js";
import { isNoiommu } from "../vfio/cdev.js";
import { VfioDevice } from "../vfio/device.js";
import type { JoinedDevice } from "../vfio/joinable.js";
import type { Ioas } from "./ioas.js";

/** Checks whether a device has an IOMMU. Without one it would take addresses for physical ones. @throws UnsupportedError */
export function assertIommu(bdf: string, expectNone: boolean): void {
  const none = isNoiommu(bdf);
  if (none && !expectNone)
    throw new UnsupportedError(`${bdf} has no IOMMU: open it with the backend noiommu`);
  if (!none && expectNone)
    throw new UnsupportedError(`${bdf} has an IOMMU: open it through iommufd or type1`);
}

/**
 * Opens a device, binds it to the IOAS's iommufd and attaches it.
 * @throws UnsupportedError, SysError; with nothing left open
 */
export function attachToIoas(
  ioas: Ioas,
  bdf: string,
  token: string | undefined,
  expectNoIommu: boolean,
): JoinedDevice {
  assertIommu(bdf, expectNoIommu);
  return attached(ioas, VfioDevice.openCdev(bdf), token);
}

/**
 * {@link attachToIoas} of a device that has an IOMMU, by a copy of the descriptor of its character device.
 * @throws ArgumentError, UnsupportedError, SysError; with nothing left open
 */
export function attachGivenToIoas(
  ioas: Ioas,
  bdf: string,
  token: string | undefined,
  fd: number,
): JoinedDevice {
  assertIommu(bdf, false);
  return attached(
    ioas,
    ofCopy(fd, (copy) => VfioDevice.fromFd(copy)),
    token,
  );
}

function attached(ioas: Ioas, device: VfioDevice, token: string | undefined): JoinedDevice {
  try {
    device.bind(ioas.iommufd, { token });
    device.attach(ioas);
  } catch (error) {
    device.close();
    throw error;
  }
  return { io: device, leave: () => {} };
}
