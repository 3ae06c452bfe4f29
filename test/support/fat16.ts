/** Makes an empty FAT16 file system (Microsoft's FAT specification, sections 3 and 4). */

const SECTOR = 512;
const RESERVED_SECTORS = 1;
const FATS = 2;
const ROOT_ENTRIES = 512;
const SECTORS_PER_CLUSTER = 4;

/** A volume of so many bytes: 9 to 127 MiB. It begins with what is not zero. */
export function fat16Image(sizeBytes: number): Buffer {
  const sectors = sizeBytes / SECTOR;
  const rootSectors = (ROOT_ENTRIES * 32) / SECTOR;
  const clusters = Math.floor((sectors - RESERVED_SECTORS - rootSectors) / SECTORS_PER_CLUSTER);
  const fatSectors = Math.ceil(((clusters + 2) * 2) / SECTOR);
  const image = Buffer.alloc((RESERVED_SECTORS + FATS * fatSectors + rootSectors) * SECTOR);
  image.set([0xeb, 0x3c, 0x90]); // a jump to the boot code, which there is none of
  image.write("IOVATEST", 3, "latin1");
  image.writeUInt16LE(SECTOR, 11);
  image.writeUInt8(SECTORS_PER_CLUSTER, 13);
  image.writeUInt16LE(RESERVED_SECTORS, 14);
  image.writeUInt8(FATS, 16);
  image.writeUInt16LE(ROOT_ENTRIES, 17);
  image.writeUInt16LE(sectors < 0x1_0000 ? sectors : 0, 19);
  image.writeUInt8(0xf8, 21); // a fixed disk
  image.writeUInt16LE(fatSectors, 22);
  image.writeUInt32LE(sectors < 0x1_0000 ? 0 : sectors, 32);
  image.writeUInt8(0x80, 36);
  image.writeUInt8(0x29, 38); // serial number, label and type follow
  image.writeUInt32LE(0x1234_5678, 39);
  image.write("NO NAME    FAT16   ", 43, "latin1");
  image.writeUInt16LE(0xaa55, 510);
  // The first two entries of each table stand for no cluster.
  for (let fat = 0; fat < FATS; fat++) {
    image.writeUInt32LE(0xffff_fff8, (RESERVED_SECTORS + fat * fatSectors) * SECTOR);
  }
  return image;
}
