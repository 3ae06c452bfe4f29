/** Makes an initramfs: an archive of the files that the guest's kernel starts with. */

/** One entry of an initramfs. */
export interface ArchiveEntry {
  path: string;
  mode: number;
  /** Absent for a folder. */
  content?: Buffer;
}

const DIRECTORY = 0o040000;
const REGULAR = 0o100000;

/**
 * A cpio archive in the "newc" form that the kernel unpacks (its format:
 * Documentation/driver-api/early-userspace/buffer-format.rst). Written here so
 * that the cpio program isn't needed. Uncompressed, because copying 2 MB costs
 * QEMU less than unpacking costs an emulated processor.
 */
export function writeArchive(entries: readonly ArchiveEntry[]): Buffer {
  const parts = entries.map((entry, index) => writeEntry(entry, index + 1));
  parts.push(writeEntry({ path: "TRAILER!!!", mode: 0 }, 0));
  return Buffer.concat(parts);
}

function writeEntry(entry: ArchiveEntry, inode: number): Buffer {
  const content = entry.content ?? Buffer.alloc(0);
  const name = Buffer.from(`${entry.path}\0`);
  const type = inode === 0 ? 0 : entry.content === undefined ? DIRECTORY : REGULAR;
  const fields = [
    inode,
    type | entry.mode,
    0, // uid
    0, // gid
    entry.content === undefined ? 2 : 1, // links
    0, // mtime
    content.length,
    0, // device, major and minor
    0,
    0, // rdev, major and minor
    0,
    name.length,
    0, // checksum, not used by this form
  ];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`;
  return Buffer.concat([pad(Buffer.concat([Buffer.from(header), name])), pad(content)]);
}

function pad(part: Buffer): Buffer {
  return Buffer.concat([part, Buffer.alloc((4 - (part.length % 4)) % 4)]);
}
