/** VFIO groups. */
import { existsSync } from "node:fs";
import { checkInteger, checkKeys, checkString } from "../core/check.js";
import { Errno } from "../core/errno.js";
import { ArgumentError, StateError, SysError, UnsupportedError } from "../core/errors.js";
import { NODE_PERMISSION } from "../core/hints.js";
import { closeAll } from "../core/lifetime/close-all.js";
import { Lease } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import { adopt } from "../sys/descriptors.js";
import { ioctl, tryIoctl } from "../sys/ioctl.js";
import { kernelLinkName, kernelNames } from "../sys/kernel-files.js";
import { closing, O_RDWR, open } from "../sys/syscalls.js";
import { sysfsPath } from "../vfio/cdev.js";
import { VfioDevice } from "../vfio/device.js";
import { groupNumberOf } from "../vfio/node-of.js";
import { uuidToBytes } from "../vfio/uuid.js";
import type { Occupancy, VfioContainer } from "./container.js";
import {
  VFIO_GROUP_FLAGS_CONTAINER_SET,
  VFIO_GROUP_FLAGS_VIABLE,
  VFIO_GROUP_GET_DEVICE_FD,
  VFIO_GROUP_GET_STATUS,
  VFIO_GROUP_SET_CONTAINER,
  VFIO_GROUP_UNSET_CONTAINER,
  vfio_group_status,
} from "./uapi.js";

/** VFIO_GROUP_GET_STATUS. */
export interface GroupStatus {
  /** Every device of the group is bound to a VFIO driver or to none. */
  readonly viable: boolean;
  /** The group is in a container. */
  readonly containerSet: boolean;
}

const openHints: Readonly<Record<string, string>> = {
  ENOENT: "none of its devices is bound to vfio-pci, or this kernel has no CONFIG_VFIO_GROUP",
  EACCES: NODE_PERMISSION,
  EBUSY: "it is open already, or one of its devices is bound to an iommufd",
  EPERM: "no-IOMMU mode needs CAP_SYS_RAWIO",
};

/**
 * Number of the IOMMU group of a PCI function or mediated device.
 * @throws ArgumentError (no such device), UnsupportedError (no IOMMU)
 */
export function groupOf(name: string): number {
  checkString("name", name);
  const device = sysfsPath(name);
  if (!existsSync(device)) throw new ArgumentError(`there is no device ${name}`);
  const group = kernelLinkName(`${device}/iommu_group`);
  if (group === undefined)
    throw new UnsupportedError(`${name} has no IOMMU group: the IOMMU is switched off or absent`);
  return Number(group);
}

/** An open /dev/vfio/GROUP: the devices that the IOMMU can't tell apart. */
export class VfioGroup extends Resource {
  /** The descriptor; owned by this object. */
  readonly fd: number;
  private membership: Lease | undefined;
  private occupancy: Occupancy | undefined;

  private constructor(
    fd: number,
    path: string,
    /** The group's number in /sys/kernel/iommu_groups. */
    readonly number: number,
    /** Whether another process opened it. */
    private readonly isForeign = false,
  ) {
    super({ label: path, release: closing(fd) });
    this.fd = fd;
  }

  /**
   * open(2) waits for resets of the group's devices that are under way: see {@link VfioDevice.reset}.
   * @throws SysError: ENOENT (none of its devices is bound to vfio-pci), EACCES, EBUSY
   */
  static open(number: number): VfioGroup {
    checkInteger("number", number, 0, 2 ** 31 - 1);
    const path = groupPath(number);
    try {
      return new VfioGroup(open(path, O_RDWR), path, number);
    } catch (error) {
      throw error instanceof SysError ? error.with({ hint: openHints[error.code] }) : error;
    }
  }

  /**
   * A group that another process opened, inherited or received over a socket. The result owns the descriptor; if this throws,
   * the caller keeps it. Where that process has put the group into a container, {@link setContainer} takes note of it.
   * @throws ArgumentError: closed, or no VFIO group
   */
  static fromFd(fd: number): VfioGroup {
    const number = groupNumberOf(fd);
    return new VfioGroup(fd, groupPath(number), number, true);
  }

  /** The group of a PCI function. @throws as open(), ArgumentError, UnsupportedError */
  static openFor(bdf: string): VfioGroup {
    return VfioGroup.open(groupOf(bdf));
  }

  /** VFIO_GROUP_GET_STATUS. @throws ClosedError, SysError */
  status(): GroupStatus {
    this.lease.assertOpen();
    const request = vfio_group_status.encode({});
    ioctl(this.fd, VFIO_GROUP_GET_STATUS, request, { object: this.lease.label });
    const { flags } = vfio_group_status.decode(request);
    return {
      viable: (flags & VFIO_GROUP_FLAGS_VIABLE) !== 0,
      containerSet: (flags & VFIO_GROUP_FLAGS_CONTAINER_SET) !== 0,
    };
  }

