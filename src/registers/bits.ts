/** Arithmetic on register values: numbers up to 32 bits, bigints for 64. */
import { show } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";

/** What register code needs to know about values of a width. */
export interface Arithmetic<V> {
  readonly zero: V;
  readonly allOnes: V;
  and(a: V, b: V): V;
  or(a: V, b: V): V;
  /** `a` without the bits of `b`. */
  without(a: V, b: V): V;
  /** @throws ArgumentError if it isn't a value of this width */
  check(name: string, value: unknown): V;
  /** In hexadecimal, with all digits. */
  format(value: V): string;
}

/** For 8, 16 and 32 bits. Negative numbers that JavaScript's bit operators make stand for their 32 bits. */
export function numbers(width: 8 | 16 | 32): Arithmetic<number> {
  const allOnes = 2 ** width - 1;
  return {
    zero: 0,
    allOnes,
    and: (a, b) => (a & b) >>> 0,
    or: (a, b) => (a | b) >>> 0,
    without: (a, b) => (a & ~b) >>> 0,
    check(name, value) {
      if (typeof value === "number" && (value >>> 0 === value || (value | 0) === value)) {
        const unsigned = value >>> 0;
        if (unsigned <= allOnes) return unsigned;
      }
      throw new ArgumentError(`${name} takes a whole number of ${width} bits, got ${show(value)}`);
    },
    format: (value) => `0x${value.toString(16).padStart(width / 4, "0")}`,
  };
}

const ALL_ONES_64 = 2n ** 64n - 1n;

/** For 64 bits. */
export const bigints: Arithmetic<bigint> = {
  zero: 0n,
  allOnes: ALL_ONES_64,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  without: (a, b) => a & ~b,
  check(name, value) {
    if (typeof value === "bigint" && value >= 0n && value <= ALL_ONES_64) return value;
    throw new ArgumentError(`${name} takes a bigint of 64 bits, got ${show(value)}`);
  },
  format: (value) => `0x${value.toString(16).padStart(16, "0")}`,
};
