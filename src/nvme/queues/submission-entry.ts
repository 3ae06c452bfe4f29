/**
 * Submission queue entries (NVMe Base 2.x, "Submission Queue Entry"), written in place: 16 words from `at` on. No object,
 * no bigint, no allocation. Addresses and LBAs are two 32-bit halves, low first.
 */

import { SQE_WORDS } from "../spec/queue-entries.js";

export { SQE_WORDS };

// A constant of this file's own, which V8 makes part of the code: an imported one it looks up at each use.
const ENTRY_WORDS = SQE_WORDS;

/** Any entry as it is, command id included. */
export function writeRawEntry(words: Uint32Array, at: number, entry: Uint32Array): void {
  for (let i = 0; i < ENTRY_WORDS; i++) words[at + i] = entry[i] ?? 0;
}

/**
 * Read, write and their likes of the NVM command set: an LBA range, and data by PRPs.
 * @param blocks NLB, 0's based as the controller wants it: 0 is one block
 * @param control upper half of CDW12: FUA, PRINFO, ...
 */
export function writeIoEntry(
  words: Uint32Array,
  at: number,
  opcode: number,
  cid: number,
  nsid: number,
  lbaLow: number,
  lbaHigh: number,
  blocks: number,
  control: number,
  prp1Low: number,
  prp1High: number,
  prp2Low: number,
  prp2High: number,
): void {
  words[at] = opcode | (cid << 16);
  words[at + 1] = nsid;
  words[at + 2] = 0;
  words[at + 3] = 0;
  words[at + 4] = 0;
  words[at + 5] = 0;
  words[at + 6] = prp1Low;
  words[at + 7] = prp1High;
  words[at + 8] = prp2Low;
  words[at + 9] = prp2High;
  words[at + 10] = lbaLow;
  words[at + 11] = lbaHigh;
  words[at + 12] = blocks | (control << 16);
  words[at + 13] = 0;
  words[at + 14] = 0;
  words[at + 15] = 0;
}
