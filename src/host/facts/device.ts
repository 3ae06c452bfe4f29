/** A PCI function: its driver, its IOMMU group with who drives each member, resets, power, and who uses it. */
import { ArgumentError } from "../../core/errors.js";
import { parseBdf } from "../../pci/address/bdf.js";
import { ConfigSnapshot } from "../../pci/config-snapshot.js";
import { type VfioHolder, vfioHolders } from "../../pci/usage/holders.js";
import { usersOf } from "../../pci/usage/users.js";
import {
  isBridgeClass,
  isVfioDriver,
  type Neighbour,
  readNeighbour,
  readSurroundings,
  type Surroundings,
} from "./neighbours.js";
import type { HostRoot } from "./root.js";

/** What sysfs says of a PCI function, as far as opening it depends on that. */
export interface DeviceFacts {
  /** domain:bus:device.function */
  readonly bdf: string;
  readonly vendorId: number;
  readonly deviceId: number;
  readonly classCode: number;
  /** VFIO takes endpoints only, which excludes bridges. */
  readonly isBridge: boolean;
  readonly driver: string | undefined;
  /** Whether the driver is one of VFIO's, vendors' variants included. */
  readonly isVfio: boolean;
  /** `driver_override`; undefined if none is set. */
  readonly driverOverride: string | undefined;
  /** Undefined without an IOMMU. */
  readonly group: string | undefined;
  /** All functions of the group, this one included. */
  readonly members: readonly Neighbour[];
  /** Name of the IOMMU unit in front of it; undefined if the kernel doesn't say. */
  readonly unit: string | undefined;
  readonly surroundings: Surroundings;
  /** Paths of its VFIO character device and its group's node, whether they exist in /dev or not. */
  readonly cdev: string | undefined;
  readonly groupNode: string | undefined;
  /** How the kernel can reset it, in the order of preference: `flr`, `pm`, `bus`, ...; empty if it can't. */
  readonly resetMethods: readonly string[];
  /** Undefined if the platform doesn't say. */
  readonly numaNode: number | undefined;
  /** Undefined if the capabilities can't be read, which takes root. */
  readonly msix: boolean | undefined;
  /** `D0`, `D3cold`, ...; undefined if the kernel doesn't say. */
  readonly powerState: string | undefined;
  /** Of a virtual function: its physical function. */
  readonly physicalFunction: string | undefined;
  readonly virtualFunctions: number;
  /** What the kernel uses it for: mounts, swap, volumes, interfaces. Known of this host only. */
  readonly inUse: readonly string[];
  /** Processes that have it open through VFIO, as far as this process may see. Known of this host only. */
  readonly holders: readonly VfioHolder[];
}

const DEVICES = "/sys/bus/pci/devices";
const HEADER_BYTES = 0x40;
/** Where the list of capabilities ends. */
const LIST_BYTES = 0x100;
const MAX_CONFIG_BYTES = 0x1000;

/** Addresses of the PCI functions that a driver of VFIO has, in order. */
export function listVfioDevices(root: HostRoot): string[] {
  return root.names(DEVICES).filter((bdf) => {
    const path = `${DEVICES}/${bdf}`;
    return isVfioDriver(root, path, root.linkName(`${path}/driver`));
  });
}

/** Whether a configuration space has the MSI-X capability; undefined if its list can't be read. Never throws. */
export function hasMsix(config: Uint8Array): boolean | undefined {
  if (config.length < HEADER_BYTES) return undefined;
  const space = new ConfigSnapshot(config.subarray(0, MAX_CONFIG_BYTES));
  if (space.capabilities().some(({ name }) => name === "msix")) return true;
  const isCutOff = config.length < LIST_BYTES && space.header.status.get("capabilities");
  return isCutOff ? undefined : false;
}

/** @throws ArgumentError: malformed, or no such function */
export function readDevice(root: HostRoot, address: string): DeviceFacts {
  const bdf = parseBdf(address);
  const path = `${DEVICES}/${bdf}`;
  const vendorId = root.number(`${path}/vendor`);
  if (vendorId === undefined) throw new ArgumentError(`there is no PCI device ${bdf}: see npx iova list`);
  const classCode = root.number(`${path}/class`) ?? 0;
  const driver = root.linkName(`${path}/driver`);
  const override = root.text(`${path}/driver_override`);
  const group = root.linkName(`${path}/iommu_group`);
  const [cdev] = root.names(`${path}/vfio-dev`);
  const node = root.number(`${path}/numa_node`) ?? -1;
  const config = root.bytes(`${path}/config`);
  return {
    bdf,
    vendorId,
    deviceId: root.number(`${path}/device`) ?? 0,
    classCode,
    isBridge: isBridgeClass(classCode),
    driver,
    isVfio: isVfioDriver(root, path, driver),
    driverOverride: override === "" || override === "(null)" ? undefined : override,
    group,
    members: membersOf(root, bdf, group),
    unit: root.linkName(`${path}/iommu`),
    surroundings: readSurroundings(root, bdf),
    cdev: cdev === undefined ? undefined : `/dev/vfio/devices/${cdev}`,
    groupNode: groupNode(root, group),
    resetMethods: (root.text(`${path}/reset_method`) ?? "").split(/\s+/).filter(Boolean),
    numaNode: node < 0 ? undefined : node,
    msix: config === undefined ? undefined : hasMsix(config),
    powerState: root.text(`${path}/power_state`),
    physicalFunction: root.linkName(`${path}/physfn`),
    virtualFunctions: root.names(path).filter((name) => /^virtfn\d+$/.test(name)).length,
    inUse: root.isLive ? usersOf(bdf) : [],
    holders: root.isLive ? vfioHolders(bdf) : [],
  };
}

/** In no-IOMMU mode VFIO makes the group itself, and gives its node another name. */
function groupNode(root: HostRoot, group: string | undefined): string | undefined {
  if (group === undefined) return undefined;
  const name = root.text(`/sys/kernel/iommu_groups/${group}/name`);
  return `/dev/vfio/${name === "vfio-noiommu" ? "noiommu-" : ""}${group}`;
}

function membersOf(root: HostRoot, bdf: string, group: string | undefined): Neighbour[] {
  if (group === undefined) return [];
  const names = root.names(`/sys/kernel/iommu_groups/${group}/devices`);
  return (names.length === 0 ? [bdf] : names).map((name) => readNeighbour(root, name));
}
