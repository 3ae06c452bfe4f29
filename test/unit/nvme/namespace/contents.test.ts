/** What a namespace holds is recognized by its blocks: signatures at their places, and what the machine's own tools make. */
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { findProgram } from "../../../../guest/paths.js";
import { contentsOf } from "../../../../src/doors/nvme.js";
import { MIB, openController, useEmulatedNvme } from "../../../support/emulated-nvme.js";
import { run } from "../../../support/run.js";

useEmulatedNvme();

const SIZE = 16 * MIB;
const bytes = (magic: string): Buffer => Buffer.from(magic, "latin1");
const MD = bytes("\xfc\x4e\x2b\xa9");

/** Places of signatures, from the documents of each format. Those below 0 are counted from the end. */
const places: readonly (readonly [what: string, at: number, magic: Buffer])[] = [
  ["a partition table (MBR)", 510, bytes("\x55\xaa")],
  ["a partition table (GPT)", 512, bytes("EFI PART")],
  ["a partition table (GPT)", 4096, bytes("EFI PART")],
  ["a partition table (GPT)", -512, bytes("EFI PART")],
  ["an ext2/3/4 file system", 0x438, bytes("\x53\xef")],
  ["an XFS file system", 0, bytes("XFSB")],
  ["a Btrfs file system", 0x1_0040, bytes("_BHRfS_M")],
  ["an F2FS file system", 1024, Buffer.from([0x10, 0x20, 0xf5, 0xf2])],
  ["an APFS container", 32, bytes("NXSB")],
  ["an ISO 9660 file system", 0x8001, bytes("CD001")],
  ["a SquashFS file system", 0, bytes("hsqs")],
  ["an encrypted volume (LUKS)", 0, bytes("LUKS\xba\xbe")],
  ["an encrypted volume (LUKS)", 0x4000, bytes("SKUL\xba\xbe")],
  ["an LVM volume", 512, bytes("LABELONE")],
  ["an LVM volume", 1536, bytes("LABELONE")],
  ["a member of an md array", 4096, MD],
  ["a member of an md array", 0, MD],
  ["a member of an md array", -8192, MD],
  ["a member of an md array", -65_536, MD],
  ["a member of an Intel RAID array", -1024, bytes("Intel Raid ISM Cfg Sig. ")],
  ["swap space", 4096 - 10, bytes("SWAPSPACE2")],
  ["swap space", 65_536 - 10, bytes("SWAPSPACE2")],
  ["a member of a ZFS pool", 128 * 1024, Buffer.from("0cb1ba0000000000", "hex")],
  ["a member of a ZFS pool", 255 * 1024, Buffer.from("0000000000bab10c", "hex")],
  ["a bcache device", 4096 + 24, Buffer.from("c68573f64e1a45ca8265f57f48ba6d81", "hex")],
  ["a bcachefs file system", 4096 + 24, Buffer.from("c68573f666ce90a9d96a60cf803df7ef", "hex")],
  ["a Ceph BlueStore device", 0, bytes("bluestore block device\n")],
  ["an NTFS file system", 3, bytes("NTFS    ")],
  ["a FAT file system", 82, bytes("FAT32   ")],
  ["a FAT file system", 54, bytes("FAT16   ")],
  ["a FAT file system", 54, bytes("FAT12   ")],
  ["an exFAT file system", 3, bytes("EXFAT   ")],
  ["a BitLocker volume", 3, bytes("-FVE-FS-")],
];

test("each signature is recognized at its place, and alone", async () => {
  const nvme = await openController({ sizeBytes: SIZE });
  const ns = await nvme.namespace(1);
  expect(await contentsOf(ns)).toEqual([]);
  const file = ns.openFile();
  await file.write(MD, 0, 4, 4097);
  expect(await contentsOf(ns)).toEqual([]);
  await file.write(Buffer.alloc(4), 0, 4, 4097);
  for (const [what, at, magic] of places) {
    const position = at < 0 ? SIZE + at : at;
    await file.write(magic, 0, magic.length, position);
    expect([at, await contentsOf(ns)]).toEqual([at, [what]]);
    await file.write(Buffer.alloc(magic.length), 0, magic.length, position);
  }
});

test("several are all named, and the end of a boot sector isn't a partition table too", async () => {
  const ns = await (await openController({ sizeBytes: SIZE })).namespace(1);
  const image = Buffer.alloc(4096);
  bytes("EFI PART").copy(image, 512);
  bytes("\x55\xaa").copy(image, 510);
  await ns.write(0n, image);
  expect(await contentsOf(ns)).toEqual(["a partition table (MBR)", "a partition table (GPT)"]);
  bytes("NTFS    ").copy(image, 3);
  await ns.write(0n, image);
  expect(await contentsOf(ns)).toEqual(["an NTFS file system", "a partition table (GPT)"]);
});

