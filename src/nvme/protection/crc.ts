/**
 * The guards of protection information (NVM Command Set 1.x, section "Protection Information Formats"): CRC-16 T10-DIF,
 * CRC-32C, and the 64-bit CRC of NVMe. Each step processes eight bytes, with one table for each of the eight positions. No
 * function uses bigints or allocates.
 */
import { checkBytes, checkInteger, checkObject, checkU32 } from "../../core/check.js";
import { lazily } from "../../core/lazy.js";

const SLICES = 8;

/** Extends the table of single bytes by tables of bytes with 1 to `SLICES - 1` bytes after them. */
function slice(next: (crc: number, into: number) => void): void {
  for (let place = 1; place < SLICES; place++) {
    for (let byte = 0; byte < 256; byte++) next((place - 1) * 256 + byte, place * 256 + byte);
  }
}

const CRC16_POLYNOMIAL = 0x8bb7;
const tableOf16 = lazily(() => {
  const table = new Uint16Array(SLICES * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000) !== 0 ? (crc << 1) ^ CRC16_POLYNOMIAL : crc << 1;
    table[byte] = crc;
  }
  slice((from, into) => {
    const crc = table[from] ?? 0;
    table[into] = (crc << 8) ^ (table[crc >>> 8] ?? 0);
  });
  return table;
});

/** CRC-16 T10-DIF (polynomial 8BB7h, most significant bit first) of bytes[from, to), continuing from `crc` of the bytes before. */
export function crc16(bytes: Uint8Array, from: number, to: number, crc = 0): number {
  checkPart(bytes, from, to);
  checkInteger("crc", crc, 0, 0xffff);
  const t = tableOf16();
  let at = from;
  for (; at + SLICES <= to; at += SLICES) {
    crc =
      (t[1792 + ((crc >>> 8) ^ (bytes[at] ?? 0))] ?? 0) ^
      (t[1536 + ((crc & 0xff) ^ (bytes[at + 1] ?? 0))] ?? 0) ^
      (t[1280 + (bytes[at + 2] ?? 0)] ?? 0) ^
      (t[1024 + (bytes[at + 3] ?? 0)] ?? 0) ^
      (t[768 + (bytes[at + 4] ?? 0)] ?? 0) ^
      (t[512 + (bytes[at + 5] ?? 0)] ?? 0) ^
      (t[256 + (bytes[at + 6] ?? 0)] ?? 0) ^
      (t[bytes[at + 7] ?? 0] ?? 0);
  }
  for (; at < to; at++) crc = ((crc << 8) & 0xffff) ^ (t[(crc >>> 8) ^ (bytes[at] ?? 0)] ?? 0);
  return crc;
}

/** The polynomial 1EDC6F41h, reversed. */
const CRC32C_POLYNOMIAL = 0x82f6_3b78;
const tableOf32 = lazily(() => {
  const table = new Uint32Array(SLICES * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) !== 0 ? (crc >>> 1) ^ CRC32C_POLYNOMIAL : crc >>> 1;
    table[byte] = crc;
  }
  slice((from, into) => {
    const crc = table[from] ?? 0;
    table[into] = (crc >>> 8) ^ (table[crc & 0xff] ?? 0);
  });
  return table;
});

/** CRC-32C (Castagnoli) of bytes[from, to), continuing from `crc` of the bytes before. */
export function crc32c(bytes: Uint8Array, from: number, to: number, crc = 0): number {
  checkPart(bytes, from, to);
  checkU32("crc", crc);
  const t = tableOf32();
  let rest = ~crc;
  let at = from;
  for (; at + SLICES <= to; at += SLICES) {
    rest =
      (t[1792 + ((rest ^ (bytes[at] ?? 0)) & 0xff)] ?? 0) ^
      (t[1536 + (((rest >>> 8) ^ (bytes[at + 1] ?? 0)) & 0xff)] ?? 0) ^
      (t[1280 + (((rest >>> 16) ^ (bytes[at + 2] ?? 0)) & 0xff)] ?? 0) ^
      (t[1024 + ((rest >>> 24) ^ (bytes[at + 3] ?? 0))] ?? 0) ^
      (t[768 + (bytes[at + 4] ?? 0)] ?? 0) ^
      (t[512 + (bytes[at + 5] ?? 0)] ?? 0) ^
      (t[256 + (bytes[at + 6] ?? 0)] ?? 0) ^
      (t[bytes[at + 7] ?? 0] ?? 0);
  }
  for (; at < to; at++) rest = (rest >>> 8) ^ (t[(rest ^ (bytes[at] ?? 0)) & 0xff] ?? 0);
  return ~rest >>> 0;
}

