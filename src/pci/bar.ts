/** A base address register of a PCI function: register accesses, by load and store or through the device. */
import { checkInteger, checkOffset, checkU64 } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";
import { Lease } from "../core/lifetime/lease.js";
import { type MappedRegisters, NOT_MAPPED, type RegisterAccess } from "../registers/access.js";
import type { MappedMemory } from "../sys/memory.js";
import {
  readRegister,
  readRegister8,
  readRegister16,
  readRegister64,
  readWholeRegister64,
  writeRegister,
  writeRegister8,
  writeRegister16,
  writeRegister64,
  writeWholeRegister64,
} from "../sys/mmio.js";
import { checkDeviceIo, type DeviceIo, type RegionInfo } from "../vfio/device-io.js";
import { canMap, mappablePages } from "../vfio/region.js";
import { BarParts } from "./bar-parts.js";
import { BarRest } from "./bar-rest.js";
import { sleepOf } from "./bar-sleep.js";
import { halvesOf, longsOf } from "./bar-views.js";
import { presenceOf } from "./presence.js";

/**
 * The range of a base address register (BAR). Accesses to pages that can be mapped are loads and stores; each other access is
 * a system call or a message. Each is one access of the given width, except that the kernel may make two of a 64-bit system call.
 */
export class Bar implements RegisterAccess {
  /** Length in bytes. */
  readonly sizeBytes: number;
  private readonly region: RegionInfo;
  private mapping: MappedMemory | undefined;
  private readonly views: MappedRegisters = { ...NOT_MAPPED };
  /** Where only parts can be mapped. */
  private readonly parts: BarParts | undefined;
  /** Where the whole can't be mapped. */
  private readonly rest: BarRest;

  constructor(
    private readonly io: DeviceIo,
    /** BAR number, 0 to 5. */
    readonly index: number,
  ) {
    checkDeviceIo(io);
    checkInteger("BAR index", index, 0, 5);
    this.region = io.regionInfo(index);
    this.sizeBytes = this.region.sizeBytes;
    if (this.sizeBytes === 0) throw new ArgumentError(`${io.lease.label} has no BAR ${index}`);
    const areas = canMap(this.region, 0, this.sizeBytes) ? [] : mappablePages(this.region);
    if (areas.length > 0)
      this.parts = new BarParts(areas, (offset, sizeBytes) => this.map(offset, sizeBytes));
    this.rest = new BarRest(io, index, this.parts);
  }

  /** Names it in errors. */
  get label(): string {
    return `BAR ${this.index} of ${this.io.lease.label}`;
  }

  /**
   * The views through which declared registers are loaded and stored.
   * @internal
   */
  get mapped(): MappedRegisters {
    if (!sleepOf(this.io).isAsleep) this.memory();
    return this.views;
  }

  /** @param offset bytes @throws ArgumentError, ClosedError, SysError */
  read8(offset: number): number {
    this.check(offset, 1, 1);
    const bytes = this.memory()?.bytes;
    return bytes === undefined ? this.rest.read8(offset) : readRegister8(bytes, offset);
  }

  /** @param offset bytes, multiple of 2 @throws ArgumentError, ClosedError, SysError */
  read16(offset: number): number {
    this.check(offset, 2, 2);
    const bytes = this.memory()?.bytes;
    if (bytes === undefined) return this.rest.read16(offset);
    return readRegister16(this.views.halves ?? halvesOf(bytes), offset / 2);
  }

  /** @param offset bytes, multiple of 4 @throws ArgumentError, ClosedError, SysError */
  read32(offset: number): number {
    this.check(offset, 4, 4);
    const words = this.memory()?.words;
    return words === undefined ? this.rest.read32(offset) : readRegister(words, offset / 4);
  }

  /** Two 32-bit reads, low half first. @param offset bytes, multiple of 4 @throws as {@link read32} */
  read64(offset: number): bigint {
    this.check(offset, 8, 4);
    const words = this.memory()?.words;
    return words === undefined ? this.rest.read64(offset) : readRegister64(words, offset / 4);
  }

  /** One 64-bit read. @param offset bytes, multiple of 8 @throws as {@link read32} */
  readWhole64(offset: number): bigint {
    this.check(offset, 8, 8);
    const bytes = this.memory()?.bytes;
    if (bytes === undefined) return this.rest.readWhole64(offset);
    return readWholeRegister64(this.views.longs ?? longsOf(bytes), offset / 8);
  }

  /** @param offset bytes @throws ArgumentError, ClosedError, SysError */
  write8(offset: number, value: number): void {
    this.check(offset, 1, 1);
    checkInteger("value", value, 0, 0xff);
    const bytes = this.memory()?.bytes;
    if (bytes === undefined) this.rest.write8(offset, value);
    else writeRegister8(bytes, offset, value);
  }

