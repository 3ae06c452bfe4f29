/**
 * C structs as declarations: field name -> type, laid out by the C rules of the kernel's 64-bit ABIs
 * (natural alignment, size padded to the strictest field). One declaration gives the TypeScript type,
 * the codec, and the offsets that test/ compares with the kernel's headers.
 */
import { checkArray, checkBytes, show } from "./check.js";
import { ArgumentError } from "./errors.js";

/** Little-endian: every platform this library runs on (x86-64, arm64), and every device register. */
const LE = true;

/** How one field is stored. */
export interface FieldType<T> {
  readonly sizeBytes: number;
  readonly alignBytes: number;
  readonly zero: () => T;
  readonly read: (view: DataView, at: number) => T;
  readonly write: (view: DataView, at: number, value: T) => void;
}

function unsigned(
  sizeBytes: 1 | 2 | 4,
  read: (view: DataView, at: number) => number,
  write: (view: DataView, at: number, value: number) => void,
): FieldType<number> {
  const max = 2 ** (8 * sizeBytes) - 1;
  return {
    sizeBytes,
    alignBytes: sizeBytes,
    zero: () => 0,
    read,
    write(view, at, value) {
      if (!Number.isInteger(value) || value < 0 || value > max) {
        throw new ArgumentError(`${show(value)} does not fit an unsigned ${8 * sizeBytes}-bit field`);
      }
      write(view, at, value);
    },
  };
}

export const u8 = unsigned(
  1,
  (view, at) => view.getUint8(at),
  (view, at, value) => view.setUint8(at, value),
);
export const u16 = unsigned(
  2,
  (view, at) => view.getUint16(at, LE),
  (view, at, value) => view.setUint16(at, value, LE),
);
export const u32 = unsigned(
  4,
  (view, at) => view.getUint32(at, LE),
  (view, at, value) => view.setUint32(at, value, LE),
);
export const s32: FieldType<number> = {
  sizeBytes: 4,
  alignBytes: 4,
  zero: () => 0,
  read: (view, at) => view.getInt32(at, LE),
  write(view, at, value) {
    if (typeof value !== "number" || (value | 0) !== value)
      throw new ArgumentError(`${show(value)} does not fit a signed 32-bit field`);
    view.setInt32(at, value, LE);
  },
};
export const u64: FieldType<bigint> = {
  sizeBytes: 8,
  alignBytes: 8,
  zero: () => 0n,
  read: (view, at) => view.getBigUint64(at, LE),
  write(view, at, value) {
    if (typeof value !== "bigint" || value < 0n || value > 0xffff_ffff_ffff_ffffn) {
      throw new ArgumentError(`${show(value)} does not fit an unsigned 64-bit field`);
    }
    view.setBigUint64(at, value, LE);
  },
};

const TWO_32 = 2 ** 32;

/**
 * Stores a 64-bit field in place as two 32-bit words, for structs that are made once and used many times: a bigint would
 * cost more than the store.
 * @param at index of its low word, see {@link Struct.words}
 * @param value whole, from 0 to 2^53-1: checked by the caller
 */
export function storeU64(words: Uint32Array, at: number, value: number): void {
  // Both stores take the value modulo 2^32, without its fraction.
  words[at] = value;
  words[at + 1] = value / TWO_32;
}

/** Loads a 64-bit field as a number: exact up to 2^53-1. */
export function loadU64(words: Uint32Array, at: number): number {
  return (words[at + 1] ?? 0) * TWO_32 + (words[at] ?? 0);
}

/** `n` elements in a row. */
export function array<T>(element: FieldType<T>, n: number): FieldType<T[]> {
  return {
    sizeBytes: element.sizeBytes * n,
    alignBytes: element.alignBytes,
    zero: () => Array.from({ length: n }, () => element.zero()),
    read: (view, at) => Array.from({ length: n }, (_, i) => element.read(view, at + i * element.sizeBytes)),
    write(view, at, values) {
      checkArray("values", values);
      if (values.length > n) throw new ArgumentError(`${values.length} elements do not fit an array of ${n}`);
      values.forEach((value, i) => {
        element.write(view, at + i * element.sizeBytes, value);
      });
    },
  };
}

/** `n` raw bytes; reading gives a copy. */
export function bytes(n: number): FieldType<Uint8Array> {
  return {
    sizeBytes: n,
    alignBytes: 1,
    zero: () => new Uint8Array(n),
    read(view, at) {
      // The other types' DataView methods check this; a new array would reach into the memory behind the view.
      if (at + n > view.byteLength) throw new RangeError(`${n} bytes at ${at} lie outside the source`);
      return new Uint8Array(view.buffer, view.byteOffset + at, n).slice();
    },
    write(view, at, value) {
      checkBytes("bytes", value);
      if (value.length > n) throw new ArgumentError(`${value.length} bytes do not fit ${n}`);
      new Uint8Array(view.buffer, view.byteOffset + at, n).set(value);
    },
  };
}

/**
 * `n` bytes of ASCII, as NVMe and PCI structures hold strings.
 * @param padding what is written behind the text: spaces, or zeros where the specification calls it null-terminated
 */
