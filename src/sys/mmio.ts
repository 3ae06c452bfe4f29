/**
 * Accesses to device registers. All code that accesses a mapped BAR uses this file, but src/registers/register.ts, which keeps its
 * rules.
 *
 * - A register is read by Atomics.load: V8 may narrow, merge or drop a plain load (measured: `(r[i] & 1) === 1`
 *   becomes a one-byte access, and a load whose value is unused vanishes). Atomics.load is always one access of
 *   the element's width.
 * - A register is written by one plain 32-bit store: V8 emits it as written and in program order. Atomics.store
 *   would be a locked exchange on x86, which also reads the register.
 * - Never fill(), set() or copyWithin() on a BAR: they may use any access width.
 * - Nothing here is checked, because these functions are a device's fast path. Outside of the array a read throws JavaScript's
 *   RangeError and a write does nothing; values of other types are converted by JavaScript's rules, or have its TypeError (text that
 *   is no number has a SyntaxError where the array holds BigInts).
 * - x86-64 keeps stores in order with earlier stores, so a doorbell can't overtake the queue entry before it.
 *   arm64 does not: call `publish` between the two.
 */

/** Reads a 32-bit register. `index` counts words. @throws RangeError outside of the array */
export function readRegister(words: Uint32Array, index: number): number {
  return Atomics.load(words, index);
}

/** Reads an 8-bit register. @throws RangeError outside of the array */
export function readRegister8(bytes: Uint8Array, index: number): number {
  return Atomics.load(bytes, index);
}

/** Reads a 16-bit register. `index` counts 16-bit halves. @throws RangeError outside of the array */
export function readRegister16(halves: Uint16Array, index: number): number {
  return Atomics.load(halves, index);
}

/** Reads a 64-bit register by one 64-bit read. `index` counts 64-bit words. @throws RangeError outside of the array */
export function readWholeRegister64(longs: BigUint64Array, index: number): bigint {
  return Atomics.load(longs, index);
}

/**
 * Reads a 64-bit register as two 32-bit reads, low half first by default: all NVMe controllers must accept that.
 * `index` counts 32-bit words.
 * @throws RangeError outside of the array
 */
export function readRegister64(words: Uint32Array, index: number, highFirst = false): bigint {
  const first = Atomics.load(words, highFirst ? index + 1 : index);
  const other = Atomics.load(words, highFirst ? index : index + 1);
  return highFirst ? (BigInt(first) << 32n) | BigInt(other) : (BigInt(other) << 32n) | BigInt(first);
}

/** Writes a 32-bit register: one posted store. Nothing outside of the array. */
export function writeRegister(words: Uint32Array, index: number, value: number): void {
  words[index] = value;
}

/** Writes an 8-bit register: one posted store. */
export function writeRegister8(bytes: Uint8Array, index: number, value: number): void {
  bytes[index] = value;
}

/** Writes a 16-bit register: one posted store. */
export function writeRegister16(halves: Uint16Array, index: number, value: number): void {
  halves[index] = value;
}

/** Writes a 64-bit register by one posted 64-bit store. */
export function writeWholeRegister64(longs: BigUint64Array, index: number, value: bigint): void {
  longs[index] = value;
}

/** Writes a 64-bit register as two 32-bit writes, low half first by default. Nothing outside of the array. */
export function writeRegister64(words: Uint32Array, index: number, value: bigint, highFirst = false): void {
  if (highFirst) words[index + 1] = Number(value >> 32n);
  words[index] = Number(value & 0xffff_ffffn);
  if (!highFirst) words[index + 1] = Number(value >> 32n);
}

const fence = new Int32Array(new SharedArrayBuffer(4));

/**
 * Whether plain loads and stores may pass earlier ones on this CPU. A hot loop copies it to a constant of its own module and
 * checks that before {@link publish} and {@link acquire}: V8 compiles a module's own constants into the code, but looks up an
 * imported name at each use.
 */
export const weaklyOrdered = process.arch !== "x64";

/** Makes earlier stores to memory visible to the device before a later store (the doorbell). Free on x86-64. */
export function publish(): void {
  if (weaklyOrdered) Atomics.add(fence, 0, 0);
}

/** Makes later loads see what the device wrote before the word just read (the phase bit). Free on x86-64. */
export function acquire(): void {
  if (weaklyOrdered) Atomics.load(fence, 0);
}

/**
 * Makes earlier stores to memory visible to the device before later loads of memory. Every CPU needs it where both sides tell
 * each other by memory whether to be notified: store the index, then this, then read what the device asks for.
 */
export function fullFence(): void {
  Atomics.add(fence, 0, 0);
}
