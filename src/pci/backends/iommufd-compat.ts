/** The backend `iommufd-compat`: an iommufd answers a container's requests, and the function is opened by its group. */
import { Iommufd } from "../../iommufd/iommufd.js";
import { VfioContainer } from "../../vfio-legacy/container.js";
import { ContainerMapper } from "../../vfio-legacy/container-mapper.js";
import { type Backend, opening } from "./backend.js";
import { openByGroup } from "./by-group.js";

const name = "iommufd-compat";

export const iommufdCompat = {
  name,
  open: (bdf, token) =>
    opening((opened) => {
      const iommufd = opened(Iommufd.open());
      const container = opened(VfioContainer.ofIommufd(iommufd));
      const makeMapper = (ready: VfioContainer): ContainerMapper => new ContainerMapper(ready, name);
      const result = openByGroup(bdf, token, opened, container, undefined, makeMapper);
      return { ...result, resources: [...result.resources, iommufd] };
    }),
} as const satisfies Backend;
