import { ArgumentError } from "../../sys/errors.js";
import type { FieldType } from "../../sys/struct.js";

/** Where a field of a specification's data structure stands, as its figure lists it. */
export interface Placed<T> {
  readonly offset: number;
  readonly type: FieldType<T>;
}

/** A field at a byte offset. */
export function at<T>(offset: number, type: FieldType<T>): Placed<T> {
  return { offset, type };
}

type RecordValue<F> = { readonly [K in keyof F]: F[K] extends Placed<infer T> ? T : never };

/** A data structure that the specification gives by byte offsets, with gaps. */
export interface RecordLayout<F> {
  readonly name: string;
  readonly sizeBytes: number;
  readonly fields: F;
  /** @throws ArgumentError where `source` is too short */
  decode(source: Uint8Array): RecordValue<F>;
}

interface AnyPlaced {
  readonly offset: number;
  readonly type: { readonly sizeBytes: number; read(view: DataView, at: number): unknown };
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
  };
}
