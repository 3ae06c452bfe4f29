/** The backend `type1`: a VFIO container translates, and the function is opened by its group. */
import { VfioContainer } from "../../vfio-legacy/container.js";
import { ContainerMapper } from "../../vfio-legacy/container-mapper.js";
import { type Backend, opening } from "./backend.js";
import { openByGroup } from "./by-group.js";

export const type1 = {
  name: "type1",
  open: (bdf, token) =>
    opening((opened) => {
      const container = opened(VfioContainer.open());
      return openByGroup(bdf, token, opened, container, undefined, (ready) => new ContainerMapper(ready));
    }),
} as const satisfies Backend;
