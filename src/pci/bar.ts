/** A base address register of a PCI function: register accesses, by load and store or through the device. */
import { checkInteger, checkObject, checkU64 } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";
import type { MappedMemory } from "../sys/memory.js";
import { readRegister, readRegister64, writeRegister, writeRegister64 } from "../sys/mmio.js";
import type { DeviceIo, RegionInfo } from "../vfio/device-io.js";
import { canMap } from "../vfio/region.js";

/**
 * The range of a base address register (BAR). If the whole range can be mapped, accesses are loads and stores; otherwise
 * each is a system call. Either way, each is one access of the given width.
 */
export class Bar {
  /** Length in bytes. */
  readonly sizeBytes: number;
  private readonly region: RegionInfo;
  private mapping: MappedMemory | undefined;

  constructor(
    private readonly io: DeviceIo,
    /** BAR number, 0 to 5. */
    readonly index: number,
  ) {
    checkObject("io", io);
    checkInteger("BAR index", index, 0, 5);
    this.region = io.regionInfo(index);
    this.sizeBytes = this.region.sizeBytes;
    if (this.sizeBytes === 0) throw new ArgumentError(`${io.lease.label} has no BAR ${index}`);
  }

  /** @param offset bytes, multiple of 4 @throws ArgumentError, ClosedError, SysError */
  read32(offset: number): number {
    this.check(offset, 4);
    const words = this.words();
    if (words !== undefined) return readRegister(words, offset / 4);
    const bytes = new Uint8Array(4);
    this.io.readRegion(this.index, offset, bytes);
    return new DataView(bytes.buffer).getUint32(0, true);
  }

  /** Two 32-bit reads, low half first. */
  read64(offset: number): bigint {
    this.check(offset, 8);
    const words = this.words();
    if (words !== undefined) return readRegister64(words, offset / 4);
    return BigInt(this.read32(offset)) | (BigInt(this.read32(offset + 4)) << 32n);
  }

  /** @param offset bytes, multiple of 4 @throws ArgumentError, ClosedError, SysError */
  write32(offset: number, value: number): void {
    this.check(offset, 4);
    checkInteger("value", value, 0, 0xffff_ffff);
    const words = this.words();
    if (words !== undefined) writeRegister(words, offset / 4, value);
    else this.io.writeRegion(this.index, offset, new Uint8Array(Uint32Array.of(value).buffer));
  }

  /** Two 32-bit writes, low half first. */
  write64(offset: number, value: bigint): void {
    this.check(offset, 8);
    checkU64("value", value);
    const words = this.words();
    if (words !== undefined) writeRegister64(words, offset / 4, value);
    else if (this.io.writeRegions !== undefined) {
      const bytes = new Uint8Array(BigUint64Array.of(value).buffer);
      this.io.writeRegions(this.index, [
        { offset, source: bytes.subarray(0, 4) },
        { offset: offset + 4, source: bytes.subarray(4) },
      ]);
    } else {
      this.write32(offset, Number(value & 0xffff_ffffn));
      this.write32(offset + 4, Number(value >> 32n));
    }
  }

  /**
   * Maps part of the BAR, for code that uses src/sys/mmio.ts.
   * @param offset page aligned
   * @throws ArgumentError, UnsupportedError, SysError
   */
  map(offset = 0, sizeBytes = this.sizeBytes - offset): MappedMemory {
    return this.io.mapRegion(this.index, offset, sizeBytes);
  }

  /** The mapping of the whole BAR, made at first use; undefined if it can't be mapped. */
  private words(): Uint32Array | undefined {
    this.io.lease.assertOpen();
    if (this.mapping === undefined && canMap(this.region, 0, this.sizeBytes)) this.mapping = this.map();
    return this.mapping?.words;
  }

  private check(offset: number, width: number): void {
    checkInteger("offset", offset, 0, this.sizeBytes - width);
    if (offset % 4 !== 0) throw new ArgumentError(`register offset ${offset} is not a multiple of 4`);
  }
}
