/** Lists and describes PCI functions by sysfs. Reading needs no permission. */
import { join } from "node:path";
import { ArgumentError } from "../core/errors.js";
import { kernelLinkName, kernelNames, kernelText } from "../sys/kernel-files.js";
import { parseBdf } from "./address/bdf.js";
import { DEVICES, devicePath, noSuchDevice } from "./address/device-path.js";

// include/linux/ioport.h, third column of a device's `resource` file
const IORESOURCE_IO = 0x100;
const IORESOURCE_MEM = 0x200;
const IORESOURCE_PREFETCH = 0x2000;
const IORESOURCE_MEM_64 = 0x100000;
const IORESOURCE_UNSET = 0x2000_0000;
const STANDARD_BARS = 6;

/** Links to virtual functions have this name and a number. */
const VIRTUAL_FUNCTION = "virtfn";

/** A base address register that the function implements. */
export interface PciBarInfo {
  /** BAR number, 0 to 5; of a 64-bit BAR, its lower register's. */
  readonly index: number;
  /** Memory, or I/O ports. */
  readonly kind: "memory" | "io";
  /** Length in bytes, a power of 2. */
  readonly sizeBytes: number;
  /** Reading has no side effects, so bridges may merge and prefetch (PCI Local Bus 3.0, 6.2.5.1). */
  readonly prefetchable: boolean;
  /** The address has 64 bits, and the BAR occupies two registers. */
  readonly is64Bit: boolean;
}

/** One PCI function. */
export interface PciFunction {
  /** domain:bus:device.function */
  readonly bdf: string;
  /** PCI vendor id, 16 bits. */
  readonly vendorId: number;
  /** Device id, 16 bits, assigned by the vendor. */
  readonly deviceId: number;
  /** Vendor id of the board, 16 bits. */
  readonly subsystemVendorId: number;
  /** Device id of the board, 16 bits, assigned by its vendor. */
  readonly subsystemDeviceId: number;
  /** Class, subclass and programming interface: 0x010802 is an NVMe controller. */
  readonly classCode: number;
  /** Revision id, 8 bits. */
  readonly revision: number;
  /** Name of the bound driver; undefined if there is none. */
  readonly driver: string | undefined;
  /** Undefined if no IOMMU is active. */
  readonly iommuGroup: number | undefined;
  /** Undefined if the platform doesn't say. */
  readonly numaNode: number | undefined;
  /** The BARs that the function implements. */
  readonly bars: readonly PciBarInfo[];
  /** Of a virtual function of SR-IOV: the address of its physical function. */
  readonly physicalFunction: string | undefined;
  /** How many virtual functions it can have; 0 without SR-IOV. */
  readonly maxVirtualFunctions: number;
  /** Addresses of the virtual functions that it has now, in the order of their numbers. */
  readonly virtualFunctions: readonly string[];
}

/** What `look` returns of a function that was listed; undefined if the function has gone since. */
export function ifThere<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (error instanceof ArgumentError) return undefined;
    throw error;
  }
}

/** All functions of this host, in address order; empty if it has no PCI. @throws UnsupportedError on another system than Linux */
export function listPciFunctions(): PciFunction[] {
  // A function that is removed meanwhile is left out.
  return (kernelNames(DEVICES) ?? []).flatMap((name) => findPciFunction(name) ?? []);
}

/** What sysfs says of a function; undefined if this host has no such function. @throws ArgumentError: malformed */
export function findPciFunction(bdf: string): PciFunction | undefined {
  const address = parseBdf(bdf);
  const path = join(DEVICES, address);
  const read = (file: string): string | undefined => kernelText(join(path, file));
  const group = kernelLinkName(join(path, "iommu_group"));
  const node = Number(read("numa_node") ?? -1);
  const found = {
    bdf: address,
    subsystemVendorId: Number(read("subsystem_vendor") ?? 0),
    subsystemDeviceId: Number(read("subsystem_device") ?? 0),
    classCode: Number(read("class") ?? 0),
    revision: Number(read("revision") ?? 0),
    driver: kernelLinkName(join(path, "driver")),
    iommuGroup: group === undefined ? undefined : Number(group),
    numaNode: node < 0 ? undefined : node,
    bars: parseBars(read("resource") ?? ""),
    physicalFunction: kernelLinkName(join(path, "physfn")),
    maxVirtualFunctions: Number(read("sriov_totalvfs") ?? 0),
    virtualFunctions: virtualFunctionsOf(address),
  };
  // Read last: if they are there, the function was there for the rest.
  const [vendor, device] = [read("vendor"), read("device")];
  if (vendor === undefined || device === undefined) return undefined;
  return { ...found, vendorId: Number(vendor), deviceId: Number(device) };
}

/**
 * Addresses of the virtual functions of a function, by the links to them: the kernel doesn't tell their number
 * (`sriov_numvfs`) while it changes it.
 * @param bdf domain:bus:device.function
 */
export function virtualFunctionsOf(bdf: string): string[] {
  const path = join(DEVICES, bdf);
  if (kernelText(join(path, "sriov_totalvfs")) === undefined) return [];
  return (kernelNames(path) ?? [])
    .flatMap((name) =>
      name.startsWith(VIRTUAL_FUNCTION) ? [Number(name.slice(VIRTUAL_FUNCTION.length))] : [],
    )
    .sort((a, b) => a - b)
    .flatMap((number) => kernelLinkName(join(path, `${VIRTUAL_FUNCTION}${number}`)) ?? []);
}

/** What sysfs says of a function. @throws ArgumentError: malformed, or no such device */
export function readPciFunction(bdf: string): PciFunction {
  const found = findPciFunction(bdf);
  if (found === undefined) throw noSuchDevice(bdf);
  return found;
}

/** Name of the driver a function is bound to. @throws ArgumentError */
export function driverOf(bdf: string): string | undefined {
  return kernelLinkName(join(devicePath(bdf), "driver"));
}

/** Lines of `start end flags` in hex: six BARs, the ROM, BARs of virtual functions, windows of a bridge. */
export function parseBars(resource: string): PciBarInfo[] {
  return parseResources(resource)
    .slice(0, STANDARD_BARS)
    .flatMap((found) => found?.bar ?? []);
}

/** What a line of the `resource` file says. */
export interface PciResource {
  /** `index` is the number of its line. */
  readonly bar: PciBarInfo;
  /** Undefined if it has no address from firmware or kernel. */
  readonly start: bigint | undefined;
}

/** One entry for each line; undefined where the line is empty. */
export function parseResources(resource: string): (PciResource | undefined)[] {
  return resource.split("\n").map((line, index) => {
    const [start = 0n, end = 0n, flagBits = 0n] = line.trim().split(/\s+/).filter(Boolean).map(BigInt);
    const flags = Number(flagBits & 0xffff_ffffn);
    if ((flags & (IORESOURCE_IO | IORESOURCE_MEM)) === 0) return undefined;
    const bar: PciBarInfo = {
      index,
      kind: (flags & IORESOURCE_IO) !== 0 ? "io" : "memory",
      sizeBytes: Number(end - start + 1n),
      prefetchable: (flags & IORESOURCE_PREFETCH) !== 0,
      is64Bit: (flags & IORESOURCE_MEM_64) !== 0,
    };
    return { bar, start: start === 0n || (flags & IORESOURCE_UNSET) !== 0 ? undefined : start };
  });
}
