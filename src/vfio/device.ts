/** A VFIO device with a descriptor, opened through a cdev or a group. */
import { checkInteger, checkKeys, checkRange, checkString, checkU32 } from "../core/check.js";
import { Errno } from "../core/errno.js";
import { ArgumentError, StateError, SysError, UnsupportedError } from "../core/errors.js";
import { checkLeased, Lease } from "../core/lifetime/lease.js";
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
import { deviceOfCdev } from "./node-of.js";
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

/** The part of an Iommufd that bind() uses. */
export interface BindTarget {
  /** The descriptor of `/dev/iommu`. */
  readonly fd: number;
  /** The iommufd's lifetime. A bound device ends with it. */
  readonly lease: Lease;
}

/** The part of an IOAS or HWPT that attach() uses. */
export interface PageTable {
  /** The kernel's object id, unique in its iommufd. */
  readonly id: number;
  /** The iommufd that the page table belongs to. */
  readonly iommufd: BindTarget;
  /** The page table's lifetime. An attachment ends with it. */
  readonly lease: Lease;
}

/** How another process bound a device: see {@link VfioDevice.fromFd}. */
export interface BoundElsewhere {
  /** The iommufd: a descriptor of the same open file, as `Iommufd.fromFd()` takes it. */
  readonly iommufd: BindTarget;
  /** The device's object id there (`out_devid` of VFIO_DEVICE_BIND_IOMMUFD). */
  readonly deviceId: number;
}

/** Most attempts at a reset while another one holds the kernel's lock (EAGAIN). */
const RESET_ATTEMPTS = 1000;

/**
 * A VFIO device, opened by cdev or through a group. After opening a cdev, bind it to an iommufd, then attach it to a page
 * table. A device from a group is ready for use. Calls in the wrong state throw a {@link StateError}.
 */
export class VfioDevice extends Resource implements DeviceIo {
  private readonly regions = new Map<number, RegionInfo>();
  /** Attachments by PASID; undefined for DMA without a PASID. */
  private readonly attachments = new Map<number | undefined, Attachment>();
  /** Region mappings; some may be closed. */
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
   * Opens the VFIO character device of a PCI function or mediated device. Call {@link bind} next: nothing else works before.
   * @param name `0000:00:03.0`, or the UUID of a mediated device
   * @throws ArgumentError (no such device), UnsupportedError (not bound to vfio-pci, or no cdevs), SysError
   */
  static openCdev(name: string): VfioDevice {
    checkString("name", name);
    return new VfioDevice(openCdev(name), `VFIO device ${name}`, "cdev", undefined);
  }

  /**
   * A VFIO character device that another process opened, inherited or received over a socket. The result owns the descriptor;
   * if this throws, the caller keeps it. Call {@link bind} next, unless the other process has bound the device: then say to
   * which iommufd, and under which id.
   * @throws ArgumentError: closed, no VFIO character device, bound otherwise than `bound` says
   */
  static fromFd(fd: number, bound?: BoundElsewhere): VfioDevice {
    const label = `VFIO device ${deviceOfCdev(fd)}`;
    if (bound !== undefined) {
      checkKeys("bound", bound, ["iommufd", "deviceId"]);
      checkU32("deviceId", bound.deviceId);
      checkLeased("iommufd", bound.iommufd, "an Iommufd", { fd: "number" });
      bound.iommufd.lease.assertOpen();
    }
    // Before a device is bound the kernel refuses all other requests.
    const isBound = tryIoctl(fd, VFIO_DEVICE_GET_INFO, vfio_device_info.encode({})) !== -Errno.EINVAL;
    if (isBound !== (bound !== undefined))
      throw new ArgumentError(
        isBound
          ? `${label} (descriptor ${fd}) is bound to an iommufd already: say to which, and under which id`
          : `${label} (descriptor ${fd}) is not bound to an iommufd: leave \`bound\` out, and call bind()`,
      );
    const device = new VfioDevice(fd, label, "cdev", undefined);
    if (bound !== undefined) device.belongTo(bound.iommufd, bound.deviceId);
    return device;
  }

  /** Wraps a descriptor from VFIO_GROUP_GET_DEVICE_FD. The device closes before the group's `membership` ends. */
  static fromGroup(fd: number, name: string, group: object, membership: Lease): VfioDevice {
    const device = new VfioDevice(fd, `VFIO device ${name}`, "group", membership);
    device.retain(group);
    return device;
  }

  /** The device's object id in its iommufd. @throws StateError before bind() */
  get deviceId(): number {
    return this.assertBound().id;
  }

