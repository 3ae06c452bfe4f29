/** Recognizes what a namespace holds: partition tables, file systems, volumes, members of arrays. */
import { checkMembers } from "../../core/check.js";
import type { NvmeNamespace } from "./namespace.js";

/** Bytes that are looked at from the start (ZFS has uberblocks up to here), and before the end (md 0.90). */
const HEAD_BYTES = 256 * 1024;
const TAIL_BYTES = 128 * 1024;
/** No read is longer, so that none crosses the end of a zone. */
const READ_BYTES = 4096;

type Signature = readonly [what: string, magic: string, ...offsets: readonly number[]];

/** Boot sectors of file systems end as an MBR does, so they come first. Offsets are as in util-linux's libblkid. */
const bootSectors: readonly Signature[] = [
  ["an NTFS file system", "NTFS    ", 3],
  ["a FAT file system", "FAT32   ", 82],
  ["a FAT file system", "FAT1", 54],
  ["an exFAT file system", "EXFAT   ", 3],
  ["a BitLocker volume", "-FVE-FS-", 3],
];
const mbr: Signature = ["a partition table (MBR)", "\x55\xaa", 510];
const signatures: readonly Signature[] = [
  ["a partition table (GPT)", "EFI PART", 512, 4096],
  ["an ext2/3/4 file system", "\x53\xef", 1080],
  ["an XFS file system", "XFSB", 0],
  // In a zone the superblock is a log, from the start on.
  ["a Btrfs file system", "_BHRfS_M", 65_600, 64],
  ["an F2FS file system", "\x10\x20\xf5\xf2", 1024],
  ["an APFS container", "NXSB", 32],
  ["an ISO 9660 file system", "CD001", 32_769],
  ["a SquashFS file system", "hsqs", 0],
  ["an encrypted volume (LUKS)", "LUKS\xba\xbe", 0],
  ["an encrypted volume (LUKS)", "SKUL\xba\xbe", 16_384],
  ["an LVM volume", "LABELONE", 0, 512, 1024, 1536],
  ["a member of an md array", "\xfc\x4e\x2b\xa9", 0, 4096],
  ["swap space", "SWAPSPACE2", 4086, 16_374, 65_526],
  ["swap space", "SWAP-SPACE", 4086, 16_374, 65_526],
  // Uberblocks of the first label, in either byte order.
  ...["\x0c\xb1\xba\0\0\0\0\0", "\0\0\0\0\0\xba\xb1\x0c"].map(
    (magic): Signature => [
      "a member of a ZFS pool",
      magic,
      ...Array.from({ length: 128 }, (_, i) => (128 + i) * 1024),
    ],
  ),
  ["a bcache device", "\xc6\x85\x73\xf6\x4e\x1a\x45\xca", 4120],
  ["a bcachefs file system", "\xc6\x85\x73\xf6\x66\xce\x90\xa9", 4120],
  ["a Ceph BlueStore device", "bluestore block device", 0],
];

/** Data of blocks without their metadata. */
async function dataOf(ns: NvmeNamespace, lba: bigint, blocks: number): Promise<Uint8Array> {
  const { blockSizeBytes, metadataBytes, extendedMetadata } = ns;
  const wholeBytes = blockSizeBytes + (extendedMetadata ? metadataBytes : 0);
  const chunkBytes = Math.max(1, Math.floor(READ_BYTES / blockSizeBytes)) * wholeBytes;
  const data = new Uint8Array(blocks * blockSizeBytes);
  let at = 0;
  for await (const { bytes, blocks: count } of ns.chunks(lba, blocks, { chunkBytes })) {
    const stride = bytes.length / count;
    for (let i = 0; i < count; i++, at += blockSizeBytes)
      data.set(bytes.subarray(i * stride, i * stride + blockSizeBytes), at);
  }
  return data;
}

/**
 * Recognizes partition tables, file systems, volumes and members of arrays by the blocks at the start and the end of a namespace: those of
 * Linux, and those of other systems that are frequent. What it doesn't know isn't there for it.
 * @returns their names in English, such as `an ext2/3/4 file system`; empty if it recognizes nothing
 * @throws ArgumentError, NvmeError (also if a block can't be read), TimeoutError, DeviceGoneError, ClosedError
 */
export async function contentsOf(ns: NvmeNamespace): Promise<string[]> {
  checkMembers("ns", ns, "an NvmeNamespace", { blockSizeBytes: "number", chunks: "function" });
  const { blockSizeBytes, sizeBlocks } = ns;
  const blocks = (bytes: number): number => {
    const wanted = Math.ceil(bytes / blockSizeBytes);
    return sizeBlocks < BigInt(wanted) ? Number(sizeBlocks) : wanted;
  };
  const tailBlocks = blocks(TAIL_BYTES);
  const head = Buffer.from(await dataOf(ns, 0n, blocks(HEAD_BYTES)));
  const tail = Buffer.from(await dataOf(ns, sizeBlocks - BigInt(tailBlocks), tailBlocks));
  const has =
    (bytes: Buffer) =>
    ([, magic, ...offsets]: Signature): boolean =>
      offsets.some((at) => at >= 0 && bytes.toString("latin1", at, at + magic.length) === magic);
  // Offsets in the tail are distances from the end; md counts sectors and rounds down.
  const size = sizeBlocks * BigInt(blockSizeBytes);
  const fromEnd = (bytes: bigint): number => tail.length - Number(size - bytes);
  const atEnd: readonly Signature[] = [
    ["a partition table (GPT)", "EFI PART", tail.length - blockSizeBytes],
    [
      "a member of an md array",
      "\xfc\x4e\x2b\xa9",
      fromEnd((size - 8192n) & ~4095n),
      fromEnd((size & ~65_535n) - 65_536n),
    ],
    ["a member of an Intel RAID array", "Intel Raid ISM Cfg Sig. ", tail.length - 1024],
  ];
  const boot = bootSectors.filter(has(head));
  const found = [
    ...(boot.length > 0 ? boot : [mbr].filter(has(head))),
    ...signatures.filter(has(head)),
    ...atEnd.filter(has(tail)),
  ];
  return [...new Set(found.map(([what]) => what))];
}
