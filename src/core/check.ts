/** Argument checks used at every public door, so that bad input fails alike everywhere. */
import { ArgumentError } from "./errors.js";

/** The longest time in milliseconds that timers and poll(2) take: Node.js would make more than that 1 ms. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

const U32_MAX = 0xffff_ffff;
const U64_MAX = 0xffff_ffff_ffff_ffffn;

/** A value as text for an error message. Never throws, whatever the value is. */
export function show(value: unknown): string {
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "string") return JSON.stringify(value);
  try {
    return String(value);
  } catch {
    // An object without a prototype, a detached array, or one whose own code throws.
    return typeof value === "function" ? "a function" : "an object";
  }
}

/** An object, such as options. @throws ArgumentError */
export function checkObject(name: string, value: object): void {
  if (typeof value !== "object" || value === null) {
    throw new ArgumentError(`${name} must be an object, got ${show(value)}`);
  }
}

/** A function. @throws ArgumentError */
export function checkFunction(name: string, value: unknown): void {
  if (typeof value !== "function") throw new ArgumentError(`${name} must be a function, got ${show(value)}`);
}

/** A list. @throws ArgumentError */
export function checkArray(name: string, value: readonly unknown[]): void {
  if (!Array.isArray(value)) throw new ArgumentError(`${name} must be an array, got ${show(value)}`);
}

/** A list of so many elements. @throws ArgumentError */
export function checkList(name: string, value: readonly unknown[], min: number, max: number): void {
  checkArray(name, value);
  checkInteger(`${name}.length`, value.length, min, max);
}

/** A text. @throws ArgumentError */
export function checkString(name: string, value: string): string {
  if (typeof value !== "string") throw new ArgumentError(`${name} must be a string, got ${show(value)}`);
  return value;
}

/** true or false. @throws ArgumentError */
export function checkBoolean(name: string, value: boolean): boolean {
  if (typeof value !== "boolean")
    throw new ArgumentError(`${name} must be true or false, got ${show(value)}`);
  return value;
}

/** Bytes. @throws ArgumentError */
export function checkBytes(name: string, value: Uint8Array): void {
  if (!(value instanceof Uint8Array))
    throw new ArgumentError(`${name} must be a Uint8Array, got ${show(value)}`);
  if (value.length === 0 && isGone(value))
    throw new ArgumentError(`${name} must be a Uint8Array, got one whose memory was transferred or shrunk`);
}

/** Whether an array's memory was transferred, or a resizable buffer shrunk away from it. Its every use would be a TypeError. */
function isGone(bytes: Uint8Array): boolean {
  try {
    bytes.at(0);
    return false;
  } catch {
    return true;
  }
}

/** A whole number in [min, max]. @throws ArgumentError */
export function checkInteger(name: string, value: number, min: number, max: number): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min || value > max) {
    throw new ArgumentError(`${name} must be a whole number from ${min} to ${max}, got ${show(value)}`);
  }
  return value;
}

/** The value of a key that the table itself has: none that it inherits. @throws ArgumentError that lists the keys */
export function lookUp<T extends object>(name: string, key: keyof T & string, table: T): T[keyof T & string] {
  if (typeof key === "string" && Object.hasOwn(table, key)) return table[key];
  throw new ArgumentError(`${name} must be one of ${Object.keys(table).join(", ")}, got ${show(key)}`);
}

/** An object whose own keys are all known, so that a misspelt option isn't ignored. @throws ArgumentError */
export function checkKeys(name: string, value: object, known: readonly string[]): void {
  checkObject(name, value);
  // Not Object.keys(): that makes a list for each call.
  for (const key in value) {
    if (known.includes(key) || !Object.hasOwn(value, key)) continue;
    throw new ArgumentError(`${name} has no option ${show(key)}: there are ${known.join(", ")}`);
  }
}

/** One of these names. @throws ArgumentError */
export function checkName<T extends string>(name: string, value: T, names: readonly T[]): T {
  if (!names.includes(value)) {
    throw new ArgumentError(`${name} must be one of ${names.join(", ")}, got ${show(value)}`);
  }
  return value;
}

/**
 * An object with these methods, or others members as `typeof` names them. Not by class: there may be two copies of this library.
 * @param what names such an object, e.g. `a DeviceIo`
 * @throws ArgumentError
 */
export function checkMembers(
  name: string,
  value: unknown,
  what: string,
  members: Readonly<Record<string, "function" | "number" | "object" | "string">>,
): void {
  const found = Object(value) as Readonly<Record<string, unknown>>;
  if (found === value && Object.entries(members).every(([key, type]) => typeof found[key] === type)) return;
  throw new ArgumentError(`${name} must be ${what}, got ${show(value)}`);
}

/** A length in bytes: whole and greater than zero. @throws ArgumentError */
export function checkLength(name: string, value: number, max = Number.MAX_SAFE_INTEGER): number {
  return checkInteger(name, value, 1, max);
}

/** An offset in bytes: whole and not negative. @throws ArgumentError */
export function checkOffset(name: string, value: number, max = Number.MAX_SAFE_INTEGER): number {
  return checkInteger(name, value, 0, max);
}

/** A power of two in [min, max]. @throws ArgumentError */
export function checkPowerOfTwo(name: string, value: number, min: number, max: number): number {
  checkInteger(name, value, min, max);
  if (!Number.isInteger(Math.log2(value))) {
    throw new ArgumentError(`${name} must be a power of two, got ${show(value)}`);
  }
  return value;
}

export function checkU32(name: string, value: number): number {
  return checkInteger(name, value, 0, U32_MAX);
}

/** A bigint that fits an unsigned 64-bit register or struct field. @throws ArgumentError */
export function checkU64(name: string, value: bigint): bigint {
  if (typeof value !== "bigint" || value < 0n || value > U64_MAX) {
    throw new ArgumentError(`${name} must be a bigint from 0n to 2^64-1, got ${show(value)}`);
  }
  return value;
}

/** [offset, offset + length) inside an object of `size` bytes. @throws ArgumentError */
export function checkRange(what: string, offset: number, length: number, size: number): void {
  checkOffset("offset", offset);
  checkLength("length", length);
  if (offset + length > size) {
    throw new ArgumentError(`${what} has ${size} bytes; ${length} at offset ${offset} lie outside it`);
  }
}
