/** A dma-buf of ordinary memory (/dev/udmabuf, linux/udmabuf.h), for programs and drivers that need dma-bufs. */

import { checkKeys, checkLength, checkOffset } from "../core/check.js";
import { ArgumentError, StateError, SysError, UnsupportedError } from "../core/errors.js";
import { checkLeased } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import { adopt } from "../sys/descriptors.js";
import { ioctl } from "../sys/ioctl.js";
import type { MappedMemory } from "../sys/memory.js";
import { close, closing, O_RDWR, open, PAGE_SIZE } from "../sys/syscalls.js";
import { UDMABUF_CREATE, UDMABUF_FLAGS_CLOEXEC, udmabuf_create } from "./uapi-udmabuf.js";

const UDMABUF_PATH = "/dev/udmabuf";

/** Options of {@link exportUdmabuf}. */
export interface UdmabufOptions {
  /** Offset in the memory, page aligned; 0 by default. */
  readonly offset?: number | undefined;
  /** Length, whole pages; the rest of the memory by default. */
  readonly sizeBytes?: number | undefined;
}

/** A dma-buf that shares the pages of memory. The kernel keeps the pages while a descriptor of it is open. */
export class Udmabuf extends Resource {
  constructor(
    /** The dma-buf's descriptor; owned by this object. */
    readonly fd: number,
    /** Length in bytes. */
    readonly sizeBytes: number,
  ) {
    super({ label: `udmabuf of ${sizeBytes} bytes`, release: closing(fd) });
  }
}

/**
 * Creates a dma-buf of memory that has a memfd (`alloc(..., { shared: true }).memory`, `MappedMemory.memfd`, `ofFile` of a
 * sealed one). Its descriptor is for a GPU, a camera or another process. Devices of a DmaSpace reach the same pages if the
 * memory itself is mapped: iommufd can't map udmabufs, and type1 can't map views of them.
 * @throws ArgumentError, ClosedError, StateError (no memfd), UnsupportedError (no CONFIG_UDMABUF); SysError:
 *   EACCES (/dev/udmabuf belongs to root), EINVAL (beyond the module's limits, or not sealed against shrinking)
 */
export function exportUdmabuf(memory: MappedMemory, options: UdmabufOptions = {}): Udmabuf {
  checkLeased("memory", memory, "a MappedMemory", { sizeBytes: "number" });
  checkKeys("options", options, ["offset", "sizeBytes"]);
  // The getter throws if there is no descriptor, or it is closed.
  void memory.fd;
  const { source } = memory;
  if (source === undefined)
    throw new StateError(`${memory.lease.label} has no memfd: allocate it with shared: true`);
  const offset = checkOffset("offset", options.offset ?? 0, memory.sizeBytes);
  const sizeBytes = checkLength("sizeBytes", options.sizeBytes ?? memory.sizeBytes - offset);
  if (offset % PAGE_SIZE !== 0 || sizeBytes % PAGE_SIZE !== 0) {
    throw new ArgumentError(`a udmabuf consists of whole pages, not of ${sizeBytes} bytes at ${offset}`);
  }
  if (offset + sizeBytes > memory.sizeBytes) {
    throw new ArgumentError(
      `${sizeBytes} bytes at ${offset} exceed ${memory.lease.label}, which has ${memory.sizeBytes} bytes`,
    );
  }
  const device = openDevice();
  try {
    return source.withFile((memfd, start) => {
      const request = udmabuf_create.encode({
        memfd,
        flags: UDMABUF_FLAGS_CLOEXEC,
        offset: BigInt(start + offset),
        size: BigInt(sizeBytes),
      });
      const object = `${sizeBytes} bytes of ${memory.lease.label}`;
      return new Udmabuf(adopt(ioctl(device, UDMABUF_CREATE, request, { object })), sizeBytes);
    });
  } finally {
    close(device);
  }
}

function openDevice(): number {
  try {
    return open(UDMABUF_PATH, O_RDWR);
  } catch (error) {
    if (!(error instanceof SysError) || error.code !== "ENOENT") throw error;
    throw new UnsupportedError(
      `there is no ${UDMABUF_PATH}: load the module udmabuf, or use a kernel with CONFIG_UDMABUF`,
      {
        cause: error,
      },
    );
  }
}
