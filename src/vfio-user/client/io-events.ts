/** Register writes by eventfd, on the client. */
import { Lease } from "../../core/lifetime/lease.js";
import { Resource } from "../../core/lifetime/resource.js";
import { isEventfd } from "../../sys/eventfd.js";
import type { Signaller } from "../../sys/signaller.js";
import { closing, duplicate } from "../../sys/syscalls.js";
import { closeFds } from "../protocol/channel.js";
import {
  Command,
  IO_FD_TYPE_IOEVENTFD,
  IOEVENTFD_DATAMATCH,
  regionIoFds,
  shadowSubRegion,
  subRegion,
} from "../protocol/protocol.js";
import { ANSWER_ROOM, MOST_ANSWER_ROOM } from "./connection.js";
import { checkUserDevice, type VfioUserDevice } from "./device.js";
import type { Answer } from "./exchange.js";

/** A register write that the server does when an eventfd is signalled, without an answer. */
export interface IoEventPlace {
  /** Region index, such as VFIO_PCI_BAR0_REGION_INDEX. */
  readonly region: number;
  /** Offset in the region in bytes. */
  readonly offset: number;
  /** 0 if any width will do. */
  readonly widthBytes: number;
  /** The value that it stands for; undefined if it stands for any. */
  readonly value: bigint | undefined;
}

/**
 * Such an eventfd, of the server that there was when it was asked for. Several may share a descriptor there; here each has its
 * own. Hand it to KVM, or signal it.
 */
export class VfioUserIoEventFd extends Resource implements IoEventPlace {
  /** Region index, such as VFIO_PCI_BAR0_REGION_INDEX. */
  readonly region: number;
  /** Offset in the region in bytes. */
  readonly offset: number;
  readonly widthBytes: number;
  readonly value: bigint | undefined;
  private readonly signaller: Signaller;

  private constructor(
    device: VfioUserDevice,
    /** The descriptor; owned by this object. */
    readonly fd: number,
    { region, offset, widthBytes, value }: IoEventPlace,
  ) {
    const label = `ioeventfd of ${device.lease.label} region ${region} + ${offset}`;
    super(new Lease(label, closing(fd), device.lease));
    this.retain(device);
    this.region = region;
    this.offset = offset;
    this.widthBytes = widthBytes;
    this.value = value;
    this.signaller = device.signaller;
  }

  /**
   * VFIO_USER_DEVICE_GET_REGION_IO_FDS: the writes to a region that the server takes by eventfd. Other kinds (ioregionfd,
   * shadow memory) are left out.
   * @throws ArgumentError, UnsupportedError, SysError, VfioUserProtocolError, DeviceGoneError, TimeoutError, ClosedError
   */
  static of(device: VfioUserDevice, region: number): VfioUserIoEventFd[] {
    checkUserDevice(device);
    const { sizeBytes } = device.regionInfo(region);
    const { payload, fds } = ask(device, region);
    try {
      const places = decode(device, payload, region, sizeBytes);
      const found = places.map(({ fdIndex, ...place }) => {
        const fd = fds[fdIndex];
        if (fd === undefined || !isEventfd(fd)) throw device.protocolError("an ioeventfd without an eventfd");
        return { fd, place };
      });
      return found.map(({ fd, place }) => new VfioUserIoEventFd(device, duplicate(fd), place));
    } finally {
      closeFds(fds);
    }
  }

  /** Makes the server do the write, maybe after messages that are sent later. @throws ClosedError, SysError */
  signal(): void {
    this.lease.assertOpen();
    this.signaller.signal(this.fd);
  }
}

function ask(device: VfioUserDevice, index: number): Answer {
  for (let room = ANSWER_ROOM; ; ) {
    const answer = device.requestWithFds(Command.deviceGetRegionIoFds, [
      regionIoFds.encode({ argsz: room, index }),
    ]);
    const needed =
      answer.payload.length < regionIoFds.sizeBytes ? 0 : regionIoFds.decode(answer.payload).argsz;
    if (needed <= room) return answer;
    closeFds(answer.fds);
    if (needed > MOST_ANSWER_ROOM || room > ANSWER_ROOM)
      throw device.protocolError(`${needed} bytes about ioeventfds`);
    room = needed;
  }
}

function decode(
  device: VfioUserDevice,
  payload: Uint8Array,
  region: number,
  regionBytes: number,
): (IoEventPlace & { readonly fdIndex: number })[] {
  const { sizeBytes } = regionIoFds;
  if (payload.length < sizeBytes) throw device.protocolError(`${payload.length} bytes about ioeventfds`);
  const { index, count } = regionIoFds.decode(payload);
  if (index !== region) throw device.protocolError(`region ${index} instead of region ${region}`);
  if (count === 0) return [];
  const entryBytes = (payload.length - sizeBytes) / count;
  const layout = [subRegion, shadowSubRegion].find((one) => one.sizeBytes === entryBytes);
  if (layout === undefined) throw device.protocolError(`${count} ioeventfds in ${payload.length} bytes`);
  return Array.from({ length: count }, (_, i) => layout.decode(payload, sizeBytes + i * entryBytes))
    .filter(({ type }) => type === IO_FD_TYPE_IOEVENTFD)
    .map(({ gpa_offset, size, fd_index, flags, datamatch }) => {
      if (size > 8n || gpa_offset + size > BigInt(regionBytes)) {
        throw device.protocolError(`an ioeventfd beyond the end of region ${region}`);
      }
      return {
        region,
        offset: Number(gpa_offset),
        widthBytes: Number(size),
        value: (flags & IOEVENTFD_DATAMATCH) !== 0 ? datamatch : undefined,
        fdIndex: fd_index,
      };
    });
}
