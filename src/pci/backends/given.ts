/** Opens a function by descriptors that another process opened: inherited, or received over a socket. */
import { checkKeys, checkObject } from "../../core/check.js";
import { ArgumentError, SysError } from "../../core/errors.js";
import { DmaSpace } from "../../dma/space.js";
import { IoasMapper } from "../../iommufd/ioas-mapper.js";
import { Iommufd } from "../../iommufd/iommufd.js";
import { close, duplicate } from "../../sys/syscalls.js";
import { VfioDevice } from "../../vfio/device.js";
import type { GivenJoinableMapper, JoinedDevice } from "../../vfio/joinable.js";
import { deviceOfCdev, groupNumberOf } from "../../vfio/node-of.js";
import { VfioContainer } from "../../vfio-legacy/container.js";
import { ContainerMapper } from "../../vfio-legacy/container-mapper.js";
import { groupOf, VfioGroup } from "../../vfio-legacy/group.js";
import { type Opened, type OpenedBackend, opening } from "./backend.js";
import { openByGroup } from "./by-group.js";

/** For the backend iommufd. */
export interface CdevDescriptors {
  /** The function's VFIO character device, `/dev/vfio/devices/vfioN`. */
  readonly device: number;
  /** An iommufd. Left out, `/dev/iommu` is opened. */
  readonly iommufd?: number | undefined;
  /** If the device is bound to that iommufd already: its object id there. */
  readonly deviceId?: number | undefined;
}

/** For the backend type1. */
export interface GroupDescriptors {
  /** The function's VFIO group, `/dev/vfio/N`. */
  readonly group: number;
  /** A container, which may have the group already. Left out, `/dev/vfio/vfio` is opened. */
  readonly container?: number | undefined;
  /** If the container has an IOMMU already: which. */
  readonly iommu?: "type1v2" | "type1" | undefined;
}

/**
 * Descriptors of a function that another process opened. `PciDevice.open()` takes them over: they close with the device. If it
 * throws, they are the caller's still.
 */
export type DeviceDescriptors = CdevDescriptors | GroupDescriptors;

/** The backend that they are for. */
export function backendOf(descriptors: DeviceDescriptors): "iommufd" | "type1" {
  return "device" in descriptors ? "iommufd" : "type1";
}

/** @throws ArgumentError if members are missing, or there are others */
export function checkDescriptors(descriptors: DeviceDescriptors | undefined): DeviceDescriptors {
  if (descriptors === undefined) throw new ArgumentError("there are no descriptors");
  checkObject("descriptors", descriptors);
  const isCdev = "device" in descriptors;
  checkKeys(
    "descriptors",
    descriptors,
    isCdev ? ["device", "iommufd", "deviceId"] : ["group", "container", "iommu"],
  );
  if (!isCdev && !("group" in descriptors))
    throw new ArgumentError("descriptors must have a `device` (for iommufd) or a `group` (for type1)");
  if (isCdev && descriptors.deviceId !== undefined && descriptors.iommufd === undefined)
    throw new ArgumentError("descriptors with a deviceId need the iommufd to which the device is bound");
  if (!isCdev && descriptors.iommu !== undefined && descriptors.container === undefined)
    throw new ArgumentError("descriptors with an `iommu` need the `container` that has it");
  return descriptors;
}

/**
 * Opens a function, with an address space of its own.
 * @param descriptors that checkDescriptors() accepted
 * @throws ArgumentError: not what they should be, or of another function; as the backends iommufd and type1
 */
export function openGiven(
  bdf: string,
  token: string | undefined,
  descriptors: DeviceDescriptors,
): OpenedBackend & { readonly name: "iommufd" | "type1" } {
  // Copies are opened, so that a failure leaves the caller's own as they are.
  const copies = new Copies();
  const result = opening((opened) =>
    "device" in descriptors
      ? ({ ...openCdev(bdf, token, descriptors, copies, opened), name: "iommufd" } as const)
      : ({ ...openGroup(bdf, token, descriptors, copies, opened), name: "type1" } as const),
  );
  copies.replaceOriginals();
  return result;
}

/**
 * Opens a function in an existing address space. The descriptors close; if this throws, they are the caller's still.
 * @param descriptors that checkDescriptors() accepted
 * @throws ArgumentError: not what they should be, of another function, or with more than the function's own node; as
 *   GivenJoinableMapper.attachGiven()
 */