  /**
   * VFIO_GROUP_SET_CONTAINER. Closing the container first closes the group's devices, then takes the group out. A group that the
   * process which opened it has put into a container stays there: `container` must be that one.
   * @throws UnsupportedError if the group is not viable, naming the devices that prevent it; SysError
   */
  setContainer(container: VfioContainer): void {
    container.lease.assertOpen();
    const { viable, containerSet } = this.status();
    if (!viable) throw new UnsupportedError(notViable(this.number));
    const isThere = containerSet && this.isForeign && this.membership === undefined;
    const argument = Int32Array.of(container.fd);
    if (!isThere) ioctl(this.fd, VFIO_GROUP_SET_CONTAINER, argument, { object: this.lease.label });
    const { fd } = this;
    const { label } = this.lease;
    const { occupancy } = container;
    occupancy.groups++;
    const unset = (): void => {
      const result = tryIoctl(fd, VFIO_GROUP_UNSET_CONTAINER, null);
      // EINVAL: it is in no container. The kernel takes a group out when the host unbinds its last device.
      if (result < 0 && result !== -Errno.EINVAL) {
        throw new SysError(VFIO_GROUP_UNSET_CONTAINER.name, -result, { object: label });
      }
    };
    const leave = (): void => {
      occupancy.groups--;
      if (occupancy.groups > 0) {
        unset();
        return;
      }
      // With the last group the kernel drops the IOMMU, so its mappings must be closed before.
      const { iommu } = occupancy;
      const forget = (): void => {
        occupancy.iommu = undefined;
      };
      closeAll(
        [...(iommu === undefined ? [] : [iommu]), { close: forget }, { close: unset }],
        `leaving a container with ${label}`,
      );
    };
    this.membership = new Lease(`membership of ${label}`, leave, this.lease, container.lease);
    this.occupancy = occupancy;
    this.retain(container);
  }

  /** Closes the devices opened through this group, then VFIO_GROUP_UNSET_CONTAINER. @throws StateError, SysError */
  unsetContainer(): void {
    const membership = this.assertMember();
    this.assertIdle();
    membership.close();
    this.membership = undefined;
  }

  /**
   * Closes the devices opened through this group. If it is its container's last group, it also closes all mappings there.
   * @throws BusyError, with nothing closed, while a buffer is in flight
   */
  override close(): void {
    this.assertIdle();
    super.close();
  }

  override async closeAsync(): Promise<void> {
    this.assertIdle();
    await super.closeAsync();
  }

  /**
   * VFIO_GROUP_GET_DEVICE_FD. The kernel resets the function here and at its close, and may wait as long as in
   * {@link VfioDevice.reset}.
   * @param name `0000:00:03.0`, or the UUID of a mediated device
   * @param options token: for a virtual function, the secret of its physical function, a UUID
   * @throws StateError without a container, SysError: ENODEV if the device is not of this group or the container has no
   *   IOMMU yet
   */
  openDevice(name: string, options: { readonly token?: string | undefined } = {}): VfioDevice {
    checkKeys("options", options, ["token"]);
    const membership = this.assertMember();
    if (options.token !== undefined) uuidToBytes(options.token);
    const suffix = options.token === undefined ? "" : ` vf_token=${options.token}`;
    const argument = Buffer.from(`${name}${suffix}\0`, "latin1");
    const fd = ioctl(this.fd, VFIO_GROUP_GET_DEVICE_FD, argument, {
      object: `${this.lease.label}: ${name}`,
    });
    return VfioDevice.fromGroup(adopt(fd), name, this, membership);
  }

  private assertIdle(): void {
    if (this.membership?.closed === false && this.occupancy?.groups === 1) this.occupancy.iommu?.assertIdle();
  }

  private assertMember(): Lease {
    this.lease.assertOpen();
    if (this.membership === undefined || this.membership.closed) {
      throw new StateError(`${this.lease.label} is in no container: call setContainer() first`);
    }
    return this.membership;
  }
}

/** The kernel gives the group of a device without an IOMMU another name, as a warning. */
function groupPath(number: number): string {
  const noiommu = `/dev/vfio/noiommu-${number}`;
  return existsSync(noiommu) ? noiommu : `/dev/vfio/${number}`;
}

/** The message that names the devices that prevent the use of a group. */
function notViable(number: number): string {
  const culprits: string[] = [];
  for (const bdf of kernelNames(`/sys/kernel/iommu_groups/${number}/devices`) ?? []) {
    const driver = kernelLinkName(`/sys/bus/pci/devices/${bdf}/driver`);
    if (driver !== undefined && !driver.startsWith("vfio")) culprits.push(`${bdf} (driver ${driver})`);
  }
  return (
    `IOMMU group ${number} is not viable: all its devices must be bound to vfio-pci or to no driver; ` +
    `in the way: ${culprits.join(", ")}`
  );
}
