/**
 * Registers that are read and written: one class for each width, so that an access compiles to a load or store. The rules of
 * sys/mmio.ts hold here, too: Atomics.load and a plain store. They are written out, because V8 looks up an imported name at
 * each use.
 */
import { show } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";
import { readRegister64, readWholeRegister64, writeRegister64, writeWholeRegister64 } from "../sys/mmio.js";
import { type MappedRegisters, NOT_MAPPED, type RegisterAccess } from "./access.js";
import { type Arithmetic, bigints, numbers } from "./bits.js";
import type { HalvesOrder, RegisterSpec } from "./declaration.js";
import { narrowField, type RegisterField, wideField } from "./field.js";
import { isReadable, isWritable, type RegisterRights } from "./field-spec.js";
import { type FieldMaker, FieldTable, type FieldValues, isNamedFields, named } from "./field-table.js";
import { type WaitOptions, waitFor } from "./wait.js";

/** A register in a dump. */
export interface DumpedRegister {
  /** With the names of the blocks around it: `queues[1].tail`. */
  readonly name: string;
  /** Bytes from the start of the registers' memory. */
  readonly offset: number;
  /** In hexadecimal; undefined if it can't be read, or if reading would change it. */
  readonly value: string | undefined;
  /** Its fields, decoded. */
  readonly fields: Readonly<Record<string, unknown>>;
}

/** What registers of all widths have in common. */
export abstract class Register<V extends number | bigint = number | bigint> {
  /** Bytes from the start of the registers' memory. */
  readonly offset: number;
  /** The fields, for values that were read. */
  readonly fields: Readonly<Record<string, RegisterField<V>>>;
  private readonly rights: RegisterRights;
  protected readonly readFrom: Readonly<MappedRegisters>;
  protected readonly writeTo: Readonly<MappedRegisters>;
  /** Bits that modify() must write as 0: 1 would clear them. */
  private readonly clearedByOnes: V;
  private readonly table: FieldTable<V>;

  protected constructor(
    protected readonly access: RegisterAccess,
    /** Its name, with that of the blocks around it: `queues[1].tail`. */
    readonly name: string,
    spec: RegisterSpec,
    private readonly math: Arithmetic<V>,
    at: number,
    fieldOf: FieldMaker<V>,
  ) {
    this.offset = at;
    this.rights = spec.access;
    // What mustn't be read or written counts as not mapped: then each access is a call, which refuses it.
    const mapped = access.mapped ?? NOT_MAPPED;
    this.readFrom = isReadable(spec.access) ? mapped : NOT_MAPPED;
    this.writeTo = isWritable(spec.access) ? mapped : NOT_MAPPED;
    this.table = new FieldTable(() => this.label, math, spec, fieldOf);
    this.fields = this.table.byName;
    this.clearedByOnes = this.table.clearedByOnes();
  }

  /** Reads it. @throws ClosedError, DeviceGoneError, SysError; ArgumentError if it is write-only */
  abstract read(): V;

  /**
   * Writes it.
   * @param value the register's value, or fields by name; fields that aren't named are written as 0
   * @throws ArgumentError (too wide, no such field, read-only), ClosedError, DeviceGoneError, SysError
   */
  abstract write(value: V | FieldValues): void;

  /** Reads the register. @returns the field's value @throws ArgumentError if there is no such field; as {@link read} */
  get(field: string): unknown {
    return this.table.readable(field).of(this.read());
  }

  /** The values of all fields. @param value as it was read; reads the register by default */
  decode(value: V = this.read()): Record<string, unknown> {
    return this.table.decode(value);
  }

