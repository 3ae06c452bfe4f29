import { ArgumentError } from "../../core/errors.js";
import type { FieldType } from "../../core/struct.js";

/** A 128-bit little-endian number, as capacities and counters are. */
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

/** A 24-bit little-endian number, as an organizationally unique identifier is. */
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

/** Some bits of a number that several fields share, e.g. `bits(u8, 6, 2)` for bits 7:6. */
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

/** Where a field of a specification's data structure stands, as its figure lists it. */
export interface Placed<T> {
  readonly offset: number;
  readonly type: FieldType<T>;
}

/** A field at a byte offset. */
export function at<T>(offset: number, type: FieldType<T>): Placed<T> {
  return { offset, type };
}

/** The TypeScript value of a record. */
export type RecordValue<F> = { readonly [K in keyof F]: F[K] extends Placed<infer T> ? T : never };

/** A data structure that the specification gives by byte offsets, with gaps. */
export interface RecordLayout<F> {
  readonly name: string;
  readonly sizeBytes: number;
  readonly fields: F;
  /** @throws ArgumentError where `source` is too short */
  decode(source: Uint8Array): RecordValue<F>;
  /** A zeroed record with these fields set. @throws ArgumentError where a value does not fit its field */
  encode(values: Partial<RecordValue<F>>): Uint8Array<ArrayBuffer>;
}

interface AnyPlaced {
  readonly offset: number;
  readonly type: { readonly sizeBytes: number; read(view: DataView, at: number): unknown };
}

/** The fields again, for writing: `encode` takes values of the fields' own types only. */
interface WritableField {
  readonly offset: number;
  readonly type: FieldType<unknown>;
}

/** Declares such a structure: its fields under the specification's mnemonics. */
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
      if (source.byteLength < sizeBytes) {
        throw new ArgumentError(`${name} has ${sizeBytes} bytes, got ${source.byteLength}`);
      }
      const view = new DataView(source.buffer, source.byteOffset, source.byteLength);
      const value: Record<string, unknown> = {};
      for (const [field, { offset, type }] of entries) value[field] = type.read(view, offset);
      return value as RecordValue<F>;
    },
    encode(values) {
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

/** A record as a field of another one. What is left out when writing is zero. */
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
