/** Opens a function by its VFIO group, in a container. */
import { DmaSpace } from "../../dma/space.js";
import type { IommuType, VfioContainer } from "../../vfio-legacy/container.js";
import type { ContainerMapper } from "../../vfio-legacy/container-mapper.js";
import { VfioGroup } from "../../vfio-legacy/group.js";
import type { NoiommuGroupMapper } from "../../vfio-legacy/noiommu-mapper.js";
import { VFIO_TYPE1v2_IOMMU } from "../../vfio-legacy/uapi.js";
import type { Opened, OpenedBackend } from "./backend.js";

/**
 * @param iommu the container's type, unless it has one; `undefined` for the newest type1 that it offers
 * @param group the function's; opened here if left out
 */
export function openByGroup(
  bdf: string,
  token: string | undefined,
  opened: Opened,
  container: VfioContainer,
  iommu: IommuType | undefined,
  makeMapper: (ready: VfioContainer) => ContainerMapper | NoiommuGroupMapper,
  group: VfioGroup = opened(VfioGroup.openFor(bdf)),
): OpenedBackend {
  group.setContainer(container);
  if (container.iommuType === undefined) {
    const type1 = container.checkExtension(VFIO_TYPE1v2_IOMMU) ? "type1v2" : "type1";
    container.setIommu(iommu ?? type1);
  }
  const device = opened(group.openDevice(bdf, { token }));
  const mapper = makeMapper(container);
  mapper.groups.add(group);
  const space = opened(new DmaSpace(mapper));
  return { io: device, space, resources: [device, space, group, container] };
}
