/** A dma-buf of ordinary memory (/dev/udmabuf, linux/udmabuf.h), for programs and drivers that take nothing but dma-bufs. */

import { checkLength, checkOffset } from "../core/check.js";
import { ArgumentError, StateError, SysError, UnsupportedError } from "../core/errors.js";
import { Resource } from "../core/lifetime/resource.js";
import { adopt } from "../sys/descriptors.js";
import { ioctl } from "../sys/ioctl.js";
import type { MappedMemory } from "../sys/memory.js";
import { close, closing, O_RDWR, open, PAGE_SIZE } from "../sys/syscalls.js";
import { UDMABUF_CREATE, UDMABUF_FLAGS_CLOEXEC, udmabuf_create } from "./uapi-udmabuf.js";

const UDMABUF_PATH = "/dev/udmabuf";

/** Options of {@link exportUdmabuf}. */
export interface UdmabufOptions {
  /** Where in the memory to start; page aligned. */
  readonly offset?: number | undefined;
  /** Whole pages; all the rest by default. */
  readonly sizeBytes?: number | undefined;
}

/** The same pages as the memory it was made of, which it may outlive: the kernel keeps them for as long as anybody has it. */
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
 * Makes a dma-buf of memory that has a memfd (`alloc(..., { shared: true }).memory`, `MappedMemory.memfd`, `ofFile` of a sealed
 * one): a GPU, a camera or
 * another process gets it by descriptor, while devices of a DmaSpace reach the same pages by mapping the memory itself.
 * iommufd maps no udmabufs, and type1 no view of one.
 * @throws ArgumentError, ClosedError, StateError (no memfd behind it); UnsupportedError without CONFIG_UDMABUF; SysError:
 *   EACCES (/dev/udmabuf is root's), EINVAL (beyond the module's limits, or not sealed against shrinking)
 */
export function exportUdmabuf(memory: MappedMemory, options: UdmabufOptions = {}): Udmabuf {
  // Throws if there is no descriptor, or it is closed.
  void memory.fd;
  const { source } = memory;
  if (source === undefined)
    throw new StateError(`${memory.lease.label} has a file behind it that is no memfd`);
  const offset = checkOffset("offset", options.offset ?? 0, memory.sizeBytes);
  const sizeBytes = checkLength("sizeBytes", options.sizeBytes ?? memory.sizeBytes - offset);
  if (offset % PAGE_SIZE !== 0 || sizeBytes % PAGE_SIZE !== 0) {
    throw new ArgumentError(`a udmabuf is made of whole pages, not ${sizeBytes} bytes at ${offset}`);
  }
  if (offset + sizeBytes > memory.sizeBytes) {
    throw new ArgumentError(
      `${memory.lease.label} has ${memory.sizeBytes} bytes; ${sizeBytes} at ${offset} lie outside it`,
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
      `there is no ${UDMABUF_PATH}: CONFIG_UDMABUF is off or its module isn't loaded`,
      {
        cause: error,
      },
    );
  }
}
