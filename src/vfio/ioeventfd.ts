/** Register writes that the kernel makes when an eventfd is signalled (VFIO_DEVICE_IOEVENTFD). */
import { checkRange, checkU64, show } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";
import { Lease } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import type { EventFd } from "../sys/eventfd.js";
import { ioctl } from "../sys/ioctl.js";
import type { VfioDevice } from "./device.js";
import {
  VFIO_DEVICE_IOEVENTFD,
  VFIO_DEVICE_IOEVENTFD_8,
  VFIO_DEVICE_IOEVENTFD_16,
  VFIO_DEVICE_IOEVENTFD_32,
  VFIO_DEVICE_IOEVENTFD_64,
  vfio_device_ioeventfd,
} from "./uapi.js";

const widths: Readonly<Record<number, number>> = {
  1: VFIO_DEVICE_IOEVENTFD_8,
  2: VFIO_DEVICE_IOEVENTFD_16,
  4: VFIO_DEVICE_IOEVENTFD_32,
  8: VFIO_DEVICE_IOEVENTFD_64,
};

/** The register write for an eventfd. */
export interface IoEvent {
  /** Region index of a BAR. */
  readonly region: number;
  /** Offset in the region, multiple of the width. */
  readonly offset: number;
  /** The value to write. */
  readonly value: bigint;
  /** Width of the write in bytes. */
  readonly widthBytes: 1 | 2 | 4 | 8;
}

/** A register write that the kernel makes at each signal of an eventfd. close() ends it. */
export class IoEventFd extends Resource {
  /** @throws ArgumentError, UnsupportedError, SysError: EEXIST, ENOSPC, EINVAL (no BAR, MSI-X table) */
  constructor(device: VfioDevice, event: IoEvent, eventfd: EventFd) {
    eventfd.lease.assertOpen();
    const width = widths[event.widthBytes];
    if (width === undefined)
      throw new ArgumentError(`widthBytes must be 1, 2, 4 or 8, got ${show(event.widthBytes)}`);
    const { sizeBytes, offset: start } = device.regionInfo(event.region);
    // The kernel reads the region's number from the offset's upper bits, and accepts any alignment.
    checkRange(`${device.lease.label} region ${event.region}`, event.offset, event.widthBytes, sizeBytes);
    if (event.offset % event.widthBytes !== 0)
      throw new ArgumentError(`offset ${event.offset} is not a multiple of the width ${event.widthBytes}`);
    if (checkU64("value", event.value) >> BigInt(8 * event.widthBytes) !== 0n)
      throw new ArgumentError(`0x${event.value.toString(16)} does not fit into ${event.widthBytes} bytes`);
    const values = {
      flags: width,
      offset: BigInt(start + event.offset),
      data: event.value,
    };
    const { fd } = device;
    const label = `ioeventfd of ${device.lease.label} region ${event.region} + ${event.offset}`;
    const set = (target: number): void => {
      ioctl(fd, VFIO_DEVICE_IOEVENTFD, vfio_device_ioeventfd.encode({ ...values, fd: target }), {
        object: label,
      });
    };
    set(eventfd.fd);
    super(new Lease(label, () => set(-1), device.lease));
    this.retain(device);
  }
}
