/** A VFIO device behind a descriptor, opened through a cdev or a group. */
import { checkInteger, checkRange, checkU32 } from "../core/check.js";
import { Errno } from "../core/errno.js";
import { ArgumentError, StateError, SysError, UnsupportedError } from "../core/errors.js";
import { Lease } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import { ioctl, tryIoctl, tryIoctlAsync } from "../sys/ioctl.js";
import { addressOf, keepAlive } from "../sys/libc.js";
import { MappedMemory, type MemorySource } from "../sys/memory.js";
import { closing, PAGE_SIZE, pread, pwrite } from "../sys/syscalls.js";
import { type DeviceCapabilities, probeDevice } from "./capabilities.js";
import { capabilityChain } from "./capability-chain.js";
import { openCdev } from "./cdev.js";
import { deviceInfoOf, irqActions, irqInfoOf } from "./device-info.js";
import type { DeviceInfo, DeviceIo, IrqInfo, RegionInfo } from "./device-io.js";
import { exportDmaBuf } from "./dma-buf.js";
import { checkMappable, queryRegion } from "./region.js";
import {
  VFIO_DEVICE_ATTACH_IOMMUFD_PT,
  VFIO_DEVICE_ATTACH_PASID,
  VFIO_DEVICE_BIND_FLAG_TOKEN,
  VFIO_DEVICE_BIND_IOMMUFD,
  VFIO_DEVICE_DETACH_IOMMUFD_PT,
  VFIO_DEVICE_DETACH_PASID,
  VFIO_DEVICE_GET_INFO,
  VFIO_DEVICE_GET_IRQ_INFO,
  VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP,
  VFIO_DEVICE_RESET,
  VFIO_DEVICE_SET_IRQS,
  VFIO_IRQ_SET_ACTION_TRIGGER,
  VFIO_IRQ_SET_ACTION_UNMASK,
  VFIO_IRQ_SET_DATA_BOOL,
  VFIO_IRQ_SET_DATA_EVENTFD,
  VFIO_IRQ_SET_DATA_NONE,
  VFIO_PCI_ATOMIC_COMP32,
  VFIO_PCI_ATOMIC_COMP64,
  VFIO_PCI_ATOMIC_COMP128,
  vfio_device_attach_iommufd_pt,
  vfio_device_bind_iommufd,
  vfio_device_detach_iommufd_pt,
  vfio_device_info,
  vfio_device_info_cap_pci_atomic_comp,
  vfio_irq_info,
  vfio_irq_set,
} from "./uapi.js";
import { uuidToBytes } from "./uuid.js";

/** What bind() needs of an Iommufd. */
export interface BindTarget {
  /** The descriptor of `/dev/iommu`. */
  readonly fd: number;
  /** The iommufd's lifetime. A bound device ends with it. */
  readonly lease: Lease;
}

/** What attach() needs of an IOAS or HWPT. */
export interface PageTable {
  /** The kernel's object id, unique in its iommufd. */
  readonly id: number;
  /** The iommufd that the page table belongs to. */
  readonly iommufd: BindTarget;
  /** The page table's lifetime. An attachment ends with it. */
  readonly lease: Lease;
}

/** EAGAIN means that another reset holds the lock; the kernel wants us to ask again. */
const RESET_ATTEMPTS = 1000;

/**
 * A VFIO device, however it was opened. By cdev it is first opened, then bound to an iommufd, then attached to a page
 * table; from a group it comes ready. Calls made in the wrong state throw {@link StateError}.
 */
export class VfioDevice extends Resource implements DeviceIo {
  private readonly regions = new Map<number, RegionInfo>();
  /** By PASID; undefined stands for the device's own DMA. */
  private readonly attachments = new Map<number | undefined, Attachment>();
  /** Region mappings made so far, some of them closed since. */
  private mappings: Lease[] = [];
  private known: DeviceCapabilities | undefined;
  private boundTo: { iommufd: BindTarget; id: number } | undefined;