export function ascii(n: number, padding: " " | "\0" = " "): FieldType<string> {
  const raw = bytes(n);
  return {
    sizeBytes: n,
    alignBytes: 1,
    zero: () => "",
    read: (view, at) =>
      Buffer.from(raw.read(view, at))
        .toString("latin1")
        .replace(/[\0 ]+$/, ""),
    write(view, at, value) {
      if (typeof value !== "string" || /[^ -~]/.test(value))
        throw new ArgumentError(`${show(value)} is not printable ASCII`);
      raw.write(view, at, Buffer.from(value.padEnd(n, padding), "latin1"));
    },
  };
}

type Fields = Readonly<Record<string, FieldType<never> | FieldType<unknown>>>;
type AnyFields = { readonly [name: string]: { readonly sizeBytes: number; readonly alignBytes: number } };

/** The TypeScript value of a struct declared with fields `F`. */
export type StructValue<F> = { -readonly [K in keyof F]: F[K] extends FieldType<infer T> ? T : never };

/** A struct; also a field type, so structs nest. */
export interface Struct<F> extends FieldType<StructValue<F>> {
  /** The struct's tag in the C header. */
  readonly name: string;
  /** Byte offset of each field. */
  readonly offsets: { readonly [K in keyof F]: number };
  /** The same counted in 32-bit words, for code that writes a request in place. */
  readonly words: { readonly [K in keyof F]: number };
  readonly fields: F;
  /**
   * A zeroed struct with these fields set. A first field called `size` or `argsz` (iommufd's and VFIO's length
   * contract) is set to the struct's size plus `tailBytes`, unless given.
   */
  encode(values: Partial<StructValue<F>>, tailBytes?: number): Uint8Array<ArrayBuffer>;
  /**
   * The same, ending before `field`: the struct as a kernel older than that field knows it. The length field says so
   * too.
   */
  encodeUpTo(field: keyof F, values: Partial<StructValue<F>>): Uint8Array<ArrayBuffer>;
  /** One field; the rest of `source` may be missing. @throws RangeError where the field is not there */
  get<K extends keyof F>(source: NodeJS.ArrayBufferView, field: K): StructValue<F>[K];
  /** @throws ArgumentError where `source` is too short */
  decode(source: NodeJS.ArrayBufferView, at?: number): StructValue<F>;
}

function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

/**
 * Declares a struct. Field order is the C order; padding is computed. `packed` is for wire formats
 * that the NVMe specification lays out byte by byte.
 */
export function struct<F extends AnyFields>(
  name: string,
  fields: F,
  options: { packed?: boolean } = {},
): Struct<F> {
  const offsets: Record<string, number> = {};
  const entries = Object.entries(fields as unknown as Fields) as [string, FieldType<unknown>][];
  let end = 0;
  let alignBytes = 1;
  for (const [field, type] of entries) {
    const align = options.packed === true ? 1 : type.alignBytes;
    offsets[field] = alignUp(end, align);
    end = alignUp(end, align) + type.sizeBytes;
    alignBytes = Math.max(alignBytes, align);
  }
  const sizeBytes = alignUp(end, alignBytes);
  const first = entries[0]?.[0];
  const lengthField = first === "size" || first === "argsz" ? first : undefined;
  const offsetOf = (field: string): number => offsets[field] ?? 0;

  const read = (view: DataView, at: number): StructValue<F> => {
    const value: Record<string, unknown> = {};
    for (const [field, type] of entries) value[field] = type.read(view, at + offsetOf(field));
    return value as StructValue<F>;
  };
  const write = (view: DataView, at: number, value: Partial<StructValue<F>>): void => {
    const given = value as Record<string, unknown>;
    for (const [field, type] of entries) {
      if (given[field] !== undefined) type.write(view, at + offsetOf(field), given[field]);
    }
  };
  return {
    name,
    fields,
    offsets: offsets as { readonly [K in keyof F]: number },
    words: Object.fromEntries(Object.entries(offsets).map(([field, at]) => [field, at / 4])) as {
      readonly [K in keyof F]: number;
    },
    sizeBytes,
    alignBytes,
    zero: () => {
      const value: Record<string, unknown> = {};
      for (const [field, type] of entries) value[field] = type.zero();
      return value as StructValue<F>;
    },
    read,
    write,
    encode(values, tailBytes = 0) {
      const encoded = new Uint8Array(sizeBytes + tailBytes);
      const view = new DataView(encoded.buffer);
      if (lengthField !== undefined) view.setUint32(0, sizeBytes + tailBytes, LE);
      write(view, 0, values);
      return encoded;
    },
    encodeUpTo(field, values) {
      const known = this.encode(values).slice(0, offsetOf(String(field)));
      if (lengthField !== undefined) new DataView(known.buffer).setUint32(0, known.length, LE);
      return known;
    },
    get(source, field) {
      const type = fields[field] as unknown as FieldType<StructValue<F>[typeof field]>;
      return type.read(
        new DataView(source.buffer, source.byteOffset, source.byteLength),
        offsetOf(String(field)),
      );
    },
    decode(source, at = 0) {
      if (at + sizeBytes > source.byteLength) {
        throw new ArgumentError(`${source.byteLength} bytes are too short for struct ${name} at ${at}`);
      }
      return read(new DataView(source.buffer, source.byteOffset, source.byteLength), at);
    },
  };
}
