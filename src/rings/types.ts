/** What a descriptor's declaration gives, as types: its words as columns, which are read and written by slot. */
import type { BlockSpec, RegisterSpec } from "../registers/declaration.js";
import type { RegisterField } from "../registers/field.js";
import type { FieldSpec, FieldSpecs, RegisterRights } from "../registers/field-spec.js";
import type { FieldValue, ReadableFields, RegisterValue, Some, WritableFields } from "../registers/types.js";

/** A word of every descriptor of a ring. */
export interface SlotColumn<V extends number | bigint, F extends FieldSpecs, R extends RegisterRights> {
  /** Its name. */
  readonly name: string;
  /** The fields, for values that were read: `slots.status.fields.done.of(value)`. */
  readonly fields: { readonly [K in keyof F]: RegisterField<V, FieldValue<F[K]>> };
  /** The word of a slot. @throws ArgumentError if there is no such slot */
  read(slot: number): V;
  /** All fields of a slot's word. @throws ArgumentError if there is no such slot */
  decode(slot: number): ReadableFields<F, R>;
}

/** A word that the driver writes. */
export interface WritableColumn<V extends number | bigint, F extends FieldSpecs, R extends RegisterRights> {
  /**
   * Writes the word of a slot by one store; two for 64 bits.
   * @param value the word's value, or fields by name; fields that aren't named are written as 0
   * @throws ArgumentError: no such slot, too wide
   */
  write(slot: number, value: V | Some<WritableFields<F, R>>): void;
}

/** What words of up to 32 bits have besides. */
export interface NarrowColumn {
  /**
   * Reads the word of a slot that the device doesn't change any more: what it wrote before the word that says that it is done, which
   * `read` reads. A plain load costs a tenth of `read`, but two of them may become one.
   * @throws ArgumentError if there is no such slot
   */
  readSettled(slot: number): number;
}

/** What words of 64 bits have besides: halves as numbers, because bigints make garbage. */
export interface HalvesColumn {
  /** The low 32 bits. @throws ArgumentError if there is no such slot */
  readLow(slot: number): number;
  /** The high 32 bits. @throws ArgumentError if there is no such slot */
  readHigh(slot: number): number;
}

/** What words of 64 bits have besides, if the driver writes them. */
export interface WritableHalvesColumn {
  /** Writes both halves, such as `iovaLow` and `iovaHigh` of a buffer. @throws ArgumentError: no such slot, too wide */
  writeHalves(slot: number, low: number, high: number): void;
}

type ColumnOf<W extends 8 | 16 | 32 | 64, R extends RegisterRights, F extends FieldSpecs> = SlotColumn<
  RegisterValue<W>,
  F,
  R
> &
  (W extends 64 ? HalvesColumn : NarrowColumn) &
  (R extends "ro" ? unknown : WritableColumn<RegisterValue<W>, F, R>) &
  (R extends "ro" ? unknown : W extends 64 ? WritableHalvesColumn : unknown);

/** The words of a descriptor: registers, without arrays and blocks. */
export type DescriptorSpec = { readonly [name: string]: RegisterSpec };

/** The words of declared descriptors, by name. */
export type SlotsOf<D extends BlockSpec> = {
  readonly [K in keyof D]: D[K] extends RegisterSpec<infer W, infer R, infer F> ? ColumnOf<W, R, F> : never;
};

/** The words of declared descriptors as their device has them: it writes `ro` words, too. */
export type DeviceSlotsOf<D extends BlockSpec> = {
  readonly [K in keyof D]: D[K] extends RegisterSpec<infer W, RegisterRights, infer F>
    ? ColumnOf<W, "rw", { readonly [N in keyof F]: FieldSpec<FieldValue<F[N]>, undefined> }>
    : never;
};
