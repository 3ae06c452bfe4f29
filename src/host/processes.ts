/** The processes that use devices from user space now: what they have open, mapped and pinned, and what went wrong. */
import { parseVfioInterrupts } from "../activity/interrupts.js";
import { type Activity, openFiles, readActivity } from "../activity/read.js";
import { kernelText } from "../sys/kernel-files.js";
import { HostRoot } from "./facts/root.js";

/** A device that a process has open. */
export interface DeviceInUse {
  /** A PCI address, `vfio-user:PATH`, a mediated device's UUID; the node where the device isn't known. */
  readonly address: string;
  /** Name of the backend; `server` for a device that the process plays; undefined if another program has it open. */
  readonly backend: string | undefined;
  /** Interrupts that the kernel has taken since the vectors were enabled; undefined if none are, or it isn't the kernel's. */
  readonly interrupts: number | undefined;
}

/** A process with devices. */
export interface DeviceProcess {
  /** Process id. */
  readonly pid: number;
  /** User id that it runs as. */
  readonly uid: number;
  /** Its program and arguments, as the process tells them. */
  readonly command: readonly string[];
  /** What it has open. */
  readonly devices: readonly DeviceInUse[];
  /** Memory pinned through iommufd, in bytes (VmPin). */
  readonly pinnedBytes: number;
  /** Memory locked, or pinned through type1, in bytes (VmLck). */
  readonly lockedBytes: number;
  /** What each thread does with this library; empty for another program. */
  readonly threads: readonly Activity[];
}

/**
 * Reads which processes use devices: those of this library, and all that have VFIO's nodes open. A user sees the own processes, root
 * sees all.
 * @throws UnsupportedError on another system than Linux
 */
export function listDeviceProcesses(): DeviceProcess[] {
  const host = new HostRoot();
  const interrupts = parseVfioInterrupts(kernelText("/proc/interrupts") ?? "");
  return host
    .names("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .sort((a, b) => a - b)
    .flatMap((pid) => processOf(host, pid, interrupts) ?? []);
}

function processOf(
  host: HostRoot,
  pid: number,
  interrupts: ReadonlyMap<string, number>,
): DeviceProcess | undefined {
  const files = openFiles(pid);
  // Of VFIO devices and groups.
  const nodes = new Set([...files.values()].filter((link) => DEVICE_NODE.test(link)));
  const threads = readActivity(pid, files);
  if (nodes.size === 0 && threads.every(({ devices, mappings }) => devices.length + mappings === 0))
    return undefined;
  const status = host.text(`/proc/${pid}/status`);
  // It has ended meanwhile.
  if (status === undefined) return undefined;
  const field = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0);
  return {
    pid,
    uid: field("Uid"),
    command: commandOf(host, pid),
    devices: devicesOf(host, nodes, threads).map((each) => ({
      ...each,
      interrupts: interrupts.get(each.address),
    })),
    pinnedBytes: field("VmPin") * 1024,
    lockedBytes: field("VmLck") * 1024,
    threads,
  };
}

/** Not the container, which belongs to no device. */
const DEVICE_NODE = /^\/dev\/vfio\/(?:devices\/\w+|(?:noiommu-)?\d+)(?: \(deleted\))?$/;

/** What the library's threads name comes first: a group's node doesn't tell which of its devices are open. */
function devicesOf(
  host: HostRoot,
  nodes: ReadonlySet<string>,
  threads: readonly Activity[],
): Omit<DeviceInUse, "interrupts">[] {
  const named = threads.flatMap(({ devices }) => devices);
  const addresses = new Set(named.map(({ address }) => address));
  const others = [...nodes]
    .map((node) => addressesOf(host, node))
    .filter((each) => !each.some((address) => addresses.has(address)));
  return [...named, ...[...new Set(others.flat())].map((address) => ({ address, backend: undefined }))];
}

/** The devices behind a node: one, or all of a group. */
function addressesOf(host: HostRoot, node: string): string[] {
  const [, device, group] = /^\/dev\/vfio\/(?:devices\/(\w+)|(?:noiommu-)?(\d+))$/.exec(node) ?? [];
  const found =
    device === undefined
      ? host.names(`/sys/kernel/iommu_groups/${group}/devices`)
      : [host.linkName(`/sys/class/vfio-dev/${device}/device`) ?? node];
  return found.length === 0 ? [node] : found;
}

/** Arguments end at a NUL. */
function commandOf(host: HostRoot, pid: number): string[] {
  return (host.text(`/proc/${pid}/cmdline`) ?? "").split("\0").filter((word) => word !== "");
}