export function joinGiven(
  bdf: string,
  token: string | undefined,
  descriptors: DeviceDescriptors,
  mapper: GivenJoinableMapper,
): JoinedDevice {
  const isCdev = "device" in descriptors;
  const { own, others } = isCdev
    ? { own: descriptors.device, others: descriptors.iommufd }
    : { own: descriptors.group, others: descriptors.container };
  if (others !== undefined)
    throw new ArgumentError(
      `${bdf} joins a DMA space, which has an IOMMU interface: give only its ${isCdev ? "`device`" : "`group`"}`,
    );
  const joined = joinByNode(bdf, token, own, mapper);
  close(own);
  return joined;
}

/** The same by one descriptor, which stays the caller's. @param fd of the character device, or of the group */
export function joinByNode(
  bdf: string,
  token: string | undefined,
  fd: number,
  mapper: GivenJoinableMapper,
): JoinedDevice {
  const copy = duplicated(fd);
  try {
    if (mapper.name === "iommufd") assertCdevOf(bdf, fd, copy);
    else assertGroupOf(bdf, fd, copy);
    return mapper.attachGiven(bdf, token, copy);
  } finally {
    close(copy);
  }
}

function assertCdevOf(bdf: string, fd: number, copy: number): void {
  const found = deviceOfCdev(copy);
  if (found !== bdf) throw new ArgumentError(`descriptor ${fd} is of ${found}, not of ${bdf}`);
}

function assertGroupOf(bdf: string, fd: number, copy: number): void {
  const found = groupNumberOf(copy);
  const number = groupOf(bdf);
  if (found !== number)
    throw new ArgumentError(`descriptor ${fd} is of IOMMU group ${found}; ${bdf} is in group ${number}`);
}

/** Copies of descriptors, of which each is an object's as soon as that exists. */
class Copies {
  private readonly originals: number[] = [];

  /** Makes an object of a copy. @throws what `make` throws, with the copy closed */
  of<T>(fd: number, make: (copy: number) => T): T {
    const copy = duplicated(fd);
    try {
      const made = make(copy);
      this.originals.push(fd);
      return made;
    } catch (error) {
      close(copy);
      throw error;
    }
  }

  replaceOriginals(): void {
    for (const fd of this.originals) close(fd);
  }
}

function duplicated(fd: number): number {
  try {
    return duplicate(fd);
  } catch (error) {
    if (!(error instanceof SysError) || error.code !== "EBADF") throw error;
    throw new ArgumentError(`descriptor ${fd} is not open in this process`, { cause: error });
  }
}

function openCdev(
  bdf: string,
  token: string | undefined,
  { device: fd, iommufd: iommu, deviceId }: CdevDescriptors,
  copies: Copies,
  opened: Opened,
): OpenedBackend {
  const iommufd = opened(
    iommu === undefined ? Iommufd.open() : copies.of(iommu, (copy) => Iommufd.fromFd(copy)),
  );
  const ioas = opened(iommufd.allocIoas());
  const device = opened(
    copies.of(fd, (copy) => {
      assertCdevOf(bdf, fd, copy);
      return VfioDevice.fromFd(copy, deviceId === undefined ? undefined : { iommufd, deviceId });
    }),
  );
  if (deviceId === undefined) device.bind(iommufd, { token });
  device.attach(ioas);
  const space = opened(new DmaSpace(new IoasMapper(ioas)));
  return { io: device, space, resources: [device, space, ioas, iommufd] };
}

function openGroup(
  bdf: string,
  token: string | undefined,
  { group: fd, container: other, iommu }: GroupDescriptors,
  copies: Copies,
  opened: Opened,
): OpenedBackend {
  const container = opened(
    other === undefined
      ? VfioContainer.open()
      : copies.of(other, (copy) => VfioContainer.fromFd(copy, iommu)),
  );
  const group = opened(
    copies.of(fd, (copy) => {
      assertGroupOf(bdf, fd, copy);
      return VfioGroup.fromFd(copy);
    }),
  );
  if (other === undefined && group.status().containerSet)
    throw new ArgumentError(`the group of descriptor ${fd} is in a container already: give that one, too`);
  const makeMapper = (ready: VfioContainer): ContainerMapper => new ContainerMapper(ready);
  return openByGroup(bdf, token, opened, container, undefined, makeMapper, group);
}