  /**
   * Reads the register and writes it with some fields changed. Fields that a 1 would clear are written as 0 unless they are
   * named. Another writer between the two accesses is overwritten.
   * @throws ArgumentError, with nothing written; as {@link read}
   */
  modify(values: FieldValues): void {
    if (this.rights !== "rw")
      throw new ArgumentError(`${this.label} is ${this.rights}: only registers that are rw can be modified`);
    const { math } = this;
    checkFields(`the fields for ${this.label}`, values);
    const changes = named(values).map(([name, value]) => [this.table.writable(name), value] as const);
    const placed = changes.map(([field, value]) => [field.mask, field.bits(value)] as const);
    let next = math.without(this.read(), this.clearedByOnes);
    for (const [mask, bits] of placed) next = math.or(math.without(next, mask), bits);
    this.write(next);
  }

  /**
   * Waits until fields have these values, or until a test of the register's value is true. All ones from a device that is gone
   * end the wait.
   * @param wanted all of these fields, or a test
   * @returns the register's value
   * @throws as a rejection: ArgumentError, TimeoutError, DeviceGoneError, the signal's reason; as {@link read}
   */
  async until(wanted: FieldValues | ((value: V) => boolean), options: WaitOptions): Promise<V> {
    const { math } = this;
    const isMet = typeof wanted === "function" ? this.asked(wanted) : this.tester(wanted);
    return await waitFor(
      {
        read: () => this.read(),
        isMet,
        deviceSignal: () => this.access.waitSignal?.(),
        isGone: (value) => value === math.allOnes && this.access.isGone?.() === true,
        describe: (value) => `${this.label} reads ${math.format(value)}${wish(wanted)}`,
      },
      options,
    );
  }

  /** Its value and fields, unless reading is impossible or has an effect. @throws as {@link read} */
  dump(): DumpedRegister {
    const { name, offset, rights } = this;
    if (!isReadable(rights) || rights === "rc") return { name, offset, value: undefined, fields: {} };
    const value = this.read();
    return { name, offset, value: this.math.format(value), fields: this.decode(value) };
  }

  /** Names it in errors. */
  protected get label(): string {
    return `register ${this.name} of ${this.access.label}`;
  }

  /** @throws ArgumentError for a value too wide or a field that can't be written */
  protected pack(value: V | FieldValues): V {
    return this.table.pack(value);
  }

  protected checkReadable(): void {
    if (!isReadable(this.rights)) throw new ArgumentError(`${this.label} is write-only`);
  }

  protected checkWritable(): void {
    if (!isWritable(this.rights)) throw new ArgumentError(`${this.label} is read-only`);
  }

  /** A test that must answer at once: a promise would count as true. */
  private asked(test: (value: V) => boolean): (value: V) => boolean {
    return (value) => {
      const answer: unknown = test(value);
      if (typeof answer === "boolean") return answer;
      throw new ArgumentError(`the test of ${this.label} must return true or false, got ${show(answer)}`);
    };
  }

  private tester(wanted: FieldValues): (value: V) => boolean {
    const { math } = this;
    checkFields(`what ${this.label} is to be`, wanted);
    const tests = named(wanted).map(([name, value]) => {
      const field = this.table.readable(name);
      return [field, field.bits(value)] as const;
    });
    return (value) => tests.every(([{ mask }, bits]) => math.and(value, mask) === bits);
  }
}

function checkFields(what: string, value: unknown): void {
  if (!isNamedFields(value) || Object.keys(value).length === 0)
    throw new ArgumentError(`${what} must be an object of field names and values, got ${show(value)}`);
}

function wish(wanted: unknown): string {
  if (typeof wanted !== "object" || wanted === null) return "";
  const fields = Object.entries(wanted).map(([name, value]) => `${name} = ${String(value)}`);
  return `, waiting for ${fields.join(", ")}`;
}

const math8 = numbers(8);
const math16 = numbers(16);
const math32 = numbers(32);

/** @internal */
export class Register8 extends Register<number> {
  constructor(access: RegisterAccess, name: string, spec: RegisterSpec, at: number) {
    super(access, name, spec, math8, at, narrowField);
  }

  override read(): number {
    const { bytes } = this.readFrom;
    if (bytes !== undefined) return Atomics.load(bytes, this.offset);
    this.checkReadable();
    return this.access.read8(this.offset);
  }

