/** Disks of the kernel's own nvme driver. */
import {
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  readSync,
  writeSync,
} from "node:fs";
import { vi } from "vitest";
import { blockDevices } from "../../src/doors/pci.js";

/** The kernel searches for namespaces in the background after its driver was bound. */
const SCAN_LIMIT_MS = 600_000;

/** Path of a controller's only disk, as soon as the kernel has it. */
export async function kernelDisk(bdf: string): Promise<string> {
  return vi.waitFor(
    () => {
      const [name] = blockDevices(bdf);
      const path = `/dev/${name}`;
      if (name === undefined || !existsSync(path)) throw new Error(`${bdf} has no disk yet`);
      if (Number(readFileSync(`/sys/class/block/${name}/size`, "utf8")) === 0)
        throw new Error(`${path} is empty`);
      return path;
    },
    { timeout: SCAN_LIMIT_MS, interval: 20 },
  );
}

/** Reads through the kernel. The disk must be new to the kernel, so that nothing is in its cache. */
export function readDisk(path: string, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const fd = openSync(path, constants.O_RDONLY);
  try {
    for (let done = 0; done < length; ) {
      const count = readSync(fd, bytes, done, length - done, offset + done);
      if (count === 0) throw new Error(`${path} ended at ${offset + done}`);
      done += count;
    }
    return bytes;
  } finally {
    closeSync(fd);
  }
}

/** Writes through the kernel, and waits until the device has it. */
export function writeDisk(path: string, offset: number, bytes: Uint8Array): void {
  const fd = openSync(path, constants.O_WRONLY);
  try {
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
    }
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