test("ZFS's first label can have its uberblock anywhere in its ring", async () => {
  const ns = await (await openController({ sizeBytes: SIZE })).namespace(1);
  const magic = Buffer.from("0cb1ba0000000000", "hex");
  await ns.openFile().write(magic, 0, 8, 127 * 1024);
  expect(await contentsOf(ns)).toEqual([]);
  await ns.openFile().write(magic, 0, 8, 200 * 1024);
  expect(await contentsOf(ns)).toEqual(["a member of a ZFS pool"]);
});

test.each([
  ["blocks of 4096 bytes", { blockSizeBytes: 4096 }],
  ["metadata behind each block", { metadataBytes: 8, extendedMetadata: true }],
  ["separate metadata", { metadataBytes: 16 }],
  ["protection information", { metadataBytes: 8, protection: 1 }],
] as const)("a namespace with %s is looked at, too", async (_, options) => {
  const ns = await (await openController({ sizeBytes: SIZE, ...options })).namespace(1);
  const { blockSizeBytes, metadataBytes, extendedMetadata } = ns;
  const image = Buffer.alloc(128 * 1024);
  bytes("_BHRfS_M").copy(image, 0x1_0040);
  const count = image.length / blockSizeBytes;
  const stride = blockSizeBytes + (extendedMetadata ? metadataBytes : 0);
  const whole = Buffer.alloc(count * stride);
  for (let i = 0; i < count; i++) image.copy(whole, i * stride, i * blockSizeBytes, (i + 1) * blockSizeBytes);
  const separate = metadataBytes > 0 && !extendedMetadata && ns.protection === undefined;
  await ns.writeRange(0n, whole, separate ? { metadata: Buffer.alloc(count * metadataBytes) } : {});
  expect(await contentsOf(ns)).toEqual(["a Btrfs file system"]);
});

test("a namespace of a few blocks is looked at whole", async () => {
  const nvme = await openController({ sizeBytes: SIZE, capacityBytes: 2 * SIZE });
  const nsid = await nvme.namespaceManagement.create({ sizeBlocks: 2n });
  await nvme.namespaceManagement.attach(nsid);
  const ns = await nvme.namespace(nsid);
  expect([ns.sizeBlocks, await contentsOf(ns)]).toEqual([2n, []]);
  await ns.write(0n, Buffer.concat([bytes("XFSB"), Buffer.alloc(1020)]));
  expect(await contentsOf(ns)).toEqual(["an XFS file system"]);
});

test("a block that can't be read is the error of the read", async () => {
  const ns = await (await openController({ sizeBytes: SIZE })).namespace(1);
  await ns.writeUncorrectable(3n, 1);
  await expect(contentsOf(ns)).rejects.toThrow("Unrecovered Read Error");
});

/** Tools that make a file system in a file, if the machine has them. */
const tools = (
  [
    ["mke2fs", ["-q", "-F", "-t", "ext4"], "an ext2/3/4 file system"],
    ["mkswap", [], "swap space"],
    ["mkfs.vfat", [], "a FAT file system"],
    ["mkfs.xfs", ["-q", "-f"], "an XFS file system"],
    ["mkfs.btrfs", ["-q", "-f"], "a Btrfs file system"],
    ["mkfs.ntfs", ["-q", "-F"], "an NTFS file system"],
    ["mkfs.f2fs", ["-q", "-f"], "an F2FS file system"],
  ] as const
).flatMap(([name, args, what]) => {
  const program = findProgram(name, "/usr/sbin:/sbin:/usr/bin:/bin");
  return program === undefined ? [] : [{ name, program, args, what }];
});

test.each(tools)("what $name makes is recognized", async ({ program, args, what }) => {
  const folder = mkdtempSync(join(tmpdir(), "iova-contents-"));
  try {
    const path = join(folder, "image");
    writeFileSync(path, "");
    const size = 320 * MIB;
    truncateSync(path, size);
    const { status, stderr } = await run(program, [...args, path]);
    expect(status, stderr).toBe(0);
    const ns = await (await openController({ sizeBytes: size })).namespace(1);
    const image = readFileSync(path);
    const pieces = [0, size - MIB].map((at) => image.subarray(at, at + MIB));
    for (const [i, piece] of pieces.entries())
      await ns.writeRange(i === 0 ? 0n : ns.sizeBlocks - BigInt(MIB / 512), piece);
    expect(await contentsOf(ns)).toEqual([what]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
