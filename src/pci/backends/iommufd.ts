/** The backend `iommufd`: an IOAS of `/dev/iommu` translates, and the function is opened by its character device. */
import type { Backend } from "./backend.js";
import { openByCdev } from "./by-cdev.js";

export const iommufd = {
  name: "iommufd",
  open: (bdf, token) => openByCdev(bdf, token, false),
} as const satisfies Backend;
