/**
 * A word of every descriptor of a ring, read and written by slot: one class for each width, so that an access compiles to a load
 * or store and makes no object. The rules of sys/mmio.ts hold here, too: a device may write the memory at any time, so a read is
 * Atomics.load, which V8 neither moves nor drops, and which on arm64 comes before all later loads.
 */
import { show } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";
import { type Arithmetic, bigints, numbers } from "../registers/bits.js";
import type { RegisterSpec } from "../registers/declaration.js";
import { narrowField, type RegisterField, wideField } from "../registers/field.js";
import { isWritable } from "../registers/field-spec.js";
import { type FieldMaker, FieldTable, type FieldValues } from "../registers/field-table.js";
import type { SlotMemory } from "./memory.js";
import type { NarrowColumn } from "./types.js";

/** What columns of all widths have in common. */
abstract class Column<V extends number | bigint> {
  /** The fields, for values that were read. */
  readonly fields: Readonly<Record<string, RegisterField<V>>>;
  protected readonly count: number;
  /** How many slots can be written: none of a word that only the device writes. */
  protected readonly writable: number;
  /** In elements of the column's width. */
  protected readonly first: number;
  /** In elements of the column's width. */
  protected readonly stride: number;
  private readonly table: FieldTable<V>;

  protected constructor(
    protected readonly memory: SlotMemory,
    /** Its name. */
    readonly name: string,
    spec: RegisterSpec,
    math: Arithmetic<V>,
    make: FieldMaker<V>,
    /** Of the column's elements. */
    elementBytes: number,
  ) {
    this.table = new FieldTable(() => `${name} of ${memory.label}`, math, spec, make);
    this.fields = this.table.byName;
    this.count = memory.count;
    this.writable = isWritable(spec.access) ? memory.count : 0;
    this.first = spec.offset / elementBytes;
    this.stride = memory.slotBytes / elementBytes;
  }

  /** The word of a slot. @throws ArgumentError if there is no such slot */
  abstract read(slot: number): V;

  /** Writes the word of a slot. @throws ArgumentError: read-only, no such slot, too wide, no such field */
  abstract write(slot: number, value: V | FieldValues): void;

  /** All fields of a slot's word. @throws ArgumentError if there is no such slot */
  decode(slot: number): Record<string, unknown> {
    return this.table.decode(this.read(slot));
  }

  protected pack(value: V | FieldValues): V {
    return this.table.pack(value);
  }

  /** Never returns. */
  protected noSlot(slot: unknown): never {
    throw new ArgumentError(
      `${this.memory.label} has slots 0 to ${this.count - 1}, got ${show(slot)} for ${this.name}`,
    );
  }

  /** Never returns. */
  protected notWritable(slot: unknown): never {
    if (this.writable > 0) this.noSlot(slot);
    throw new ArgumentError(
      `${this.name} of ${this.memory.label} is read-only, because only the device writes it: declare it rw if the driver does, too. A model of the device takes forDevice()`,
    );
  }
}

const math8 = numbers(8);
const math16 = numbers(16);
const math32 = numbers(32);

/** @internal */
export class Column8 extends Column<number> implements NarrowColumn {
  private readonly elements: Uint8Array;

  constructor(memory: SlotMemory, name: string, spec: RegisterSpec) {
    super(memory, name, spec, math8, narrowField, 1);
    this.elements = memory.bytes;
  }

  override read(slot: number): number {
    if (typeof slot !== "number" || slot >>> 0 !== slot || slot >= this.count) this.noSlot(slot);
    return Atomics.load(this.elements, this.first + slot * this.stride);
  }

  readSettled(slot: number): number {
    if (typeof slot !== "number" || slot >>> 0 !== slot || slot >= this.count) this.noSlot(slot);
    return this.elements[this.first + slot * this.stride] ?? 0;
  }

  override write(slot: number, value: number | FieldValues): void {
    if (typeof slot !== "number" || slot >>> 0 !== slot || slot >= this.writable) this.notWritable(slot);
    const bits = typeof value === "number" && (value & 0xff) === value ? value : this.pack(value);
    this.elements[this.first + slot * this.stride] = bits;
  }
}

/** @internal */
export class Column16 extends Column<number> implements NarrowColumn {
  private readonly elements: Uint16Array;

