/**
 * The backend `noiommu`: devices use physical addresses. The function is opened by its character device, since the kernel then
 * pins memory. If that fails, it is opened by its group.
 */
import { VfioContainer } from "../../vfio-legacy/container.js";
import { NoiommuGroupMapper } from "../../vfio-legacy/noiommu-mapper.js";
import { type Backend, messageOf, type OpenedBackend, opening } from "./backend.js";
import { openByCdev } from "./by-cdev.js";
import { openByGroup } from "./by-group.js";

function open(bdf: string, token: string | undefined): OpenedBackend {
  let why: unknown;
  try {
    return { ...openByCdev(bdf, token, true), remark: "by character device" };
  } catch (error) {
    why = error;
  }
  const result = opening((opened) => {
    const container = opened(VfioContainer.open());
    const makeMapper = (ready: VfioContainer): NoiommuGroupMapper => new NoiommuGroupMapper(ready);
    return openByGroup(bdf, token, opened, container, "noiommu", makeMapper);
  });
  return { ...result, remark: `by group, since by character device: ${messageOf(why)}` };
}

export const noiommu = { name: "noiommu", open } as const satisfies Backend;