  /** The iommufd that the device is bound to. @throws StateError before bind() */
  get iommufd(): BindTarget {
    return this.assertBound().iommufd;
  }

  /**
   * VFIO_DEVICE_BIND_IOMMUFD: gives the device's DMA ownership to an iommufd, once, until close(). The kernel resets the
   * function here and at close(), and may wait as long as in {@link reset}.
   * @param options token: the physical function's secret, a UUID, if this is one of its virtual functions
   * @throws StateError (bound already, or opened through a group), ArgumentError, SysError: EPERM, EBUSY, ENODEV, EACCES
   *   (wrong token)
   */
  bind(iommufd: BindTarget, options: { readonly token?: string | undefined } = {}): void {
    this.lease.assertOpen();
    checkKeys("options", options, ["token"]);
    if (this.openedThrough === "group")
      throw new StateError(`${this.lease.label} was opened through its group: it needs no bind()`);
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
    this.belongTo(iommufd, vfio_device_bind_iommufd.get(request, "out_devid"));
  }

  private belongTo(iommufd: BindTarget, id: number): void {
    this.boundTo = { iommufd, id };
    // The device's descriptor keeps the kernel's iommufd alive, so it must close first.
    this.lease.dependOn(iommufd.lease);
    this.retain(iommufd);
  }

  /**
   * VFIO_DEVICE_ATTACH_IOMMUFD_PT: `pageTable` now translates the device's DMA. This replaces an earlier attachment
   * atomically.
   * @param options pasid: attaches only DMA with this process address space id. Both this page table and the one for the
   *   device's other DMA must allow PASIDs
   * @returns id of the HWPT in use, which the kernel allocates if `pageTable` is an IOAS
   * @throws StateError, ArgumentError (another iommufd), SysError
   */
  attach(pageTable: PageTable, options: { readonly pasid?: number } = {}): number {
    checkKeys("options", options, ["pasid"]);
    const { iommufd } = this.assertBound();
    pageTable.lease.assertOpen();
    if (pageTable.iommufd !== iommufd) {
      throw new ArgumentError(
        `${pageTable.lease.label} and ${this.lease.label} belong to different iommufds`,
      );
    }
    const { pasid } = options;
    // Older kernels accept only requests without the PASID field.
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
   * VFIO_DEVICE_DETACH_IOMMUFD_PT: blocks the device's DMA, or that of one PASID. Does nothing if nothing is attached.
   * @throws StateError, ClosedError, SysError
   */
  detach(options: { readonly pasid?: number } = {}): void {
    checkKeys("options", options, ["pasid"]);
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
      // If there is no room for the capabilities, the kernel omits them and returns the size it needs.
      if (info.argsz > room) room = info.argsz;
      else return deviceInfoOf(info, atomicCompletion(request, info.cap_offset));
    }
  }

  /** What the device and this kernel support; cached. @throws StateError, ClosedError, SysError */
  capabilities(): DeviceCapabilities {
    this.assertUsable();
    this.known ??= probeDevice(this);
    return this.known;
  }

  /** VFIO_DEVICE_GET_REGION_INFO; cached. @throws ArgumentError, StateError, ClosedError, SysError */
  regionInfo(index: number): RegionInfo {
    this.assertUsable();
    let region = this.regions.get(index);
    if (region === undefined) {
      region = queryRegion(this.fd, index, this.lease.label);
      this.regions.set(index, region);
    }
    return region;
  }

  /** @throws ArgumentError outside the region, SysError: EIO if memory decoding is off */
  readRegion(index: number, offset: number, target: Uint8Array): void {
    const region = this.checkAccess(index, offset, target.length);
    const object = `${this.lease.label} region ${index}`;
    for (let done = 0; done < target.length; ) {
      const count = pread(this.fd, target.subarray(done), region.offset + offset + done, { object });
      if (count === 0) throw new SysError("pread", Errno.ENXIO, { object, hint: "the region ended early" });
      done += count;
    }
  }

