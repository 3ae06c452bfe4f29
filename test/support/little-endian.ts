/** Builds binary structures for tests: numbers at offsets. */

/** Bytes with little-endian numbers at these offsets. */
export function bytes(
  length: number,
  ...parts: [offset: number, size: 1 | 2 | 4 | 8, value: number][]
): Uint8Array {
  const whole = new Uint8Array(length);
  const view = new DataView(whole.buffer);
  for (const [at, size, value] of parts) {
    if (size === 8) view.setBigUint64(at, BigInt(value), true);
    else for (let i = 0; i < size; i++) view.setUint8(at + i, Math.floor(value / 2 ** (8 * i)) & 0xff);
  }
  return whole;
}
