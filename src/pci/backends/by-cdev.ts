/** Opens a function by its VFIO character device, with an IOAS of a new iommufd. */
import { DmaSpace } from "../../dma/space.js";
import { assertIommu } from "../../iommufd/attach-device.js";
import { IoasMapper } from "../../iommufd/ioas-mapper.js";
import { Iommufd } from "../../iommufd/iommufd.js";
import { NoiommuIoasMapper } from "../../iommufd/noiommu-mapper.js";
import { VfioDevice } from "../../vfio/device.js";
import { type OpenedBackend, opening } from "./backend.js";

/** @param noiommu whether the function must have no IOMMU; otherwise it must have one */
export function openByCdev(bdf: string, token: string | undefined, noiommu: boolean): OpenedBackend {
  return opening((opened) => {
    const iommufd = opened(Iommufd.open());
    // The kernel would also attach a function without an IOMMU to an IOAS.
    assertIommu(bdf, noiommu);
    const ioas = opened(iommufd.allocIoas());
    const device = opened(VfioDevice.openCdev(bdf));
    device.bind(iommufd, { token });
    device.attach(ioas);
    const space = opened(new DmaSpace(noiommu ? new NoiommuIoasMapper(ioas) : new IoasMapper(ioas)));
    return { io: device, space, resources: [device, space, ioas, iommufd] };
  });
}
