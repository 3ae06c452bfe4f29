/** Finds what uses a PCI function on this host: mounts, swap, volumes, network interfaces, and processes through VFIO. */
import { closeSync, constants, openSync, readlinkSync } from "node:fs";
import { basename } from "node:path";
import { kernelLinkName, kernelNames, kernelRealPath, kernelText } from "../sys/kernel-files.js";
import { devicePath } from "./sysfs.js";

/** With NVMe multipath, a path device like nvme0c1n2 has no node in /dev; its disk is nvme0n2. */
function diskName(name: string): string {
  return name.replace(/^(nvme\d+)c\d+(n\d+)/, "$1$2");
}

const list = (path: string): string[] => kernelNames(path) ?? [];
const text = (path: string): string => kernelText(path) ?? "";

/** Devices of a class below a function, directly or (virtio, USB) through other devices. */
function devicesBehind(bdf: string, className: string): string[] {
  const path = devicePath(bdf);
  const home = `${kernelRealPath(path) ?? path}/`;
  return list(`/sys/class/${className}`).filter((name) => {
    // None if it was removed meanwhile.
    return kernelRealPath(`/sys/class/${className}/${name}`)?.startsWith(home) ?? false;
  });
}

/** Block devices (disks and partitions) behind a function, as /dev names. @throws ArgumentError (no such device) */
export function blockDevices(bdf: string): string[] {
  const names = new Set<string>();
  for (const name of devicesBehind(bdf, "block")) {
    const disk = diskName(name);
    names.add(disk);
    for (const entry of list(`/sys/class/block/${disk}`)) if (entry.startsWith(disk)) names.add(entry);
  }
  return [...names].sort();
}

/** Partitions found on a function's disks. */
export function partitions(bdf: string): string[] {
  return blockDevices(bdf).filter((name) => text(`/sys/class/block/${name}/partition`) !== "");
}

/**
 * Reasons why the kernel can't give up a function's disks or network interfaces now; empty if there are none.
 * @throws ArgumentError (no such device)
 */
export function usersOf(bdf: string): string[] {
  return [...blockDevices(bdf).flatMap(blockDeviceUsers), ...networkUsers(bdf)];
}

function blockDeviceUsers(name: string): string[] {
  const users: string[] = [];
  const number = text(`/sys/class/block/${name}/dev`).trim();
  for (const line of text("/proc/self/mountinfo").split("\n")) {
    const [, , device, , target] = line.split(" ");
    if (device === number) users.push(`/dev/${name} is mounted on ${target}`);
  }
  if (text("/proc/swaps").includes(`/dev/${name} `)) users.push(`/dev/${name} is swap space`);
  for (const holder of list(`/sys/class/block/${name}/holders`))
    users.push(`/dev/${name} is part of ${holder}`);
  // A user that these lists lack (another mount namespace, a btrfs member) still holds an exclusive claim.
  if (users.length === 0 && isClaimed(`/dev/${name}`)) users.push(`/dev/${name} is in use`);
  return users;
}

/** open(2) may read a partition table first, which ends by the time limits of the disk's driver. */
function isClaimed(path: string): boolean {
  try {
    closeSync(openSync(path, constants.O_RDONLY | constants.O_EXCL));
    return false;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EBUSY";
  }
}

const IFF_UP = 1;

function networkUsers(bdf: string): string[] {
  const users: string[] = [];
  for (const name of devicesBehind(bdf, "net")) {
    if ((Number(text(`/sys/class/net/${name}/flags`)) & IFF_UP) !== 0)
      users.push(`network interface ${name} is up`);
  }
  return users;
}

/** A process that has a VFIO node open. */
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
  return list("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      const held = new Set<string>();
      for (const fd of list(`/proc/${pid}/fd`)) {
        const link = openFile(pid, fd);
        const node = link.endsWith(DELETED) ? link.slice(0, -DELETED.length) : link;
        const isRemoved = orRemoved && node !== link && node.startsWith("/dev/vfio/devices/");
        if (nodes.has(node) || isRemoved) held.add(node);
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
