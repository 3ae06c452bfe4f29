/** A function's disks, and what uses them: mounts, swap, volumes. */
import { closeSync, constants, openSync } from "node:fs";
import { devicesBehind, list, text } from "./behind.js";

/** With NVMe multipath, a path device like nvme0c1n2 has no node in /dev; its disk is nvme0n2. */
function diskName(name: string): string {
  return name.replace(/^(nvme\d+)c\d+(n\d+)/, "$1$2");
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

/** What uses a disk or a partition. @param name as in /dev */
export function blockDeviceUsers(name: string): string[] {
  const users: string[] = [];
  const number = text(`/sys/class/block/${name}/dev`).trim();
  for (const line of text("/proc/self/mountinfo").split("\n")) {
    const [, , device, , target] = line.split(" ");
    if (device === number) users.push(`/dev/${name} is mounted on ${target}`);
  }
  if (text("/proc/swaps").includes(`/dev/${name} `)) users.push(`/dev/${name} is swap space`);
  for (const holder of list(`/sys/class/block/${name}/holders`))
    users.push(`/dev/${name} is part of ${volumeText(holder)}`);
  // A user that these lists lack (another mount namespace, a btrfs member) still holds an exclusive claim.
  if (users.length === 0 && isClaimed(`/dev/${name}`)) users.push(`/dev/${name} is in use`);
  return users;
}

/** How programs of the device mapper begin the identifiers of what they make (`dmsetup info`). */
const MAPPED_KINDS: readonly (readonly [string, string])[] = [
  ["LVM-", "LVM volume"],
  ["CRYPT-", "encrypted volume"],
  ["mpath-", "multipath device"],
];

/** A block device that is made of others, as its administrator knows it. */
function volumeText(name: string): string {
  const folder = `/sys/class/block/${name}`;
  const mapped = text(`${folder}/dm/name`).trim();
  if (mapped !== "") {
    const id = text(`${folder}/dm/uuid`);
    const [, kind = "mapped device"] = MAPPED_KINDS.find(([prefix]) => id.startsWith(prefix)) ?? [];
    return `the ${kind} ${mapped} (${name})`;
  }
  const level = text(`${folder}/md/level`).trim();
  return level === "" ? name : `the RAID array ${name} (${level})`;
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
