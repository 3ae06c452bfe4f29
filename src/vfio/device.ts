import { checkInteger, checkRange, checkU32 } from "../sys/check.js";
import { Errno } from "../sys/errno.js";
import { ArgumentError, StateError, SysError, UnsupportedError } from "../sys/errors.js";
import { ioctl, tryIoctl } from "../sys/ioctl.js";
import { MappedMemory } from "../sys/memory.js";
import { Lease, Resource } from "../sys/resource.js";
import { close, PAGE_SIZE, pread, pwrite } from "../sys/syscalls.js";
import { openCdev } from "./cdev.js";
import type { DeviceInfo, DeviceIo, IrqInfo, RegionInfo } from "./device-io.js";
import { canMap, queryRegion } from "./region.js";
import {
  VFIO_DEVICE_ATTACH_IOMMUFD_PT,
  VFIO_DEVICE_BIND_IOMMUFD,
  VFIO_DEVICE_DETACH_IOMMUFD_PT,
  VFIO_DEVICE_FLAGS_PCI,
  VFIO_DEVICE_FLAGS_RESET,
  VFIO_DEVICE_GET_INFO,
  VFIO_DEVICE_GET_IRQ_INFO,
  VFIO_DEVICE_RESET,
  VFIO_DEVICE_SET_IRQS,
  VFIO_IRQ_INFO_AUTOMASKED,
  VFIO_IRQ_INFO_EVENTFD,
  VFIO_IRQ_INFO_MASKABLE,
  VFIO_IRQ_INFO_NORESIZE,
  VFIO_IRQ_SET_ACTION_MASK,
  VFIO_IRQ_SET_ACTION_TRIGGER,
  VFIO_IRQ_SET_ACTION_UNMASK,
  VFIO_IRQ_SET_DATA_EVENTFD,
  VFIO_IRQ_SET_DATA_NONE,
  vfio_device_attach_iommufd_pt,
  vfio_device_bind_iommufd,
  vfio_device_detach_iommufd_pt,
  vfio_device_info,
  vfio_irq_info,
  vfio_irq_set,
} from "./uapi.js";

/** What bind() needs of an Iommufd. */
export interface BindTarget {
  readonly fd: number;
  readonly lease: Lease;
}

/** What attach() needs of an IOAS or HWPT. */
export interface PageTable {
  readonly id: number;
  readonly iommufd: BindTarget;
  readonly lease: Lease;
}

const bindHints: Readonly<Record<string, string>> = {
  EPERM:
    "the platform can't isolate this device's interrupts, or another owner has its IOMMU group; " +
    "interrupt remapping is needed (or iommufd.allow_unsafe_interrupts=1)",
  EBUSY: "its group is open through /dev/vfio/GROUP, or another owner has it",
  ENODEV: "the device has no IOMMU group: is the IOMMU switched on?",
};

const actions = {
  mask: VFIO_IRQ_SET_ACTION_MASK,
  unmask: VFIO_IRQ_SET_ACTION_UNMASK,
  trigger: VFIO_IRQ_SET_ACTION_TRIGGER,
} as const;

/** EAGAIN means that another reset holds the lock; the kernel wants us to ask again. */
const RESET_ATTEMPTS = 1000;

/**
 * A VFIO device, however it was opened. By cdev it is first opened, then bound to an iommufd, then attached to a page
 * table; from a group it comes ready. Calls made in the wrong state throw {@link StateError}.
 */
export class VfioDevice extends Resource implements DeviceIo {
  private readonly regions = new Map<number, RegionInfo>();
  private attachment: Attachment | undefined;
  private boundTo: { iommufd: BindTarget; id: number } | undefined;

  private constructor(
    /** The descriptor; owned by this object. */
    readonly fd: number,
    label: string,
    /** How it was opened. */
    readonly openedThrough: "cdev" | "group",
    parent: Lease | undefined,
  ) {
    super(new Lease(label, () => close(fd), ...(parent === undefined ? [] : [parent])));
  }

