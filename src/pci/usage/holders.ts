/** Finds the processes that have nodes of devices open, VFIO's above all. */
import { readlinkSync } from "node:fs";
import { basename } from "node:path";
import { kernelLinkName } from "../../sys/kernel-files.js";
import { devicePath } from "../address/device-path.js";
import { list, text } from "./behind.js";

/** A process that has a node open. */
export interface VfioHolder {
  readonly pid: number;
  /** Name of its program, as the process tells it. */
  readonly command: string;
  /** Path of the node, also if it was removed meanwhile. */
  readonly node: string;
}

/**
 * Processes that have a function open through VFIO, as far as this user may see. Unbinding the device from vfio-pci
 * blocks until they close it.
 */
export function vfioHolders(bdf: string): VfioHolder[] {
  return holdersOf(vfioNodes(bdf));
}

/** Paths of a function's VFIO nodes: its own and its group's. */
export function vfioNodes(bdf: string): Set<string> {
  return vfioNodesAt(devicePath(bdf));
}

/** The same of any device. @param device its folder in sysfs */
export function vfioNodesAt(device: string): Set<string> {
  const nodes = new Set(list(`${device}/vfio-dev`).map((name) => `/dev/vfio/devices/${name}`));
  // Without an IOMMU there is no group.
  const group = kernelLinkName(`${device}/iommu_group`);
  if (group !== undefined) {
    nodes.add(`/dev/vfio/${group}`);
    nodes.add(`/dev/vfio/noiommu-${group}`);
  }
  return nodes;
}

/**
 * Processes that have virtual functions open, by the function's address.
 * @param pf their physical function. Where it is in the same IOMMU group, having that open means nothing.
 * @param exceptHere functions whose use by this process doesn't count
 */
export function virtualFunctionHolders(
  pf: string,
  vfs: readonly string[],
  exceptHere: ReadonlySet<string> = new Set(),
): Map<string, VfioHolder[]> {
  const ofPhysical = vfioNodes(pf);
  const owners = new Map<string, string>();
  const counted = new Set<string>();
  for (const vf of vfs) {
    for (const node of vfioNodes(vf)) {
      if (ofPhysical.has(node)) continue;
      owners.set(node, vf);
      if (!exceptHere.has(vf)) counted.add(node);
    }
  }
  const found = new Map<string, VfioHolder[]>();
  for (const holder of holdersOf(new Set(owners.keys()))) {
    const vf = owners.get(holder.node);
    if (vf === undefined || (holder.pid === process.pid && !counted.has(holder.node))) continue;
    found.set(vf, [...(found.get(vf) ?? []), holder]);
  }
  return found;
}

const DELETED = " (deleted)";

/**
 * Processes that have some of these nodes open, each once for each node.
 * @param orRemoved also any device node that exists no more. The kernel removes it before it waits for who has it open.
 */
export function holdersOf(nodes: ReadonlySet<string>, orRemoved = false): VfioHolder[] {
  return holdersWhere(
    (node, isRemoved) => nodes.has(node) || (orRemoved && isRemoved && node.startsWith("/dev/vfio/devices/")),
  );
}

/** Looks for holders of many functions' nodes: all processes are read once, at the first question. */
export function holderSearch(): (nodes: ReadonlySet<string>) => VfioHolder[] {
  let all: readonly VfioHolder[] | undefined;
  return (nodes) => {
    all ??= holdersWhere((node) => node.startsWith("/dev/"));
    return all.filter(({ node }) => nodes.has(node));
  };
}

function holdersWhere(isWanted: (node: string, isRemoved: boolean) => boolean): VfioHolder[] {
  return list("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      const held = new Set<string>();
      for (const fd of list(`/proc/${pid}/fd`)) {
        const link = openFile(pid, fd);
        const isRemoved = link.endsWith(DELETED);
        const node = isRemoved ? link.slice(0, -DELETED.length) : link;
        if (isWanted(node, isRemoved)) held.add(node);
      }
      return [...held].map((node) => ({ pid: Number(pid), command: commandOf(pid), node }));
    });
}

function commandOf(pid: string): string {
  const [program = ""] = text(`/proc/${pid}/cmdline`).split("\0");
  // Node.js names its main thread, so that comm isn't its program.
  return basename(program) || text(`/proc/${pid}/comm`);
}

function openFile(pid: string, fd: string): string {
  try {
    return readlinkSync(`/proc/${pid}/fd/${fd}`);
  } catch {
    return "";
  }
}

/** Holders in words: `process 12 (node, /dev/vfio/7), 34 (qemu, /dev/vfio/7)`. */
export function holdersText(holders: readonly VfioHolder[]): string {
  return `process ${holders.map(({ pid, command, node }) => `${pid} (${command}, ${node})`).join(", ")}`;
}
