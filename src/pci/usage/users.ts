/** Finds what uses a PCI function through its kernel driver: mounts, swap, volumes, network interfaces, and open nodes. */
import { characterNodes } from "./behind.js";
import { blockDevices, blockDeviceUsers } from "./disks.js";
import { holderSearch, holdersOf, type VfioHolder } from "./holders.js";
import { networkUsers } from "./interfaces.js";

/** udev opens each new disk, and each one that was written, for a moment to see what is on it. */
const LOOKS_ONLY = /udev/;

/**
 * Reasons why the kernel can't give up a function's disks or network interfaces now; empty if there are none.
 * @throws ArgumentError (no such device)
 */
export function usersOf(bdf: string): string[] {
  return usersAmong(bdf, holdersOf);
}

/** The same for many functions. */
export function usersSearch(): (bdf: string) => string[] {
  const search = holderSearch();
  return (bdf) => usersAmong(bdf, search);
}

type Search = (nodes: ReadonlySet<string>) => VfioHolder[];

function usersAmong(bdf: string, search: Search): string[] {
  const disks = blockDevices(bdf);
  return [...disks.flatMap(blockDeviceUsers), ...networkUsers(bdf), ...programs(bdf, disks, search)];
}

/** Programs that have a disk or another device of the function open. */
function programs(bdf: string, disks: readonly string[], search: Search): string[] {
  const nodes = new Set([...disks.map((name) => `/dev/${name}`), ...characterNodes(bdf)]);
  if (nodes.size === 0) return [];
  return search(nodes)
    .filter(({ command }) => !LOOKS_ONLY.test(command))
    .map(({ pid, command, node }) => `process ${pid} (${command}) has ${node} open`);
}