  /**
   * Opens a PCI function's VFIO character device. Nothing but {@link bind} works on it yet.
   * @param bdf `0000:00:03.0`
   * @throws ArgumentError (no such device), UnsupportedError (not bound to vfio-pci, or no cdevs), SysError
   */
  static openCdev(bdf: string): VfioDevice {
    return new VfioDevice(openCdev(bdf), `VFIO device ${bdf}`, "cdev", undefined);
  }

  /** Wraps a descriptor that VFIO_GROUP_GET_DEVICE_FD returned; closed before `membership` of its group ends. */
  static fromGroup(fd: number, name: string, group: object, membership: Lease): VfioDevice {
    const device = new VfioDevice(fd, `VFIO device ${name}`, "group", membership);
    device.keep(group);
    return device;
  }

  /** The device's object id in its iommufd. @throws StateError before bind() */
  get deviceId(): number {
    return this.assertBound().id;
  }

  /** The iommufd it is bound to. @throws StateError before bind() */
  get iommufd(): BindTarget {
    return this.assertBound().iommufd;
  }

  /**
   * VFIO_DEVICE_BIND_IOMMUFD: gives the device's DMA ownership to an iommufd. Once per open; ends at close().
   * @throws StateError (bound already, or opened through a group), SysError: EPERM, EBUSY, ENODEV
   */
  bind(iommufd: BindTarget): void {
    this.lease.assertOpen();
    if (this.openedThrough === "group")
      throw new StateError(`${this.lease.label} was opened through its group`);
    if (this.boundTo !== undefined) throw new StateError(`${this.lease.label} is bound already`);
    iommufd.lease.assertOpen();
    const request = vfio_device_bind_iommufd.encodeUpTo("token_uuid_ptr", { iommufd: iommufd.fd });
    const result = tryIoctl(this.fd, VFIO_DEVICE_BIND_IOMMUFD, request);
    if (result < 0) {
      const error = new SysError("VFIO_DEVICE_BIND_IOMMUFD", -result, { object: this.lease.label });
      throw error.with({ hint: bindHints[error.code] });
    }
    this.boundTo = {
      iommufd,
      id: vfio_device_bind_iommufd.get(request, "out_devid"),
    };
    // The device's descriptor keeps the kernel's iommufd alive: it has to go first.
    this.lease.dependOn(iommufd.lease);
    this.keep(iommufd);
  }

  /**
   * VFIO_DEVICE_ATTACH_IOMMUFD_PT: from now on the device's DMA goes through `pageTable`. On an attached device this
   * replaces the page table atomically.
   * @returns id of the HWPT in use (made by the kernel where an IOAS was given)
   * @throws StateError, ArgumentError (of another iommufd), SysError
   */
  attach(pageTable: PageTable): number {
    const { iommufd } = this.assertBound();
    pageTable.lease.assertOpen();
    if (pageTable.iommufd !== iommufd) {
      throw new ArgumentError(`${pageTable.lease.label} is of another iommufd than ${this.lease.label}`);
    }
    // The PASID field came later; a kernel that lacks it must still accept the request.
    const request = vfio_device_attach_iommufd_pt.encodeUpTo("pasid", { pt_id: pageTable.id });
    ioctl(this.fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, request, {
      object: `${this.lease.label} to ${pageTable.lease.label}`,
      hint: "is memory mapped there that this device can't reach, or that can't be pinned?",
    });
    const next = new Attachment(this, pageTable);
    this.attachment?.replaced();
    this.attachment = next;
    return vfio_device_attach_iommufd_pt.get(request, "pt_id");
  }

  /** VFIO_DEVICE_DETACH_IOMMUFD_PT: the device's DMA is blocked. Fine where nothing is attached. @throws SysError */
  detach(): void {
    this.assertBound();
    this.attachment?.lease.close();
    this.attachment = undefined;
  }