  /** @param offset bytes, multiple of 2 @throws ArgumentError, ClosedError, SysError */
  write16(offset: number, value: number): void {
    this.check(offset, 2, 2);
    checkInteger("value", value, 0, 0xffff);
    const bytes = this.memory()?.bytes;
    if (bytes === undefined) this.rest.write16(offset, value);
    else writeRegister16(this.views.halves ?? halvesOf(bytes), offset / 2, value);
  }

  /**
   * @param offset bytes, multiple of 4
   * @param value a negative number, as JavaScript's bit operators make, stands for its 32 bits
   * @throws ArgumentError, ClosedError, SysError
   */
  write32(offset: number, value: number): void {
    this.check(offset, 4, 4);
    const bits = typeof value === "number" && (value | 0) === value ? value >>> 0 : value;
    checkInteger("value", bits, 0, 0xffff_ffff);
    const words = this.memory()?.words;
    if (words === undefined) this.rest.write32(offset, bits);
    else writeRegister(words, offset / 4, bits);
  }

  /** Two 32-bit writes, low half first. @param offset bytes, multiple of 4 @throws as {@link write32} */
  write64(offset: number, value: bigint): void {
    this.check(offset, 8, 4);
    checkU64("value", value);
    const words = this.memory()?.words;
    if (words === undefined) this.rest.write64(offset, value);
    else writeRegister64(words, offset / 4, value);
  }

  /** One 64-bit write. @param offset bytes, multiple of 8 @throws as {@link write32} */
  writeWhole64(offset: number, value: bigint): void {
    this.check(offset, 8, 8);
    checkU64("value", value);
    const bytes = this.memory()?.bytes;
    if (bytes === undefined) this.rest.writeWhole64(offset, value);
    else writeWholeRegister64(this.views.longs ?? longsOf(bytes), offset / 8, value);
  }

  /**
   * Maps part of the BAR, for code that uses the functions of `sys/mmio`.
   * @param offset page aligned
   * @throws ArgumentError, UnsupportedError, StateError while the device sleeps, SysError
   */
  map(offset = 0, sizeBytes?: number): MappedMemory {
    checkOffset("offset", offset, this.sizeBytes);
    sleepOf(this.io).assertAwake(`${this.label} can't be mapped`);
    return this.io.mapRegion(this.index, offset, sizeBytes ?? this.sizeBytes - offset);
  }

  /** Whether the function no longer answers: its revision and class read all ones. @throws ClosedError, SysError */
  isGone(): boolean {
    return presenceOf(this.io).isGone();
  }

  /** Ends waits when the device goes or is requested back. */
  waitSignal(): AbortSignal {
    return presenceOf(this.io).waitSignal;
  }

  /** The mapping of the whole BAR, made at first use; undefined if it can't be mapped as a whole. */
  private memory(): MappedMemory | undefined {
    this.io.lease.assertOpen();
    if (this.mapping === undefined) {
      const sleep = sleepOf(this.io);
      sleep.assertAwake(`${this.label} can't be accessed`);
      if (this.parts !== undefined) sleep.mapped.add(this);
      if (!canMap(this.region, 0, this.sizeBytes)) return undefined;
      this.mapping = this.map();
      this.showViews(this.mapping);
      sleep.mapped.add(this);
    }
    return this.mapping;
  }

  /**
   * Ends the mappings until the next access. Closing that of the whole BAR hides the views.
   * @internal
   */
  unmap(): void {
    this.parts?.unmap();
    this.mapping?.close();
    this.mapping = undefined;
  }

  /** Makes declared registers load and store until the mapping closes. */
  private showViews(mapping: MappedMemory): void {
    const { views } = this;
    const show = (): void => {
      const { bytes, words } = mapping;
      Object.assign(views, { bytes, halves: halvesOf(bytes), words, longs: longsOf(bytes) });
    };
    const hide = hiding(views);
    // A file that can be truncated must be checked before each access, and a server that comes back may have another file.
    const choose = (): void => (mapping.canShrink ? hide() : show());
    choose();
    mapping.shrinkChange = choose;
    new Lease(`registers of ${this.label}`, hiding(views), mapping.lease);
  }

  private check(offset: number, width: number, alignBytes: number): void {
    checkInteger("offset", offset, 0, this.sizeBytes - width);
    if (offset % alignBytes !== 0)
      throw new ArgumentError(`register offset ${offset} is not a multiple of ${alignBytes}`);
  }
}

/** A function of its own, so that the lease, which outlives the bar, refers to the views alone. */
function hiding(views: MappedRegisters): () => void {
  return () => void Object.assign(views, NOT_MAPPED);
}
