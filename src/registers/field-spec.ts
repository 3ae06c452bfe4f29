/** The fields of a register: how they are declared, and how their values become bits. */
import { checkInteger, checkKeys, checkObject, show } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";
import { checkOneOf } from "./verify.js";

/**
 * What an access does: `rw` reads and writes; `ro` ignores writes; `wo` can't be read; `w1c` clears the bits that are written
 * as 1; `rc` is read-only and cleared by reading.
 */
export type RegisterRights = "rw" | "ro" | "wo" | "w1c" | "rc";

/** All of them. @internal */
export const registerRights: readonly RegisterRights[] = ["rw", "ro", "wo", "w1c", "rc"];

/** Whether a driver can read it. @internal */
export function isReadable(rights: RegisterRights): boolean {
  return rights !== "wo";
}

/** Whether a driver's write does anything. @internal */
export function isWritable(rights: RegisterRights): boolean {
  return rights !== "ro" && rights !== "rc";
}

/** Options of a field. */
export interface FieldOptions<R extends RegisterRights = RegisterRights> {
  /** If it differs from the register's. */
  readonly access?: R | undefined;
  /** One line for the register's documentation. */
  readonly doc?: string | undefined;
}

/** A field as declared by {@link bit}, {@link bits} or {@link choice}. */
export interface FieldSpec<T = unknown, R extends RegisterRights | undefined = RegisterRights | undefined> {
  /** Which function declared it. */
  readonly kind: "flag" | "number" | "choice";
  /** Number of its highest bit. */
  readonly high: number;
  /** Number of its lowest bit. */
  readonly low: number;
  /** If it differs from the register's. */
  readonly access: R;
  /** One line for the documentation. */
  readonly doc: string | undefined;
  /** Names of its values; undefined if it has none. */
  readonly names: ReadonlyMap<string, number> | undefined;
  /** The value that bits stand for. @param bits the field's bits, shifted to bit 0 */
  fromBits(bits: number): T;
  /** @returns the field's bits, shifted to bit 0 @throws ArgumentError if the value doesn't fit */
  toBits(name: string, value: T): number;
}

/** Fields of a register by name. */
export type FieldSpecs = Readonly<Record<string, FieldSpec>>;

/** The widest field: what a number holds exactly. */
const MAX_FIELD_BITS = 53;

function checkBitNumbers(high: number, low: number): void {
  checkInteger("the lowest bit of a field", low, 0, 63);
  checkInteger("the highest bit of a field", high, 0, 63);
}

function field<T, R extends RegisterRights | undefined>(
  kind: FieldSpec["kind"],
  high: number,
  low: number,
  options: { readonly access?: R; readonly doc?: string | undefined },
  names: ReadonlyMap<string, number> | undefined,
  convert: Pick<FieldSpec<T>, "fromBits" | "toBits">,
): FieldSpec<T, R> {
  checkKeys("a field", options, ["access", "doc"]);
  const { access, doc } = options;
  if (access !== undefined) checkOneOf("access of a field", access, registerRights);
  checkBitNumbers(high, low);
  if (high < low)
    throw new ArgumentError(`a field is declared from its highest bit to its lowest, got ${high} and ${low}`);
  if (high - low >= MAX_FIELD_BITS)
    throw new ArgumentError(`a field has at most ${MAX_FIELD_BITS} bits, got ${high} to ${low}: declare two`);
  // Left out, the access is undefined, which is what R is inferred as.
  return { kind, high, low, access: access as R, doc, names, ...convert };
}

/** A field of one bit, as a boolean. @param at number of the bit */
export function bit<const R extends RegisterRights | undefined = undefined>(
  at: number,
  options: { readonly access?: R; readonly doc?: string } = {},
): FieldSpec<boolean, NoInfer<R>> {
  return field("flag", at, at, options, undefined, {
    fromBits: (value) => value !== 0,
    toBits(name, value) {
      if (typeof value !== "boolean")
        throw new ArgumentError(`field ${name} is one bit and needs true or false, got ${show(value)}`);
      return value ? 1 : 0;
    },
  });
}

/** A field of several bits, as a number. At most 53 bits. @param high number of its highest bit @param low of its lowest */
export function bits<const R extends RegisterRights | undefined = undefined>(
  high: number,
  low: number,
  options: { readonly access?: R; readonly doc?: string } = {},
): FieldSpec<number, NoInfer<R>> {
  checkBitNumbers(high, low);
  const max = 2 ** (high - low + 1) - 1;
  return field("number", high, low, options, undefined, {
    fromBits: (value) => value,
    toBits: (name, value) => checkInteger(`field ${name}`, value, 0, max),
  });
}

/**
 * A field whose values have names. Reading gives the name, or the number if the value has none. Writing takes both.
 * @param high number of its highest bit
 * @param low number of its lowest bit
 */
export function choice<
  const V extends Readonly<Record<string, number>>,
  const R extends RegisterRights | undefined = undefined,
>(
  high: number,
  low: number,
  values: V,
  options: { readonly access?: R; readonly doc?: string } = {},
): FieldSpec<(keyof V & string) | number, NoInfer<R>> {
  checkBitNumbers(high, low);
  const max = 2 ** (high - low + 1) - 1;
  checkObject("values of a field", values);
  const numbers = new Map<string, number>();
  const names = new Map<number, keyof V & string>();
  for (const [name, given] of Object.entries<number>(values)) {
    const value = checkInteger(`value ${name} of a field`, given, 0, max);
    numbers.set(name, value);
    const other = names.get(value);
    if (other !== undefined)
      throw new ArgumentError(`a field has the value ${value} twice: as ${other} and as ${name}`);
    names.set(value, name);
  }
  return field<(keyof V & string) | number, R>("choice", high, low, options, numbers, {
    fromBits: (value) => names.get(value) ?? value,
    toBits(name, value) {
      if (typeof value === "number") return checkInteger(`field ${name}`, value, 0, max);
      const found = numbers.get(value);
      if (found !== undefined) return found;
      throw new ArgumentError(
        `field ${name} has no value ${show(value)}: it has ${[...numbers.keys()].join(", ")}`,
      );
    },
  });
}