  constructor(memory: SlotMemory, name: string, spec: RegisterSpec) {
    super(memory, name, spec, math16, narrowField, 2);
    this.elements = memory.halves;
  }

  override read(slot: number): number {
    if (typeof slot !== "number" || slot >>> 0 !== slot || slot >= this.count) this.noSlot(slot);
    return Atomics.load(this.elements, this.first + slot * this.stride);
  }

  readSettled(slot: number): number {
    if (typeof slot !== "number" || slot >>> 0 !== slot || slot >= this.count) this.noSlot(slot);
    return this.elements[this.first + slot * this.stride] ?? 0;
  }

  override write(slot: number, value: number | FieldValues): void {
    if (typeof slot !== "number" || slot >>> 0 !== slot || slot >= this.writable) this.notWritable(slot);
    const bits = typeof value === "number" && (value & 0xffff) === value ? value : this.pack(value);
    this.elements[this.first + slot * this.stride] = bits;
  }
}

/** What a store takes modulo 2^32: negative numbers are the 32 bits that JavaScript's bit operators made. */
function isWord(value: unknown): value is number {
  return typeof value === "number" && (value >>> 0 === value || (value | 0) === value);
}

/** @internal */
export class Column32 extends Column<number> implements NarrowColumn {
  private readonly elements: Uint32Array;

  constructor(memory: SlotMemory, name: string, spec: RegisterSpec) {
    super(memory, name, spec, math32, narrowField, 4);
    this.elements = memory.words;
  }

  override read(slot: number): number {
    if (typeof slot !== "number" || slot >>> 0 !== slot || slot >= this.count) this.noSlot(slot);
    return Atomics.load(this.elements, this.first + slot * this.stride);
  }

  readSettled(slot: number): number {
    if (typeof slot !== "number" || slot >>> 0 !== slot || slot >= this.count) this.noSlot(slot);
    return this.elements[this.first + slot * this.stride] ?? 0;
  }

  override write(slot: number, value: number | FieldValues): void {
    if (typeof slot !== "number" || slot >>> 0 !== slot || slot >= this.writable) this.notWritable(slot);
    this.elements[this.first + slot * this.stride] = isWord(value) ? value : this.pack(value);
  }
}

const HALF_BITS = 32n;
const LOW_HALF = 0xffff_ffffn;

/** @internal */
export class Column64 extends Column<bigint> {
  private readonly elements: Uint32Array;

  constructor(memory: SlotMemory, name: string, spec: RegisterSpec) {
    super(memory, name, spec, bigints, wideField, 4);
    this.elements = memory.words;
  }

  override read(slot: number): bigint {
    return (BigInt(this.readHigh(slot)) << HALF_BITS) | BigInt(this.readLow(slot));
  }

  override write(slot: number, value: bigint | FieldValues): void {
    if (this.writable === 0) this.notWritable(slot);
    const bits = this.pack(value);
    this.writeHalves(slot, Number(bits & LOW_HALF), Number(bits >> HALF_BITS));
  }

  /** The low 32 bits, without a bigint. */
  readLow(slot: number): number {
    if (typeof slot !== "number" || slot >>> 0 !== slot || slot >= this.count) this.noSlot(slot);
    return Atomics.load(this.elements, this.first + slot * this.stride);
  }

  /** The high 32 bits, without a bigint. */
  readHigh(slot: number): number {
    if (typeof slot !== "number" || slot >>> 0 !== slot || slot >= this.count) this.noSlot(slot);
    return Atomics.load(this.elements, this.first + slot * this.stride + 1);
  }

  /** Writes both halves, without a bigint. */
  writeHalves(slot: number, low: number, high: number): void {
    if (typeof slot !== "number" || slot >>> 0 !== slot || slot >= this.writable) this.notWritable(slot);
    const at = this.first + slot * this.stride;
    const { elements } = this;
    if (isWord(low) && isWord(high)) {
      elements[at] = low;
      elements[at + 1] = high;
    } else {
      const checked = math32.check(`the low half of ${this.name}`, low);
      elements[at + 1] = math32.check(`the high half of ${this.name}`, high);
      elements[at] = checked;
    }
  }
}
