import { call } from "./call.js";
import { IOMMU_DESTROY, iommu_destroy } from "./uapi.js";

/** IOMMU_DESTROY by id, for the objects' own close(). @throws SysError: EBUSY while another object holds it */
export function destroyObject(fd: number, id: number, label: string): void {
  call(fd, IOMMU_DESTROY, iommu_destroy.encode({ id }), { object: label });
}
