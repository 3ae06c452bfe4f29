/** include/uapi/linux/udmabuf.h, under the kernel's own names. */

import { struct, u32, u64 } from "../core/struct.js";
import type { IoctlRequest } from "../sys/ioctl.js";

export const UDMABUF_FLAGS_CLOEXEC = 1;

export const udmabuf_create = struct("udmabuf_create", { memfd: u32, flags: u32, offset: u64, size: u64 });

/** _IOW('u', 0x42, struct udmabuf_create): the number includes direction and size, unlike VFIO's. */
export const UDMABUF_CREATE: IoctlRequest = {
  name: "UDMABUF_CREATE",
  number: 2 ** 30 + ((udmabuf_create.sizeBytes << 16) | ("u".charCodeAt(0) << 8) | 0x42),
};
