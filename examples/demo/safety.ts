/** Checks that the demo makes before it overwrites a disk. */
import { createInterface } from "node:readline/promises";
import { BusyError, NvmeController } from "iova";
import { blockDevices, partitions } from "iova/pci";

/** Refuses a disk that has partitions. bindToVfio refuses mounted ones. @throws BusyError if the kernel sees partitions */
export function refusePartitioned(bdf: string): void {
  const found = partitions(bdf);
  if (found.length > 0)
    throw new BusyError(`${bdf} has partitions (${found.join(", ")}): it will not be overwritten`);
}

interface Signature {
  readonly what: string;
  readonly offset: number;
  readonly magic: string;
}

/** Signatures of partition tables, file systems and volumes, by byte offset. */
const signatures: readonly Signature[] = [
  { what: "a partition table (MBR)", offset: 510, magic: "\x55\xaa" },
  { what: "a partition table (GPT)", offset: 512, magic: "EFI PART" },
  { what: "a partition table (GPT)", offset: 4096, magic: "EFI PART" },
  { what: "an ext2/3/4 file system", offset: 1080, magic: "\x53\xef" },
  { what: "an XFS file system", offset: 0, magic: "XFSB" },
  { what: "a Btrfs file system", offset: 65600, magic: "_BHRfS_M" },
  { what: "an encrypted volume (LUKS)", offset: 0, magic: "LUKS\xba\xbe" },
  { what: "an LVM volume", offset: 512, magic: "LABELONE" },
  { what: "swap space", offset: 4086, magic: "SWAPSPACE2" },
];

/** Recognizes partition tables, file systems and volumes in the first bytes of a disk. @returns their names */
export function recognise(start: Uint8Array): string[] {
  return signatures
    .filter(({ offset, magic }) => {
      const there = Buffer.from(start.subarray(offset, offset + magic.length)).toString("latin1");
      return there === magic;
    })
    .map(({ what }) => what);
}

/**
 * Reads the disk itself, because the kernel sees no partitions of a controller that was already bound to vfio-pci.
 * @throws BusyError if the disk holds a partition table, a file system or a volume
 */
export async function refuseUsedDisk(bdf: string): Promise<void> {
  await using nvme = await NvmeController.open(bdf);
  const ns = await nvme.namespace(1);
  const available = Number(ns.sizeBlocks) * ns.blockSizeBytes;
  using buffer = nvme.dma.alloc(Math.min(128 * 1024, available));
  const step = Math.min(nvme.maxTransferBytes, buffer.sizeBytes);
  for (let offset = 0; offset < buffer.sizeBytes; offset += step) {
    const length = Math.min(step, buffer.sizeBytes - offset);
    await ns.read(BigInt(offset / ns.blockSizeBytes), buffer, { offset, length });
  }
  const found = recognise(buffer.bytes);
  if (found.length > 0)
    throw new BusyError(`${bdf} holds ${found.join(" and ")}: it will not be overwritten`);
}

/** Asks on the terminal. Without a terminal the answer is no. */
export async function confirmed(bdf: string): Promise<boolean> {
  if (!process.stdin.isTTY) {
    process.stderr.write("there is no terminal to ask on: pass --yes to overwrite data\n");
    return false;
  }
  const disks = blockDevices(bdf);
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const name = disks.length > 0 ? `${bdf} (${disks.join(", ")})` : bdf;
    const answer = await terminal.question(
      `The first 16 MiB of ${name} will be overwritten. Type the address to continue: `,
    );
    return answer.trim().toLowerCase() === bdf;
  } finally {
    terminal.close();
  }
}
