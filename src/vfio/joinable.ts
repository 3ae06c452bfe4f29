/** Address spaces that devices can join. PciDevice joins one through any mapper. */
import type { DmaMapper } from "../dma/mapper.js";
import type { DeviceIo } from "./device-io.js";

/** A device that a mapper has attached to its address space. */
export interface JoinedDevice {
  /** The open device. PciDevice closes its lease, and calls {@link leave} afterwards. */
  readonly io: DeviceIo;
  /** Releases the mapper's state for the device. Must not refer to {@link io}, which then would never be collected. */
  readonly leave: () => void;
}

/**
 * A mapper that attaches devices to its address space. `PciDevice.open(bdf, { dma: new DmaSpace(mapper) })` calls it, so that
 * your own mapper can provide other kinds of devices to drivers.
 */
export interface JoinableMapper extends DmaMapper {
  /**
   * Opens a device and attaches it to the address space with its mappings.
   * @param bdf domain:bus:device.function
   * @param token UUID that a physical function and its virtual functions share (`vfToken` of PciOpenOptions)
   * @throws SysError, UnsupportedError, ArgumentError; with nothing left open
   */
  attach(bdf: string, token: string | undefined): JoinedDevice;
}

/** A mapper of this package, which also attaches devices by descriptors that another process opened. */
export interface GivenJoinableMapper extends JoinableMapper {
  /**
   * Attaches a device by a copy of a descriptor, which stays the caller's.
   * @param fd of the device's own character device or group, as the backend has it
   * @throws as attach()
   */
  attachGiven(bdf: string, token: string | undefined, fd: number): JoinedDevice;
}

/**
 * Whether devices can join the mapper's address space by descriptors.
 * @internal
 */
export function takesGiven(mapper: DmaMapper): mapper is GivenJoinableMapper {
  return "attachGiven" in mapper && typeof mapper.attachGiven === "function";
}

/** Whether devices can join the mapper's address space. */
export function isJoinable(mapper: DmaMapper): mapper is JoinableMapper {
  return "attach" in mapper && typeof mapper.attach === "function";
}

/**
 * An open VFIO group.
 * @internal
 */
export interface GroupDescriptor {
  readonly number: number;
  readonly fd: number;
}

/**
 * The open groups behind a mapper, if there are any.
 * @internal
 */
export function groupsOf(
  mapper: DmaMapper & { readonly groups?: { list?(): readonly GroupDescriptor[] } },
): readonly GroupDescriptor[] {
  return mapper.groups?.list?.() ?? [];
}