  /** @throws ArgumentError outside the region, SysError: EIO if memory decoding is off */
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
   * Maps part of a region. When the device closes, other pages first replace these.
   * @param offset page aligned
   * @throws ArgumentError, UnsupportedError (that part can't be mapped), SysError
   */
  mapRegion(index: number, offset: number, sizeBytes: number): MappedMemory {
    const region = this.checkAccess(index, offset, sizeBytes);
    checkMappable(this.lease.label, region, offset, sizeBytes);
    const what = `${this.lease.label} region ${index}`;
    // iommufd can't map a BAR by its virtual address, but needs a dma-buf, which may close after the mapping.
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
   * Vector start + i signals fds[i]; -1 removes a vector's eventfd. The first call for an index enables the interrupt.
   * @throws SysError, UnsupportedError if so many vectors aren't available
   */
  setIrqEventfds(index: number, start: number, fds: readonly number[]): void {
    const flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
    const available = this.setIrqs(flags, index, start, fds.length, Int32Array.from(fds));
    // The kernel enabled none, and returned the number of available vectors.
    if (available > 0) {
      throw new UnsupportedError(
        `${this.lease.label}: interrupt index ${index} has ${available} available vectors, not ${fds.length}`,
      );
    }
  }

  /** Disables an interrupt. @throws SysError: EINVAL if it is not the enabled one */
  disableIrq(index: number): void {
    this.setIrqs(VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, index, 0, 0);
  }

  /** @throws SysError: ENOTTY if the interrupt doesn't support the action */
  actOnIrq(index: number, action: "mask" | "unmask" | "trigger", start: number, count: number): void {
    this.setIrqs(VFIO_IRQ_SET_DATA_NONE | irqActions[action], index, start, count);
  }

  /**
   * Sets an eventfd whose signal unmasks an INTx in the kernel (VFIO_IRQ_SET_ACTION_UNMASK with an eventfd); -1 removes it.
   * @throws SysError: ENOTTY if the interrupt doesn't support it, EBUSY if one is set already
   */
  setUnmaskEventfd(index: number, fd: number): void {
    this.setIrqs(VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK, index, 0, 1, Int32Array.of(fd));
  }

  /** Acts on vectors start + i for which `which[i]` is true. @throws SysError: ENOTTY as {@link actOnIrq} */
  actOnIrqs(
    index: number,
    action: "mask" | "unmask" | "trigger",
    start: number,
    which: readonly boolean[],
  ): void {
    const flags = VFIO_IRQ_SET_DATA_BOOL | irqActions[action];
    this.setIrqs(flags, index, start, which.length, Uint8Array.from(which, Number));
  }

  /**
   * VFIO_DEVICE_RESET. It can't be cut short: the kernel waits up to 65 seconds, with each kind of reset that the function has,
   * for one that doesn't come back (pci_dev_wait() in drivers/pci/pci.c). Usually it takes 0.1 to 1 second. While BARs are
   * exported as dma-bufs, it first waits for the work of their importers, which the kernel doesn't limit.
   * @throws UnsupportedError if the function has no reset, SysError
   */
  reset(): void {
    this.assertUsable();
    for (let attempt = 1; ; attempt++) {
      const result = tryIoctl(this.fd, VFIO_DEVICE_RESET, null);
      if (result >= 0) return;
      if (result !== -Errno.EAGAIN || attempt === RESET_ATTEMPTS) throw this.resetError(result);
    }
  }

  /** {@link reset} off the JavaScript thread. Don't access the device meanwhile. Errors reject. */
  async resetAsync(): Promise<void> {
    this.assertUsable();
    this.lease.pin("a reset under way");
    try {
      for (let attempt = 1; ; attempt++) {
        const result = await tryIoctlAsync(this.fd, VFIO_DEVICE_RESET, null);
        if (result >= 0) return;
        if (result !== -Errno.EAGAIN || attempt === RESET_ATTEMPTS) throw this.resetError(result);
      }
    } finally {
      this.lease.unpin();
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
   * Checks that requests are possible. Before bind() the kernel rejects every request on a cdev with EINVAL.
   * @throws StateError before bind(), ClosedError
   */
  assertUsable(): void {
    if (this.openedThrough === "cdev") this.assertBound();
    else this.lease.assertOpen();
  }

  /**
   * Checks that no region is mapped, because an access would kill the process.
   * @throws StateError
   * @internal
   */
  assertNothingMapped(doing: string): void {
    const open = this.mappings.find(({ closed }) => !closed);
    if (open !== undefined)
      throw new StateError(
        `${doing}: ${open.label} is mapped, and an access would kill the process: close the mapping first`,
      );
  }
}

/** Operand widths, in bits, of PCI atomic operations that the path from the device completes. */
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

/** Attachment of a device to a page table. If either closes, it detaches first. */
class Attachment {
  readonly lease: Lease;
  private readonly state = { current: true };

  constructor(
    device: VfioDevice,
    /** Referenced here, because a collected page table would detach the device. */
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

  /** Ends an attachment that the kernel has replaced, without detaching. */
  replaced(): void {
    this.state.current = false;
    this.lease.close();
  }
}
