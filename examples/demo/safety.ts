/** Checks that the demo makes before it overwrites a disk. */
import { createInterface } from "node:readline/promises";
import { type BackendName, BusyError, NvmeController } from "iova";
import { contentsOf } from "iova/nvme";
import { blockDevices, partitions } from "iova/pci";

/** Refuses a disk that has partitions. bindToVfio refuses mounted ones. @throws BusyError if the kernel sees partitions */
export function refusePartitioned(bdf: string): void {
  const found = partitions(bdf);
  if (found.length > 0)
    throw new BusyError(`${bdf} has partitions (${found.join(", ")}): it will not be overwritten`);
}

/**
 * Reads the disk itself, because the kernel sees no partitions of a controller that was already bound to vfio-pci.
 * @throws BusyError if the disk holds a partition table, a file system or a volume
 */
export async function refuseUsedDisk(bdf: string, backend: BackendName | undefined): Promise<void> {
  await using nvme = await NvmeController.open(bdf, { backend });
  const found = await contentsOf(await nvme.namespace(1));
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
