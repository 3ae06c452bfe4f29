/**
 * Files of a FAT file system on an NVMe namespace, by the npm library fatfs, which knows nothing of NVMe. After `npm install fatfs`,
 * `node dist/examples/fat-files.js TARGET` lists the root folder, and `... TARGET NAME` prints a file.
 */
import { once } from "node:events";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { createFileSystem, type FatFileSystem } from "fatfs";
import { NvmeController } from "iova";
import type { NvmeFile } from "iova/nvme";

/** FAT's sectors, whatever blocks the namespace has: a file takes any offset. */
const SECTOR_BYTES = 512;

/** @throws what the library says of a volume without FAT16 or FAT32, NvmeError */
export async function mountFat(file: NvmeFile): Promise<FatFileSystem> {
  const { size } = await file.stat();
  const fs = createFileSystem({
    sectorSize: SECTOR_BYTES,
    numSectors: size / SECTOR_BYTES,
    readSectors(first, target, done) {
      file.read(target, { position: first * SECTOR_BYTES }).then(() => done(), done);
    },
    writeSectors(first, bytes, done) {
      file.write(bytes, { position: first * SECTOR_BYTES }).then(() => done(), done);
    },
  });
  await once(fs, "ready");
  return fs;
}

async function main(target: string, name: string | undefined): Promise<void> {
  await using nvme = await NvmeController.open(target);
  const ns = await nvme.namespace(1);
  await using file = ns.openFile();
  const fs = await mountFat(file);
  if (name !== undefined) process.stdout.write(await promisify(fs.readFile)(name));
  else for (const each of await promisify(fs.readdir)("/")) console.log(each);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await main(process.argv[2] ?? "", process.argv[3]);
}