  /** VFIO_DEVICE_GET_INFO. @throws StateError, ClosedError, SysError */
  info(): DeviceInfo {
    this.assertUsable();
    const request = vfio_device_info.encode({});
    ioctl(this.fd, VFIO_DEVICE_GET_INFO, request, { object: this.lease.label });
    const { flags, num_regions, num_irqs } = vfio_device_info.decode(request);
    return {
      flags,
      resettable: (flags & VFIO_DEVICE_FLAGS_RESET) !== 0,
      isPci: (flags & VFIO_DEVICE_FLAGS_PCI) !== 0,
      numRegions: num_regions,
      numIrqs: num_irqs,
    };
  }

  /** VFIO_DEVICE_GET_REGION_INFO; asked of the kernel once. @throws ArgumentError, StateError, ClosedError, SysError */
  regionInfo(index: number): RegionInfo {
    this.assertUsable();
    let region = this.regions.get(index);
    if (region === undefined) {
      region = queryRegion(this.fd, index, this.lease.label);
      this.regions.set(index, region);
    }
    return region;
  }

  /** @throws ArgumentError outside the region, SysError: EIO where memory decoding is off */
  readRegion(index: number, offset: number, target: Uint8Array): void {
    const region = this.checkAccess(index, offset, target.length);
    const object = `${this.lease.label} region ${index}`;
    for (let done = 0; done < target.length; ) {
      const count = pread(this.fd, target.subarray(done), region.offset + offset + done, { object });
      if (count === 0) throw new SysError("pread", Errno.ENXIO, { object, hint: "the region ended early" });
      done += count;
    }
  }

  /** @throws ArgumentError outside the region, SysError: EIO where memory decoding is off */
  writeRegion(index: number, offset: number, source: Uint8Array): void {
    const region = this.checkAccess(index, offset, source.length);
    const object = `${this.lease.label} region ${index}`;
    for (let done = 0; done < source.length; ) {
      const count = pwrite(this.fd, source.subarray(done), region.offset + offset + done, { object });
      if (count === 0) throw new SysError("pwrite", Errno.ENXIO, { object, hint: "the region ended early" });
      done += count;
    }
  }

  /**
   * Maps part of a region. Closing the device replaces the pages first.
   * @param offset page aligned
   * @throws ArgumentError, UnsupportedError (that part can't be mapped), SysError
   */
  mapRegion(index: number, offset: number, sizeBytes: number): MappedMemory {
    const region = this.checkAccess(index, offset, sizeBytes);
    if (offset % PAGE_SIZE !== 0)
      throw new ArgumentError(`offset ${offset} is not a multiple of ${PAGE_SIZE}`);
    if (!canMap(region, offset, sizeBytes)) {
      throw new UnsupportedError(
        `${this.lease.label}: region ${index} can't be mapped at ${offset} + ${sizeBytes}`,
      );
    }
    const what = `${this.lease.label} region ${index}`;
    const memory = MappedMemory.ofFile(this.fd, region.offset + offset, sizeBytes, what);
    memory.lease.dependOn(this.lease);
    memory.keep(this);
    return memory;
  }

  /** VFIO_DEVICE_GET_IRQ_INFO. @throws ArgumentError (no such index), StateError, ClosedError, SysError */
  irqInfo(index: number): IrqInfo {
    this.assertUsable();
    const request = vfio_irq_info.encode({ index: checkU32("interrupt index", index) });
    const result = tryIoctl(this.fd, VFIO_DEVICE_GET_IRQ_INFO, request);
    if (result === -Errno.EINVAL)
      throw new ArgumentError(`${this.lease.label} has no interrupt index ${index}`);
    if (result < 0) throw new SysError("VFIO_DEVICE_GET_IRQ_INFO", -result, { object: this.lease.label });
    const { flags, count } = vfio_irq_info.decode(request);
    return {
      index,
      count,
      eventfd: (flags & VFIO_IRQ_INFO_EVENTFD) !== 0,
      maskable: (flags & VFIO_IRQ_INFO_MASKABLE) !== 0,
      automasked: (flags & VFIO_IRQ_INFO_AUTOMASKED) !== 0,
      noResize: (flags & VFIO_IRQ_INFO_NORESIZE) !== 0,
    };
  }

