/** Devices that the kernel made of a PCI function. */
import { kernelNames, kernelRealPath, kernelText } from "../../sys/kernel-files.js";
import { devicePath } from "../address/device-path.js";

/** Names in a folder of the kernel; none if it isn't there. */
export const list = (path: string): string[] => kernelNames(path) ?? [];
/** What a file of the kernel says; empty if it isn't there. */
export const text = (path: string): string => kernelText(path) ?? "";

/** Devices of a class below a function, directly or (virtio, USB) through other devices. */
export function devicesBehind(bdf: string, className: string): string[] {
  return behind(bdf, devicesIn(`/sys/class/${className}`));
}

/** Devices of the kernel, and where sysfs has each. */
export type Devices = ReadonlyMap<string, string>;

/** All character devices, by their numbers. */
export function characterDevices(): Devices {
  return devicesIn("/sys/dev/char");
}

/** Nodes of its character devices, such as `/dev/nvme0`; without those of VFIO, which have holders of their own kind. */
export function characterNodes(bdf: string, all: Devices): string[] {
  return behind(bdf, all).flatMap((number) => {
    const [, name] = /^DEVNAME=(.+)$/m.exec(text(`/sys/dev/char/${number}/uevent`)) ?? [];
    return name === undefined || name.startsWith("vfio/") ? [] : [`/dev/${name}`];
  });
}

function devicesIn(folder: string): Devices {
  // A link has no target any more if its device was removed meanwhile.
  return new Map(list(folder).map((name) => [name, kernelRealPath(`${folder}/${name}`) ?? ""]));
}

function behind(bdf: string, devices: Devices): string[] {
  const path = devicePath(bdf);
  const home = `${kernelRealPath(path) ?? path}/`;
  return [...devices].filter(([, place]) => place.startsWith(home)).map(([name]) => name);
}
