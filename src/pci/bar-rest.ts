/** Accesses to a BAR that isn't mapped as a whole: loads and stores where a part is mapped, else through the device. */
import {
  readRegister,
  readRegister8,
  readRegister16,
  readWholeRegister64,
  writeRegister,
  writeRegister8,
  writeRegister16,
  writeWholeRegister64,
} from "../sys/mmio.js";
import type { DeviceIo } from "../vfio/device-io.js";
import type { BarParts } from "./bar-parts.js";
import { halvesOf, longsOf } from "./bar-views.js";

/** Offsets are in bytes, inside the BAR, and multiples of the width: {@link Bar} has checked them, and the values. */
export class BarRest {
  constructor(
    private readonly io: DeviceIo,
    private readonly index: number,
    private readonly parts: BarParts | undefined,
  ) {}

  read8(offset: number): number {
    const part = this.parts?.at(offset);
    if (part === undefined) return this.load(offset, 1).getUint8(0);
    return readRegister8(part.memory.bytes, offset - part.offset);
  }

  read16(offset: number): number {
    const part = this.parts?.at(offset);
    if (part === undefined) return this.load(offset, 2).getUint16(0, true);
    return readRegister16(halvesOf(part.memory.bytes), (offset - part.offset) / 2);
  }

  read32(offset: number): number {
    const part = this.parts?.at(offset);
    if (part === undefined) return this.load(offset, 4).getUint32(0, true);
    return readRegister(part.memory.words, (offset - part.offset) / 4);
  }

  /** Two 32-bit reads, low half first. */
  read64(offset: number): bigint {
    return BigInt(this.read32(offset)) | (BigInt(this.read32(offset + 4)) << 32n);
  }

  /** One 64-bit read. */
  readWhole64(offset: number): bigint {
    const part = this.parts?.at(offset);
    if (part === undefined) return this.load(offset, 8).getBigUint64(0, true);
    return readWholeRegister64(longsOf(part.memory.bytes), (offset - part.offset) / 8);
  }

  write8(offset: number, value: number): void {
    const part = this.parts?.at(offset);
    if (part === undefined) this.store(offset, Uint8Array.of(value));
    else writeRegister8(part.memory.bytes, offset - part.offset, value);
  }

  write16(offset: number, value: number): void {
    const part = this.parts?.at(offset);
    if (part === undefined) this.store(offset, Uint16Array.of(value));
    else writeRegister16(halvesOf(part.memory.bytes), (offset - part.offset) / 2, value);
  }

  write32(offset: number, value: number): void {
    const part = this.parts?.at(offset);
    if (part === undefined) this.store(offset, Uint32Array.of(value));
    else writeRegister(part.memory.words, (offset - part.offset) / 4, value);
  }

  /** Two 32-bit writes, low half first; by one call if the device takes several at once. */
  write64(offset: number, value: bigint): void {
    if (this.io.writeRegions !== undefined && this.parts?.touches(offset, 8) !== true) {
      const bytes = bytesOf(BigUint64Array.of(value));
      this.io.writeRegions(this.index, [
        { offset, source: bytes.subarray(0, 4) },
        { offset: offset + 4, source: bytes.subarray(4) },
      ]);
      return;
    }
    this.write32(offset, Number(value & 0xffff_ffffn));
    this.write32(offset + 4, Number(value >> 32n));
  }

  /** One 64-bit write. */
  writeWhole64(offset: number, value: bigint): void {
    const part = this.parts?.at(offset);
    if (part === undefined) this.store(offset, BigUint64Array.of(value));
    else writeWholeRegister64(longsOf(part.memory.bytes), (offset - part.offset) / 8, value);
  }

  private load(offset: number, width: number): DataView {
    const bytes = new Uint8Array(width);
    this.io.readRegion(this.index, offset, bytes);
    return new DataView(bytes.buffer);
  }

  private store(offset: number, value: ArrayBufferView<ArrayBuffer>): void {
    this.io.writeRegion(this.index, offset, bytesOf(value));
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
