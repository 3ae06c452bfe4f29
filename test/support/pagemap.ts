/** Looks up physical addresses. */
import { closeSync, openSync, readSync } from "node:fs";

const PAGE = 4096;
const PRESENT = 1n << 63n;
const FRAME = (1n << 55n) - 1n;

/** Physical address of this process's memory, from /proc/self/pagemap (needs root). */
export function physicalAddress(address: number): bigint {
  const fd = openSync("/proc/self/pagemap", "r");
  try {
    const entry = new BigUint64Array(1);
    readSync(fd, entry, 0, 8, Math.floor(address / PAGE) * 8);
    const [value = 0n] = entry;
    if ((value & PRESENT) === 0n) throw new Error(`nothing is present at 0x${address.toString(16)}`);
    return (value & FRAME) * BigInt(PAGE) + BigInt(address % PAGE);
  } finally {
    closeSync(fd);
  }
}