  override write(value: number | FieldValues): void {
    const { bytes } = this.writeTo;
    const bits = this.pack(value);
    if (bytes !== undefined) bytes[this.offset] = bits;
    else {
      this.checkWritable();
      this.access.write8(this.offset, bits);
    }
  }
}

/** @internal */
export class Register16 extends Register<number> {
  private readonly index: number;

  constructor(access: RegisterAccess, name: string, spec: RegisterSpec, at: number) {
    super(access, name, spec, math16, at, narrowField);
    this.index = at / 2;
  }

  override read(): number {
    const { halves } = this.readFrom;
    if (halves !== undefined) return Atomics.load(halves, this.index);
    this.checkReadable();
    return this.access.read16(this.offset);
  }

  override write(value: number | FieldValues): void {
    const { halves } = this.writeTo;
    const bits = this.pack(value);
    if (halves !== undefined) halves[this.index] = bits;
    else {
      this.checkWritable();
      this.access.write16(this.offset, bits);
    }
  }
}

/** @internal */
export class Register32 extends Register<number> {
  private readonly index: number;

  constructor(access: RegisterAccess, name: string, spec: RegisterSpec, at: number) {
    super(access, name, spec, math32, at, narrowField);
    this.index = at / 4;
  }

  override read(): number {
    const { words } = this.readFrom;
    if (words !== undefined) return Atomics.load(words, this.index);
    this.checkReadable();
    return this.access.read32(this.offset);
  }

  override write(value: number | FieldValues): void {
    const { words } = this.writeTo;
    // The store takes a number from -2^31 on modulo 2^32, so the hot path needs no conversion.
    if (
      words !== undefined &&
      typeof value === "number" &&
      (value >>> 0 === value || (value | 0) === value)
    ) {
      words[this.index] = value;
    } else this.writeChecked(value);
  }

  private writeChecked(value: number | FieldValues): void {
    this.checkWritable();
    const { words } = this.writeTo;
    const bits = this.pack(value);
    if (words !== undefined) words[this.index] = bits;
    else this.access.write32(this.offset, bits);
  }
}

const HALF_BITS = 32n;
const LOW_HALF = 0xffff_ffffn;

/** @internal */
export class Register64 extends Register<bigint> {
  private readonly index: number;
  private readonly order: HalvesOrder;

  constructor(access: RegisterAccess, name: string, spec: RegisterSpec, at: number) {
    super(access, name, spec, bigints, at, wideField);
    this.order = spec.order;
    this.index = at / (spec.order === "whole" ? 8 : 4);
  }

  override read(): bigint {
    const { words, longs } = this.readFrom;
    if (this.order === "whole") {
      if (longs !== undefined) return readWholeRegister64(longs, this.index);
    } else if (words !== undefined) return readRegister64(words, this.index, this.order === "high-first");
    this.checkReadable();
    if (this.order === "whole") return this.access.readWhole64(this.offset);
    const first = this.order === "low-first" ? 0 : 4;
    const one = BigInt(this.access.read32(this.offset + first));
    const other = BigInt(this.access.read32(this.offset + 4 - first));
    return first === 0 ? (other << HALF_BITS) | one : (one << HALF_BITS) | other;
  }

  override write(value: bigint | FieldValues): void {
    this.checkWritable();
    const { words, longs } = this.writeTo;
    const bits = this.pack(value);
    if (this.order === "whole") {
      if (longs !== undefined) writeWholeRegister64(longs, this.index, bits);
      else this.access.writeWhole64(this.offset, bits);
    } else if (words !== undefined) writeRegister64(words, this.index, bits, this.order === "high-first");
    else {
      const low = (): void => this.access.write32(this.offset, Number(bits & LOW_HALF));
      const high = (): void => this.access.write32(this.offset + 4, Number(bits >> HALF_BITS));
      if (this.order === "high-first") high();
      low();
      if (this.order === "low-first") high();
    }
  }
}
