/** Devices of a vIOMMU (IOMMU_VDEVICE_ALLOC). */
import { ArgumentError } from "../core/errors.js";
import { Resource } from "../core/lifetime/resource.js";
import { call } from "./call.js";
import { destroying } from "./destroy.js";
import { type BoundDevice, checkBoundDevice } from "./device-ref.js";
import { IOMMU_VDEVICE_ALLOC, iommu_vdevice_alloc } from "./uapi-viommu.js";
import type { Viommu } from "./viommu.js";

/** A device of a guest's virtual IOMMU. It closes with its vIOMMU, and with its device. */
export class Vdevice extends Resource {
  private constructor(
    /** The virtual IOMMU of the device. */
    readonly viommu: Viommu,
    /** The device, bound to the same iommufd. */
    readonly device: BoundDevice,
    /** The kernel's id, unique in its iommufd. */
    readonly id: number,
    /** The device's id on the guest's IOMMU. */
    readonly virtualId: bigint,
  ) {
    const { fd } = viommu.iommufd;
    const label = `vdevice ${id} of ${viommu.iommufd.lease.label}`;
    super({ label, release: destroying(fd, id, label), parents: [viommu, device] });
  }

  /**
   * See {@link Viommu.allocVdevice}.
   * @internal
   */
  static alloc(viommu: Viommu, device: BoundDevice, virtualId: bigint): Vdevice {
    checkBoundDevice(device);
    if (device.iommufd !== viommu.iommufd) {
      throw new ArgumentError(`${device.lease.label} is not bound to the iommufd of ${viommu.lease.label}`);
    }
    const request = iommu_vdevice_alloc.encode({
      viommu_id: viommu.id,
      dev_id: device.deviceId,
      virt_id: virtualId,
    });
    call(viommu.iommufd.fd, IOMMU_VDEVICE_ALLOC, request, {
      object: `${viommu.lease.label} for ${device.lease.label}`,
    });
    return new Vdevice(viommu, device, iommu_vdevice_alloc.decode(request).out_vdevice_id, virtualId);
  }
}
