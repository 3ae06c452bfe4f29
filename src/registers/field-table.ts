/** The fields of one declared word by name: finds them, and makes the word's value from theirs. */
import { ArgumentError } from "../core/errors.js";
import type { Arithmetic } from "./bits.js";
import type { RegisterSpec } from "./declaration.js";
import type { RegisterField } from "./field.js";
import { type FieldSpec, isReadable, isWritable, type RegisterRights } from "./field-spec.js";

/** Field values by name. */
export type FieldValues = Readonly<Record<string, unknown>>;

/** Makes a field's object. */
export type FieldMaker<V extends number | bigint> = (
  name: string,
  spec: FieldSpec,
  rights: RegisterRights,
) => RegisterField<V>;

/** The fields of a word. */
export class FieldTable<V extends number | bigint> {
  /** All fields. */
  readonly byName: Readonly<Record<string, RegisterField<V>>>;
  private readonly all: ReadonlyMap<string, RegisterField<V>>;

  /** @param label names the word in errors */
  constructor(
    private readonly label: () => string,
    private readonly math: Arithmetic<V>,
    spec: RegisterSpec,
    make: FieldMaker<V>,
  ) {
    const fields = Object.entries(spec.fields).map(
      ([name, each]) => [name, make(name, each, each.access ?? spec.access)] as const,
    );
    this.all = new Map(fields);
    this.byName = Object.fromEntries(fields);
  }

  /** Bits that a write of 1 clears. */
  clearedByOnes(): V {
    return [...this.all.values()]
      .filter(({ rights }) => rights === "w1c")
      .reduce((mask, { mask: each }) => this.math.or(mask, each), this.math.zero);
  }

  /** The values of all fields that can be read. */
  decode(value: V): Record<string, unknown> {
    const readable = [...this.all.values()].filter(({ rights }) => isReadable(rights));
    return Object.fromEntries(readable.map((field) => [field.name, field.of(value)]));
  }

  /** A value of the word, from a number or from fields by name. @throws ArgumentError: too wide, no such field, read-only */
  pack(value: V | FieldValues): V {
    const { math } = this;
    if (!isNamedFields(value)) return math.check(this.label(), value);
    let bits = math.zero;
    for (const [name, each] of named(value)) bits = math.or(bits, this.writable(name).bits(each));
    return bits;
  }

  /** @throws ArgumentError if it isn't there or is write-only */
  readable(name: string): RegisterField<V> {
    const field = this.field(name);
    if (!isReadable(field.rights)) throw new ArgumentError(`field ${name} of ${this.label()} is write-only`);
    return field;
  }

  /** @throws ArgumentError if it isn't there or is read-only */
  writable(name: string): RegisterField<V> {
    const field = this.field(name);
    if (!isWritable(field.rights)) throw new ArgumentError(`field ${name} of ${this.label()} is read-only`);
    return field;
  }

  private field(name: string): RegisterField<V> {
    const field = this.all.get(name);
    if (field !== undefined) return field;
    const names = [...this.all.keys()].join(", ");
    throw new ArgumentError(`${this.label()} has no field ${name}: it has ${names === "" ? "none" : names}`);
  }
}

/** A plain object: a Date, a Number or an array names no fields. */
export function isNamedFields(value: unknown): value is FieldValues {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/** What is named: an undefined value counts as left out. */
export function named(values: FieldValues): [string, unknown][] {
  return Object.entries(values).filter(([, value]) => value !== undefined);
}
