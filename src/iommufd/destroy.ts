import { Errno } from "../sys/errno.js";
import { SysError } from "../sys/errors.js";
import { call } from "./call.js";
import { IOMMU_DESTROY, iommu_destroy } from "./uapi.js";

/** IOMMU_DESTROY by id, for the objects' own close(). @throws SysError: EBUSY while another object holds it */
export function destroyObject(fd: number, id: number, label: string): void {
  try {
    call(fd, IOMMU_DESTROY, iommu_destroy.encode({ id }), { object: label });
  } catch (error) {
    if (!(error instanceof SysError) || error.errno !== Errno.EBUSY) throw error;
    // What this library made on it went before, so the holder is somebody else's.
    throw error.with({
      hint: "a device attached, or an object made, outside of this object's own tree holds it",
    });
  }
}
