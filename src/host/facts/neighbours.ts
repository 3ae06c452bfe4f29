/** What is around a PCI function: the ports above it with their access control (ACS), and what a reset of its bus resets, too. */
import { ConfigSnapshot } from "../../pci/config-snapshot.js";
import type { HostRoot } from "./root.js";

/** A function beside another, in its IOMMU group or on its bus. */
export interface Neighbour {
  readonly bdf: string;
  /** Undefined if it has no driver. */
  readonly driver: string | undefined;
  readonly isBridge: boolean;
  /** Its driver lets a program have what is beside it. */
  readonly isHarmless: boolean;
}

/**
 * Access Control Services of a port or function. `on`: requests between the devices below it pass the IOMMU. `off`: they needn't. `none`: it
 * lacks them. `unknown`: its configuration space can't be read, which takes root.
 */
export type AcsState = "on" | "off" | "none" | "unknown";

/** What is around a function. */
export interface Surroundings {
  /** The function itself, then the ports above it, up to the root. */
  readonly acs: readonly { readonly bdf: string; readonly state: AcsState }[];
  /** Functions that a reset of its bus resets besides it; undefined on a root bus, which can't be reset. */
  readonly sameReset: readonly Neighbour[] | undefined;
}

const DEVICES = "/sys/bus/pci/devices";
const BDF = /^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/;
const BRIDGE_CLASS = 0x0604;
/** Extended capabilities begin here. */
const CONVENTIONAL_BYTES = 0x100;
const MAX_CONFIG_BYTES = 0x1000;
/** Drivers besides VFIO's that leave DMA to a program: `driver_managed_dma` in the kernel's drivers. */
const HARMLESS = new Set(["pci-stub", "pcieport"]);

/** Whether a driver is one of VFIO's: it has made a VFIO device, or has the name. */
export function isVfioDriver(root: HostRoot, path: string, driver: string | undefined): boolean {
  if (driver === undefined) return false;
  return /(?:^|[-_])vfio(?:[-_]|$)/.test(driver) || root.names(`${path}/vfio-dev`).length > 0;
}

/** Whether a class code is a bridge's. */
export function isBridgeClass(classCode: number): boolean {
  return classCode >> 8 === BRIDGE_CLASS;
}

export function readNeighbour(root: HostRoot, bdf: string): Neighbour {
  const path = `${DEVICES}/${bdf}`;
  const driver = root.linkName(`${path}/driver`);
  const isBridge = isBridgeClass(root.number(`${path}/class`) ?? 0);
  const isHarmless =
    driver === undefined || isBridge || HARMLESS.has(driver) || isVfioDriver(root, path, driver);
  return { bdf, driver, isBridge, isHarmless };
}

/** The ports above a function and itself, from the root on, by its place in sysfs. */
function chainOf(root: HostRoot, bdf: string): string[] {
  const names = (root.linkTarget(`${DEVICES}/${bdf}`) ?? "").split("/").filter((name) => BDF.test(name));
  return names.at(-1) === bdf ? names : [bdf];
}

/** Access control as a configuration space has it. Never throws. */
export function acsOf(config: Uint8Array): AcsState {
  if (config.length < CONVENTIONAL_BYTES) return "unknown";
  try {
    const space = new ConfigSnapshot(config.subarray(0, MAX_CONFIG_BYTES));
    const control = space.capability("acs")?.control.decode();
    if (control === undefined) return "none";
    // What the kernel asks for before it isolates devices from each other (REQ_ACS_FLAGS in drivers/iommu/iommu.c).
    const { sourceValidation, requestRedirect, completionRedirect, upstreamForwarding } = control;
    return sourceValidation && requestRedirect && completionRedirect && upstreamForwarding ? "on" : "off";
  } catch {
    // The list of capabilities is damaged.
    return "unknown";
  }
}

export function readSurroundings(root: HostRoot, bdf: string): Surroundings {
  const chain = chainOf(root, bdf);
  const port = chain.at(-2);
  const acs = chain.toReversed().map((each) => {
    const config = root.bytes(`${DEVICES}/${each}/config`);
    return { bdf: each, state: config === undefined ? ("unknown" as const) : acsOf(config) };
  });
  if (port === undefined) return { acs, sameReset: undefined };
  const isBelow = (name: string): boolean => chainOf(root, name).slice(0, -1).includes(port);
  const below = root.names(DEVICES).filter((name) => name !== bdf && isBelow(name));
  return { acs, sameReset: below.map((name) => readNeighbour(root, name)) };
}