  /**
   * Vector start + i signals fds[i]; -1 takes a vector's eventfd away. The first call of an index enables it.
   * @throws SysError, UnsupportedError where the device can't have as many vectors at present
   */
  setIrqEventfds(index: number, start: number, fds: readonly number[]): void {
    const flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
    const available = this.setIrqs(flags, index, start, fds.length, Int32Array.from(fds));
    // The kernel enabled nothing: it could have had this many.
    if (available > 0) {
      throw new UnsupportedError(
        `${this.lease.label}: ${fds.length} vectors asked of interrupt index ${index}, ${available} to be had`,
      );
    }
  }

  /** Switches an enabled interrupt off; the kernel answers EINVAL where it was not the active one. @throws SysError */
  disableIrq(index: number): void {
    this.setIrqs(VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, index, 0, 0);
  }

  /** @throws SysError: ENOTTY where the interrupt can't do that */
  actOnIrq(index: number, action: "mask" | "unmask" | "trigger", start: number, count: number): void {
    this.setIrqs(VFIO_IRQ_SET_DATA_NONE | actions[action], index, start, count);
  }

  /** VFIO_DEVICE_RESET. @throws UnsupportedError where the function has no reset, SysError */
  reset(): void {
    this.assertUsable();
    for (let attempt = 1; ; attempt++) {
      const result = tryIoctl(this.fd, VFIO_DEVICE_RESET, null);
      if (result >= 0) return;
      if (result === -Errno.EINVAL) throw new UnsupportedError(`${this.lease.label} has no function reset`);
      if (result !== -Errno.EAGAIN || attempt === RESET_ATTEMPTS) {
        throw new SysError("VFIO_DEVICE_RESET", -result, { object: this.lease.label });
      }
    }
  }

  private setIrqs(flags: number, index: number, start: number, count: number, data?: Int32Array): number {
    this.assertUsable();
    checkU32("interrupt index", index);
    checkU32("start", start);
    checkInteger("count", count, 0, 0xffff);
    const request = vfio_irq_set.encode({ flags, index, start, count }, data?.byteLength ?? 0);
    if (data !== undefined) request.set(new Uint8Array(data.buffer), vfio_irq_set.sizeBytes);
    return ioctl(this.fd, VFIO_DEVICE_SET_IRQS, request, {
      object: `${this.lease.label} interrupt index ${index}`,
    });
  }

  private checkAccess(index: number, offset: number, length: number): RegionInfo {
    const region = this.regionInfo(index);
    checkRange(`${this.lease.label} region ${index}`, offset, length, region.sizeBytes);
    return region;
  }

  private assertBound(): { iommufd: BindTarget; id: number } {
    this.lease.assertOpen();
    if (this.boundTo === undefined) throw new StateError(`${this.lease.label} is not bound to an iommufd`);
    return this.boundTo;
  }

  /** Before its bind the kernel answers everything on a cdev with a bare EINVAL. */
  private assertUsable(): void {
    if (this.openedThrough === "cdev") this.assertBound();
    else this.lease.assertOpen();
  }
}

/** The tie between a device and its page table: closing either detaches first. */
class Attachment {
  readonly lease: Lease;
  private readonly state = { current: true };

  constructor(
    device: VfioDevice,
    /** Kept from being collected: a collected page table would detach the device. */
    readonly pageTable: PageTable,
  ) {
    const { fd } = device;
    const { state } = this;
    const label = `attachment of ${device.lease.label} to ${pageTable.lease.label}`;
    const release = (): void => {
      if (!state.current) return;
      const request = vfio_device_detach_iommufd_pt.encodeUpTo("pasid", {});
      ioctl(fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, request, { object: label });
    };
    this.lease = new Lease(label, release, device.lease, pageTable.lease);
  }

  /** The kernel has put another page table in its place: nothing to detach any more. */
  replaced(): void {
    this.state.current = false;
    this.lease.close();
  }
}
