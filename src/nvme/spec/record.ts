/** Declares data structures of the specification by the byte offsets of their fields, and reads and writes them. */
import { checkBytes, checkObject, show } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import type { FieldType } from "../../core/struct.js";

/** An unsigned 128-bit little-endian number, used for capacities and counters. */
export const u128: FieldType<bigint> = {
  sizeBytes: 16,
  alignBytes: 1,
  zero: () => 0n,
  read: (view, offset) => view.getBigUint64(offset, true) | (view.getBigUint64(offset + 8, true) << 64n),
  write(view, offset, value) {
    view.setBigUint64(offset, value & 0xffff_ffff_ffff_ffffn, true);
    view.setBigUint64(offset + 8, value >> 64n, true);
  },
};

/** An unsigned 24-bit little-endian number, used for organizationally unique identifiers. */
export const u24: FieldType<number> = {
  sizeBytes: 3,
  alignBytes: 1,
  zero: () => 0,
  read: (view, offset) => view.getUint16(offset, true) | (view.getUint8(offset + 2) << 16),
  write(view, offset, value) {
    if (!Number.isInteger(value) || value < 0 || value > 0xff_ffff) {
      throw new ArgumentError(`${value} does not fit an unsigned 24-bit field`);
    }
    view.setUint16(offset, value & 0xffff, true);
    view.setUint8(offset + 2, value >>> 16);
  },
};

/** A bit field: `width` bits of `whole`, from bit `low` up, e.g. `bits(u8, 6, 2)` for bits 7:6. */
export function bits(whole: FieldType<number>, low: number, width: number): FieldType<number> {
  const weight = 2 ** low;
  const values = 2 ** width;
  const part = (value: number): number => Math.floor(value / weight) % values;
  return {
    sizeBytes: whole.sizeBytes,
    alignBytes: whole.alignBytes,
    zero: () => 0,
    read: (view, offset) => part(whole.read(view, offset)),
    write(view, offset, value) {
      if (!Number.isInteger(value) || value < 0 || value >= values) {
        throw new ArgumentError(`${value} does not fit an unsigned ${width}-bit field`);
      }
      const before = whole.read(view, offset);
      whole.write(view, offset, before + (value - part(before)) * weight);
    },
  };
}

/** A field of a data structure at its byte offset in the specification. */
export interface Placed<T> {
  /** Byte offset in the structure. */
  readonly offset: number;
  /** Reads and writes the field. */
  readonly type: FieldType<T>;
}

/** A field at a byte offset. */
export function at<T>(offset: number, type: FieldType<T>): Placed<T> {
  return { offset, type };
}

/** The TypeScript value of a record. */
export type RecordValue<F> = { readonly [K in keyof F]: F[K] extends Placed<infer T> ? T : never };

/** A data structure whose fields have byte offsets, with gaps between them. */
export interface RecordLayout<F> {
  /** Name of the structure in the specification. */
  readonly name: string;
  /** Size of the structure, in bytes. */
  readonly sizeBytes: number;
  /** Fields by name, with their offsets. */
  readonly fields: F;
  /** Reads all fields. @throws ArgumentError if `source` is shorter than `sizeBytes` */
  decode(source: Uint8Array): RecordValue<F>;
  /** Writes the given fields; all other bytes are 0. @throws ArgumentError if a value doesn't fit its field */
  encode(values: Partial<RecordValue<F>>): Uint8Array<ArrayBuffer>;
}

interface AnyPlaced {
  readonly offset: number;
  readonly type: { readonly sizeBytes: number; read(view: DataView, at: number): unknown };
}

/** A field for writing. `encode` only takes values of the field's own type, so the cast there is safe. */
interface WritableField {
  readonly offset: number;
  readonly type: FieldType<unknown>;
}

/** Declares a data structure, with its fields under the specification's mnemonics. */
export function record<F extends { readonly [name: string]: AnyPlaced }>(
  name: string,
  sizeBytes: number,
  fields: F,
): RecordLayout<F> {
  const entries: [string, AnyPlaced][] = Object.entries(fields);
  for (const [field, { offset, type }] of entries) {
    if (offset + type.sizeBytes > sizeBytes)
      throw new ArgumentError(`${name}.${field} ends beyond ${sizeBytes} bytes`);
  }
  return {
    name,
    sizeBytes,
    fields,
    decode(source) {
      checkBytes(name, source);
      if (source.byteLength < sizeBytes) {
        throw new ArgumentError(`${name} has ${sizeBytes} bytes, got ${source.byteLength}`);
      }
      const view = new DataView(source.buffer, source.byteOffset, source.byteLength);
      const value: Record<string, unknown> = {};
      for (const [field, { offset, type }] of entries) value[field] = type.read(view, offset);
      return value as RecordValue<F>;
    },
    encode(values) {
      checkObject(name, values);
      for (const field in values) {
        if (!Object.hasOwn(fields, field))
          throw new ArgumentError(
            `${name} has no field ${show(field)}: there are ${Object.keys(fields).join(", ")}`,
          );
      }
      const encoded = new Uint8Array(sizeBytes);
      const view = new DataView(encoded.buffer);
      const given: Readonly<Record<string, unknown>> = values;
      for (const [field, { offset, type }] of entries as [string, WritableField][]) {
        if (given[field] !== undefined) type.write(view, offset, given[field]);
      }
      return encoded;
    },
  };
}

/** Makes a record a field of another one. Fields left out when writing are 0. */
export function nested<F>(layout: RecordLayout<F>): FieldType<RecordValue<F>> {
  return {
    sizeBytes: layout.sizeBytes,
    alignBytes: 1,
    zero: () => layout.decode(new Uint8Array(layout.sizeBytes)),
    read: (view, offset) =>
      layout.decode(new Uint8Array(view.buffer, view.byteOffset + offset, layout.sizeBytes)),
    write(view, offset, value) {
      new Uint8Array(view.buffer, view.byteOffset + offset, layout.sizeBytes).set(layout.encode(value));
    },
  };
}