/** The polynomial AD93D23594C93659h, reversed, as two halves. */
const CRC64_POLYNOMIAL_LOW = 0xac4b_c9b5;
const CRC64_POLYNOMIAL_HIGH = 0x9a6c_9329;
const tablesOf64 = lazily(() => {
  const low64 = new Uint32Array(SLICES * 256);
  const high64 = new Uint32Array(SLICES * 256);
  for (let byte = 0; byte < 256; byte++) {
    let low = byte;
    let high = 0;
    for (let bit = 0; bit < 8; bit++) {
      const odd = (low & 1) !== 0;
      low = (low >>> 1) | (high << 31);
      high >>>= 1;
      if (odd) {
        low ^= CRC64_POLYNOMIAL_LOW;
        high ^= CRC64_POLYNOMIAL_HIGH;
      }
    }
    low64[byte] = low;
    high64[byte] = high;
  }
  slice((from, into) => {
    const low = low64[from] ?? 0;
    const high = high64[from] ?? 0;
    low64[into] = ((low >>> 8) | (high << 24)) ^ (low64[low & 0xff] ?? 0);
    high64[into] = (high >>> 8) ^ (high64[low & 0xff] ?? 0);
  });
  return { low: low64, high: high64 };
});

/** A 64-bit CRC as two unsigned halves. */
export interface Crc64 {
  /** Low 32 bits. */
  low: number;
  /** High 32 bits. */
  high: number;
}

/**
 * Updates `crc`, the CRC-64 of NVMe (reflected, inverted at both ends), by bytes[from, to). Its initial value is 0.
 */
export function crc64(crc: Crc64, bytes: Uint8Array, from: number, to: number): void {
  checkPart(bytes, from, to);
  checkObject("crc", crc);
  checkU32("crc.low", crc.low);
  checkU32("crc.high", crc.high);
  const { low: l, high: h } = tablesOf64();
  let low = ~crc.low;
  let high = ~crc.high;
  let at = from;
  for (; at + SLICES <= to; at += SLICES) {
    const a = 1792 + ((low ^ (bytes[at] ?? 0)) & 0xff);
    const b = 1536 + (((low >>> 8) ^ (bytes[at + 1] ?? 0)) & 0xff);
    const c = 1280 + (((low >>> 16) ^ (bytes[at + 2] ?? 0)) & 0xff);
    const d = 1024 + ((low >>> 24) ^ (bytes[at + 3] ?? 0));
    const e = 768 + ((high ^ (bytes[at + 4] ?? 0)) & 0xff);
    const f = 512 + (((high >>> 8) ^ (bytes[at + 5] ?? 0)) & 0xff);
    const g = 256 + (((high >>> 16) ^ (bytes[at + 6] ?? 0)) & 0xff);
    const i = (high >>> 24) ^ (bytes[at + 7] ?? 0);
    low =
      (l[a] ?? 0) ^
      (l[b] ?? 0) ^
      (l[c] ?? 0) ^
      (l[d] ?? 0) ^
      (l[e] ?? 0) ^
      (l[f] ?? 0) ^
      (l[g] ?? 0) ^
      (l[i] ?? 0);
    high =
      (h[a] ?? 0) ^
      (h[b] ?? 0) ^
      (h[c] ?? 0) ^
      (h[d] ?? 0) ^
      (h[e] ?? 0) ^
      (h[f] ?? 0) ^
      (h[g] ?? 0) ^
      (h[i] ?? 0);
  }
  for (; at < to; at++) {
    const index = (low ^ (bytes[at] ?? 0)) & 0xff;
    low = ((low >>> 8) | (high << 24)) ^ (l[index] ?? 0);
    high = (high >>> 8) ^ (h[index] ?? 0);
  }
  crc.low = ~low >>> 0;
  crc.high = ~high >>> 0;
}

/** Beyond the end the loops would run as far as they are told. @throws ArgumentError */
function checkPart(bytes: Uint8Array, from: number, to: number): void {
  checkBytes("bytes", bytes);
  checkInteger("to", to, 0, bytes.length);
  checkInteger("from", from, 0, to);
}