  private constructor(
    /** The descriptor; owned by this object. */
    readonly fd: number,
    label: string,
    /** How it was opened. */
    readonly openedThrough: "cdev" | "group",
    parent: Lease | undefined,
  ) {
    super(new Lease(label, closing(fd), ...(parent === undefined ? [] : [parent])));
  }

  /**
   * Opens the VFIO character device of a PCI function or mediated device. Nothing but {@link bind} works on it yet.
   * @param name `0000:00:03.0`, or the UUID of a mediated device
   * @throws ArgumentError (no such device), UnsupportedError (not bound to vfio-pci, or no cdevs), SysError
   */
  static openCdev(name: string): VfioDevice {
    return new VfioDevice(openCdev(name), `VFIO device ${name}`, "cdev", undefined);
  }

  /** Wraps a descriptor that VFIO_GROUP_GET_DEVICE_FD returned; closed before `membership` of its group ends. */
  static fromGroup(fd: number, name: string, group: object, membership: Lease): VfioDevice {
    const device = new VfioDevice(fd, `VFIO device ${name}`, "group", membership);
    device.retain(group);
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
   * @param options token: the secret of the physical function, a UUID, where this is one of its virtual functions
   * @throws StateError (bound already, or opened through a group), ArgumentError, SysError: EPERM, EBUSY, ENODEV, EACCES
   *   (wrong token)
   */
  bind(iommufd: BindTarget, options: { readonly token?: string | undefined } = {}): void {
    this.lease.assertOpen();
    if (this.openedThrough === "group")
      throw new StateError(`${this.lease.label} was opened through its group`);
    if (this.boundTo !== undefined) throw new StateError(`${this.lease.label} is bound already`);
    iommufd.lease.assertOpen();
    const token = options.token === undefined ? undefined : uuidToBytes(options.token);
    const values = { iommufd: iommufd.fd };
    const request =
      token === undefined
        ? vfio_device_bind_iommufd.encodeUpTo("token_uuid_ptr", values)
        : vfio_device_bind_iommufd.encode({
            ...values,
            flags: VFIO_DEVICE_BIND_FLAG_TOKEN,
            token_uuid_ptr: BigInt(addressOf(token)),
          });
    const result = tryIoctl(this.fd, VFIO_DEVICE_BIND_IOMMUFD, request);
    if (token !== undefined) keepAlive(token);
    if (result < 0) throw new SysError("VFIO_DEVICE_BIND_IOMMUFD", -result, { object: this.lease.label });
    this.boundTo = { iommufd, id: vfio_device_bind_iommufd.get(request, "out_devid") };
    // The device's descriptor keeps the kernel's iommufd alive: it has to go first.
    this.lease.dependOn(iommufd.lease);
    this.retain(iommufd);
  }

  /**
   * VFIO_DEVICE_ATTACH_IOMMUFD_PT: from now on the device's DMA goes through `pageTable`. Where something is attached
   * already this replaces it atomically.
   * @param options pasid: only DMA that carries this process address space id; the page table must be made for that,
   *   and so must the device's own
   * @returns id of the HWPT in use (made by the kernel where an IOAS was given)
   * @throws StateError, ArgumentError (of another iommufd), SysError
   */
  attach(pageTable: PageTable, options: { readonly pasid?: number } = {}): number {
    const { iommufd } = this.assertBound();
    pageTable.lease.assertOpen();
    if (pageTable.iommufd !== iommufd) {
      throw new ArgumentError(`${pageTable.lease.label} is of another iommufd than ${this.lease.label}`);
    }
    const { pasid } = options;
    // The PASID field came later; a kernel that lacks it must still accept the request.
    const request =
      pasid === undefined
        ? vfio_device_attach_iommufd_pt.encodeUpTo("pasid", { pt_id: pageTable.id })
        : vfio_device_attach_iommufd_pt.encode({
            flags: VFIO_DEVICE_ATTACH_PASID,
            pt_id: pageTable.id,
            pasid: checkU32("pasid", pasid),
          });
    const result = tryIoctl(this.fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, request);
    if (result < 0) {
      const object = `${this.lease.label} to ${pageTable.lease.label}`;
      throw new SysError("VFIO_DEVICE_ATTACH_IOMMUFD_PT", -result, { object });
    }
    const next = new Attachment(this, pageTable, pasid);
    this.attachments.get(pasid)?.replaced();
    this.attachments.set(pasid, next);
    return vfio_device_attach_iommufd_pt.get(request, "pt_id");
  }

  /**
   * VFIO_DEVICE_DETACH_IOMMUFD_PT: the device's DMA, or that of one PASID, is blocked. Fine if nothing is attached.
   * @throws StateError, ClosedError, SysError
   */
  detach(options: { readonly pasid?: number } = {}): void {
    this.assertBound();
    this.attachments.get(options.pasid)?.lease.close();
    this.attachments.delete(options.pasid);
  }

  /** VFIO_DEVICE_GET_INFO. @throws StateError, ClosedError, SysError */
  info(): DeviceInfo {
    this.assertUsable();
    let room = vfio_device_info.sizeBytes;
    for (;;) {
      const request = vfio_device_info.encode({}, room - vfio_device_info.sizeBytes);
      ioctl(this.fd, VFIO_DEVICE_GET_INFO, request, { object: this.lease.label });
      const info = vfio_device_info.decode(request);
      // Too small for the capabilities: the kernel says how much it needs and leaves them out.
      if (info.argsz > room) room = info.argsz;
      else return deviceInfoOf(info, atomicCompletion(request, info.cap_offset));
    }
  }

  /** What the device and this kernel can do; asked once. @throws StateError, ClosedError, SysError */
  capabilities(): DeviceCapabilities {
    this.assertUsable();
    this.known ??= probeDevice(this);
    return this.known;
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
    checkMappable(this.lease.label, region, offset, sizeBytes);
    const what = `${this.lease.label} region ${index}`;
    // iommufd can't map a BAR by its virtual address; it takes a dma-buf, which it needs no longer once it is mapped.
    const source: MemorySource = {
      withFile: (use) => {
        using exported = exportDmaBuf(this, index, [
          { offset, sizeBytes: Math.ceil(sizeBytes / PAGE_SIZE) * PAGE_SIZE },
        ]);
        return use(exported.fd, 0);
      },
    };
    const memory = MappedMemory.ofRegion(this.fd, region.offset + offset, sizeBytes, what, source);
    memory.lease.dependOn(this.lease);
    memory.retain(this);
    this.mappings = [...this.mappings.filter(({ closed }) => !closed), memory.lease];
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
    return irqInfoOf(index, vfio_irq_info.decode(request));
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

  /** Switches an enabled interrupt off; the kernel answers EINVAL if it was not the active one. @throws SysError */
  disableIrq(index: number): void {
    this.setIrqs(VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, index, 0, 0);
  }

  /** @throws SysError: ENOTTY if the interrupt can't do that */
  actOnIrq(index: number, action: "mask" | "unmask" | "trigger", start: number, count: number): void {
    this.setIrqs(VFIO_IRQ_SET_DATA_NONE | irqActions[action], index, start, count);
  }

  /**
   * Signals an eventfd to unmask an INTx from the kernel, without a call from here (VFIO_IRQ_SET_ACTION_UNMASK with an
   * eventfd); -1 ends that.
   * @throws SysError: ENOTTY if the interrupt can't do that, EBUSY if one is set already
   */
  setUnmaskEventfd(index: number, fd: number): void {
    this.setIrqs(VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK, index, 0, 1, Int32Array.of(fd));
  }

  /** Acts on vectors start + i for which `which[i]` is true. @throws SysError: ENOTTY if it can't be done */
  actOnIrqs(
    index: number,
    action: "mask" | "unmask" | "trigger",
    start: number,
    which: readonly boolean[],
  ): void {
    const flags = VFIO_IRQ_SET_DATA_BOOL | irqActions[action];
    this.setIrqs(flags, index, start, which.length, Uint8Array.from(which, Number));
  }

  /** VFIO_DEVICE_RESET: takes up to a second. @throws UnsupportedError where the function has no reset, SysError */
  reset(): void {
    this.assertUsable();
    for (let attempt = 1; ; attempt++) {
      const result = tryIoctl(this.fd, VFIO_DEVICE_RESET, null);
      if (result >= 0) return;
      if (result !== -Errno.EAGAIN || attempt === RESET_ATTEMPTS) throw this.resetError(result);
    }
  }

  /** {@link reset} off the JavaScript thread. The device must not be touched meanwhile. @throws as a rejection */
  async resetAsync(): Promise<void> {
    this.assertUsable();
    this.lease.hold("a reset under way");
    try {
      for (let attempt = 1; ; attempt++) {
        const result = await tryIoctlAsync(this.fd, VFIO_DEVICE_RESET, null);
        if (result >= 0) return;
        if (result !== -Errno.EAGAIN || attempt === RESET_ATTEMPTS) throw this.resetError(result);
      }
    } finally {
      this.lease.drop();
    }
  }

  private resetError(result: number): Error {
    if (result === -Errno.EINVAL) return new UnsupportedError(`${this.lease.label} has no function reset`);
    return new SysError("VFIO_DEVICE_RESET", -result, { object: this.lease.label });
  }

  private setIrqs(
    flags: number,
    index: number,
    start: number,
    count: number,
    data?: Int32Array | Uint8Array,
  ): number {
    this.assertUsable();
    checkU32("interrupt index", index);
    checkU32("start", start);
    checkInteger("count", count, 0, 0xffff);
    const request = vfio_irq_set.encode({ flags, index, start, count }, data?.byteLength ?? 0);
    if (data !== undefined)
      request.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), vfio_irq_set.sizeBytes);
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

  /**
   * Checks that requests can be made. Before its bind the kernel answers every request on a cdev with a bare EINVAL.
   * @throws StateError before bind(), ClosedError once it is closed
   */
  assertUsable(): void {
    if (this.openedThrough === "cdev") this.assertBound();
    else this.lease.assertOpen();
  }

  /**
   * Checks that no region is mapped: touching one would kill the process.
   * @throws StateError
   * @internal
   */
  assertNothingMapped(doing: string): void {
    const open = this.mappings.find(({ closed }) => !closed);
    if (open !== undefined)
      throw new StateError(`${doing}: ${open.label} is mapped, and touching it would fault`);
  }
}

/** PCI atomic operations that the way to the device completes, in bits of operand width. */
function atomicCompletion(info: Uint8Array, first: number): number[] {
  for (const { id, bytes } of capabilityChain(info, first)) {
    if (id !== VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP) continue;
    const { flags } = vfio_device_info_cap_pci_atomic_comp.decode(bytes);
    const widths: readonly [number, number][] = [
      [VFIO_PCI_ATOMIC_COMP32, 32],
      [VFIO_PCI_ATOMIC_COMP64, 64],
      [VFIO_PCI_ATOMIC_COMP128, 128],
    ];
    return widths.filter(([flag]) => (flags & flag) !== 0).map(([, width]) => width);
  }
  return [];
}

/** The tie between a device and its page table: closing either detaches first. */
class Attachment {
  readonly lease: Lease;
  private readonly state = { current: true };

  constructor(
    device: VfioDevice,
    /** Kept from being collected: a collected page table would detach the device. */
    readonly pageTable: PageTable,
    pasid: number | undefined,
  ) {
    const { fd } = device;
    const { state } = this;
    const what = pasid === undefined ? device.lease.label : `PASID ${pasid} of ${device.lease.label}`;
    const label = `attachment of ${what} to ${pageTable.lease.label}`;
    const release = (): void => {
      if (!state.current) return;
      const request =
        pasid === undefined
          ? vfio_device_detach_iommufd_pt.encodeUpTo("pasid", {})
          : vfio_device_detach_iommufd_pt.encode({ flags: VFIO_DEVICE_DETACH_PASID, pasid });
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
