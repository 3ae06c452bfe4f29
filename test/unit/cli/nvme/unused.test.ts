/** Subcommands that destroy data refuse namespaces that hold partitions or a file system, unless --force says otherwise. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { BusyError, NvmeController } from "../../../../src/index.js";
import { MIB, startController, useEmulatedNvme } from "../../../support/emulated-nvme.js";
import { iova } from "../../../support/nvme-cli.js";

useEmulatedNvme();

const folder = mkdtempSync(join(tmpdir(), "iova-unused-"));
const data = join(folder, "data");
beforeAll(() => writeFileSync(data, Buffer.alloc(4096, 7)));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => {
  process.exitCode = 0;
});

const MAGIC = Buffer.from("XFSB");

/** Makes a namespace look as if it had a file system. */
async function occupy(address: string, nsid = 1): Promise<void> {
  await using nvme = await NvmeController.open(address);
  await (await nvme.namespace(nsid)).openFile().write(MAGIC, 0, 4, 0);
}

async function start(nsid = 1): Promise<string> {
  const { address } = await startController({ sizeBytes: 8 * MIB, namespaces: 2, sanitizeMs: 50 });
  await occupy(address, nsid);
  return address;
}

/** Each with what it is given beside the target. */
const commands: readonly (readonly [name: string, ...args: readonly string[]])[] = [
  ["write", "-n", "1", "-s", "64", "-d", data],
  ["trim", "-n", "1", "-s", "64", "--blocks", "8"],
  ["format", "-n", "1"],
  ["sanitize", "-a", "2"],
  ["write-zeroes", "-n", "1", "-s", "64", "--blocks", "8"],
  ["write-uncor", "-n", "1", "-s", "64", "--blocks", "1"],
  ["copy", "-n", "1", "-d", "64", "-s", "128", "-b", "7"],
  ["dsm", "-n", "1", "-s", "64", "-b", "8", "-d"],
  ["io-passthru", "-n", "1", "-o", "8", "--cdw10", "64"],
  ["admin-passthru", "-n", "1", "-o", "0x80"],
  ["admin-passthru", "-o", "0x84", "--cdw10", "2"],
  ["delete-ns", "-n", "1"],
  ["conform", "-n", "1", "--destroy-data", "--only", "a write changes no other block"],
];

test.each(commands)("%s %j refuses a file system, and does its work with --force", async (name, ...args) => {
  const address = await start();
  const refusal = iova(name, address, ...args, "--yes");
  await expect(refusal).rejects.toThrow(BusyError);
  await expect(refusal).rejects.toThrow("namespace 1 of vfio-user:");
  await expect(refusal).rejects.toThrow("holds an XFS file system: nothing was changed; --force destroys it");
  await iova(name, address, ...args, "--yes", "--force");
});

test.each([
  ["write", "-n", "1", "-d", data],
  ["format", "-n", "1"],
  ["dsm", "-n", "2", "-s", "64", "-b", "8", "-w"],
  ["io-passthru", "-n", "2", "-o", "0"],
  ["admin-passthru", "-o", "0x0d", "--cdw10", "2", "--dry-run"],
])("%s %j does its work: what it reaches holds nothing, or it destroys nothing", async (name, ...args) => {
  await iova(name, await start(2), ...args, "--yes");
});

test.each([
  ["format", "-n", "0xffffffff"],
  ["sanitize", "-a", "2"],
])("%s %j looks at all namespaces", async (name, ...args) => {
  const refusal = iova(name, await start(2), ...args, "--yes");
  await expect(refusal).rejects.toThrow("namespace 2 of vfio-user:");
});

test("perf refuses to write to a file system", async () => {
  const perf = ["perf", await start(), "-n", "1", "-t", "0.01", "--warmup", "0"] as const;
  await expect(iova(...perf, "-w", "randwrite", "--yes")).rejects.toThrow("holds an XFS file system");
});

test("zns reset, finish and append refuse a file system of zones", async () => {
  const { address } = await startController({ sizeBytes: 16 * MIB, zoned: true });
  const superblock = join(folder, "superblock");
  const block = Buffer.alloc(4096);
  block.write("_BHRfS_M", 64, "latin1");
  writeFileSync(superblock, block);
  await iova("zns", "append", address, "--zslba", "0", "-d", superblock, "--yes");
  for (const args of [
    ["append", address, "--zslba", "0", "-d", data],
    ["finish", address, "-s", "0"],
    ["reset", address, "-s", "0"],
  ])
    await expect(iova("zns", ...args, "--yes")).rejects.toThrow("holds a Btrfs file system");
  await iova("zns", "reset", address, "-s", "0", "--yes", "--force");
});

test("a namespace that can't be read is refused, too", async () => {
  const { address } = await startController({ sizeBytes: 8 * MIB });
  await iova("write-uncor", address, "--blocks", "1", "--yes");
  await expect(iova("format", address, "--yes")).rejects.toThrow(
    /what namespace 1 of .* holds can't be read \(.*Unrecovered Read Error.*\): nothing was changed; --force doesn't look/,
  );
  await iova("format", address, "--yes", "--force");
});
