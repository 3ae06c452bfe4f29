/** What the kernel's nvme driver shows of a controller in sysfs. Reading it sends no command to the device. */
import { join } from "node:path";
import { blockDevices } from "../../pci/usage/disks.js";
import { kernelNames, kernelText } from "../../sys/kernel-files.js";
import { deviceText } from "../terminal.js";

const text = (path: string): string => deviceText(kernelText(path) ?? "");
const names = (path: string): string[] => kernelNames(path) ?? [];

/** A controller that the kernel drives. */
export interface KernelController {
  /** `nvme0`. */
  readonly name: string;
  readonly model: string;
  readonly serial: string;
  readonly firmware: string;
  readonly namespaces: readonly KernelNamespace[];
}

export interface KernelNamespace {
  /** `nvme0n1`. */
  readonly name: string;
  readonly nsid: number;
  readonly blockSizeBytes: number;
  readonly sizeBlocks: bigint;
  readonly usedBlocks: bigint | undefined;
}

/** sysfs gives a disk's size in these, with any block size. */
const SECTOR_BYTES = 512n;

function namespaceOf(name: string): KernelNamespace | undefined {
  const path = join("/sys/class/block", name);
  const nsid = Number(text(join(path, "nsid")));
  const blockSizeBytes = Number(text(join(path, "queue/logical_block_size")));
  if (nsid === 0 || blockSizeBytes === 0) return undefined;
  const sectors = BigInt(text(join(path, "size")) || 0);
  const used = text(join(path, "nuse"));
  return {
    name,
    nsid,
    blockSizeBytes,
    sizeBlocks: (sectors * SECTOR_BYTES) / BigInt(blockSizeBytes),
    usedBlocks: used === "" ? undefined : BigInt(used),
  };
}

/** The kernel's view of a function's controller; undefined if another driver has the function. @throws ArgumentError (no such device) */
export function kernelController(bdf: string): KernelController | undefined {
  const [name] = names(`/sys/bus/pci/devices/${bdf}/nvme`);
  if (name === undefined) return undefined;
  const path = join("/sys/class/nvme", name);
  return {
    name,
    model: text(join(path, "model")),
    serial: text(join(path, "serial")),
    firmware: text(join(path, "firmware_rev")),
    namespaces: blockDevices(bdf).flatMap((disk) => namespaceOf(disk) ?? []),
  };
}
