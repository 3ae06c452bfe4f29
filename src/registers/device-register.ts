/** A register as its device sees it: it holds a value, and keeps what the declaration promises the driver. */
import { ArgumentError } from "../core/errors.js";
import type { Arithmetic } from "./bits.js";
import type { RegisterSpec } from "./declaration.js";
import type { RegisterField } from "./field.js";
import type { FieldSpec, RegisterRights } from "./field-spec.js";

/** What a driver's write means to a handler. */
export interface DriverWrite<V> {
  /** What the register holds from now on, by its declaration, unless the handler returns another value. */
  readonly next: V;
  /** What it held before. */
  readonly before: V;
  /** Indexes of the arrays around it, outermost first. */
  readonly at: readonly number[];
}

/** What a device does when its driver reads or writes a register. */
export interface RegisterHandler<V> {
  /** Called before a driver's read. @returns what the driver reads; undefined for the value held */
  read?(held: V, at: readonly number[]): V | undefined;
  /** Called for a driver's write. @returns what the register holds from now on; undefined for `next` */
  // biome-ignore lint/suspicious/noConfusingVoidType: a handler that returns nothing is a function without return.
  write?(written: V, how: DriverWrite<V>): V | undefined | void;
}

/** How a value is stored in bytes, little-endian. */
interface Bytes<V> {
  readonly load: (view: DataView) => V;
  readonly store: (view: DataView, value: V) => void;
}

/** A register of a device in software. */
export class DeviceRegister<V extends number | bigint = number | bigint> {
  /** The fields, for values that a handler gets. */
  readonly fields: Readonly<Record<string, RegisterField<V>>>;
  private readonly view: DataView;
  /** Masks by access of the field. */
  private readonly fixed: V;
  private readonly clearedByOnes: V;
  private readonly clearedByReads: V;
  private held: V;

  /** @internal */
  constructor(
    /** With the names of the blocks around it: `queues[1].tail`. */
    readonly name: string,
    /** Bytes from the start of the block. */
    readonly offset: number,
    private readonly spec: RegisterSpec,
    private readonly handler: RegisterHandler<V>,
    private readonly at: readonly number[],
    private readonly math: Arithmetic<V>,
    private readonly bytes: Bytes<V>,
    fieldOf: (name: string, spec: FieldSpec, rights: RegisterRights) => RegisterField<V>,
  ) {
    const fields = Object.entries(spec.fields).map(([field, each]) =>
      fieldOf(field, each, each.access ?? spec.access),
    );
    this.fields = Object.fromEntries(fields.map((field) => [field.name, field]));
    const maskOf = (...rights: RegisterRights[]): V => {
      const own = fields.filter((field) => rights.includes(field.rights));
      const named = own.reduce((mask, field) => math.or(mask, field.mask), math.zero);
      if (!rights.includes(spec.access)) return named;
      // Bits without a field have the register's access.
      const inFields = fields.reduce((mask, field) => math.or(mask, field.mask), math.zero);
      return math.or(named, math.without(math.allOnes, inFields));
    };
    this.fixed = maskOf("ro", "rc");
    this.clearedByOnes = maskOf("w1c");
    this.clearedByReads = maskOf("rc");
    this.view = new DataView(new ArrayBuffer(spec.width / 8));
    this.held = math.zero;
    this.reset();
  }

  /** Bytes. */
  get widthBytes(): number {
    return this.spec.width / 8;
  }

  /** What it holds. Setting it calls no handler. @throws ArgumentError if it is too wide */
  get value(): V {
    return this.held;
  }

  set value(value: V) {
    this.held = this.math.check(`register ${this.name}`, value);
  }

  /** A field of the value. @throws ArgumentError if there is no such field */
  get(field: string): unknown {
    return this.field(field).of(this.held);
  }

  /** Changes fields of the value, of any access. @throws ArgumentError, with nothing changed */
  set(values: Readonly<Record<string, unknown>>): void {
    let next = this.held;
    for (const [name, value] of Object.entries(values)) {
      const field = this.field(name);
      next = this.math.or(this.math.without(next, field.mask), field.bits(value));
    }
    this.held = next;
  }

  /** Takes the declared reset value, or 0. */
  reset(): void {
    this.held = this.math.check(`reset value of register ${this.name}`, this.spec.reset ?? this.math.zero);
  }

  /**
   * A driver's read. @returns its bytes, valid until the next call
   * @internal
   */
  driverRead(): Uint8Array {
    const { handler, math } = this;
    const value = handler.read?.(this.held, this.at) ?? this.held;
    this.bytes.store(this.view, math.check(`value of register ${this.name}`, value));
    this.held = math.without(this.held, this.clearedByReads);
    return new Uint8Array(this.view.buffer);
  }

  /**
   * A driver's write of some or all bytes. Bytes that aren't written keep what is rw, and don't clear what is w1c.
   * @param first index of the first byte
   * @internal
   */
  driverWrite(first: number, source: Uint8Array): void {
    const { math, handler, held: before } = this;
    const kept = this.spec.access === "rw" ? math.without(before, this.clearedByOnes) : math.zero;
    this.bytes.store(this.view, kept);
    new Uint8Array(this.view.buffer).set(source, first);
    const written = this.bytes.load(this.view);
    const next = this.afterWrite(before, written);
    const chosen = handler.write?.(written, { next, before, at: this.at });
    this.held = chosen === undefined ? next : math.check(`value of register ${this.name}`, chosen);
  }

  /** What it holds, to be given to {@link load}. @internal */
  save(view: DataView): void {
    view.setBigUint64(0, BigInt(this.held), true);
  }

  /** @throws ArgumentError if the value is too wide @internal */
  load(view: DataView): void {
    const value = view.getBigUint64(0, true);
    if (value >> BigInt(this.spec.width) !== 0n)
      throw new ArgumentError(`register ${this.name} has ${this.spec.width} bits, and can't hold ${value}`);
    this.bytes.store(this.view, this.math.zero);
    const bytes = new Uint8Array(view.buffer, view.byteOffset, this.widthBytes);
    new Uint8Array(this.view.buffer).set(bytes);
    this.held = this.bytes.load(this.view);
  }

  private afterWrite(before: V, written: V): V {
    const { math } = this;
    const stored = math.without(math.allOnes, math.or(this.fixed, this.clearedByOnes));
    const kept = math.without(math.without(before, stored), math.and(written, this.clearedByOnes));
    return math.or(kept, math.and(written, stored));
  }

  private field(name: string): RegisterField<V> {
    const field = Object.hasOwn(this.fields, name) ? this.fields[name] : undefined;
    if (field !== undefined) return field;
    const names = Object.keys(this.fields).join(", ");
    throw new ArgumentError(
      `register ${this.name} has no field ${name}: it has ${names === "" ? "none" : names}`,
    );
  }
}
