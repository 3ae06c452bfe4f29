/** Finds what uses a PCI function through its kernel driver: mounts, swap, volumes, network interfaces, and open nodes. */
import { characterDevices, characterNodes, type Devices } from "./behind.js";
import { blockDevices, blockDeviceUsers } from "./disks.js";
import { holderSearch } from "./holders.js";
import { networkUsers } from "./interfaces.js";

/** udev opens each new disk, and each one that was written, for a moment to see what is on it. */
const LOOKS_ONLY = /udev/;

/**
 * Reasons why the kernel can't give up a function's disks or network interfaces now; empty if there are none.
 * @throws ArgumentError (no such device)
 */
export function usersOf(bdf: string): string[] {
  return usersSearch()(bdf);
}

/** The same for many functions: processes and character devices are looked at once, where a function needs that first. */
export function usersSearch(): (bdf: string) => string[] {
  const holders = holderSearch();
  let characters: Devices | undefined;
  return (bdf) => {
    const disks = blockDevices(bdf);
    characters ??= characterDevices();
    const nodes = new Set([...disks.map((name) => `/dev/${name}`), ...characterNodes(bdf, characters)]);
    const programs = nodes.size === 0 ? [] : holders(nodes);
    return [
      ...disks.flatMap(blockDeviceUsers),
      ...networkUsers(bdf),
      ...programs
        .filter(({ command }) => !LOOKS_ONLY.test(command))
        .map(({ pid, command, node }) => `process ${pid} (${command}) has ${node} open`),
    ];
  };
}
