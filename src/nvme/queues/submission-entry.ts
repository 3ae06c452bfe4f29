/**
 * Writes submission queue entries (NVMe Base 2.x, "Submission Queue Entry") in place: 16 words from `at` on, without an
 * allocation or a check: wrong values are converted by JavaScript's rules, or have its TypeError or SyntaxError. Addresses and LBAs are two 32-bit halves, low first.
 */

import { SQE_WORDS } from "../spec/queue-entries.js";

export { SQE_WORDS };

// A local constant: V8 compiles it into the code, and looks up an imported one at each use.
const ENTRY_WORDS = SQE_WORDS;

/** Copies an entry unchanged, including its command id. Checks nothing. */
export function writeRawEntry(words: Uint32Array, at: number, entry: Uint32Array): void {
  for (let i = 0; i < ENTRY_WORDS; i++) words[at + i] = entry[i] ?? 0;
}

/**
 * Writes all words of an entry except the data pointer (words 6 to 9). MPTR is 0.
 * @param cdw0 opcode, fuse bits and command id
 */
export function writeEntry(
  words: Uint32Array,
  at: number,
  cdw0: number,
  nsid: number,
  cdw2: number,
  cdw3: number,
  cdw10: number,
  cdw11: number,
  cdw12: number,
  cdw13: number,
  cdw14: number,
  cdw15: number,
): void {
  words[at] = cdw0;
  words[at + 1] = nsid;
  words[at + 2] = cdw2;
  words[at + 3] = cdw3;
  words[at + 4] = 0;
  words[at + 5] = 0;
  words[at + 10] = cdw10;
  words[at + 11] = cdw11;
  words[at + 12] = cdw12;
  words[at + 13] = cdw13;
  words[at + 14] = cdw14;
  words[at + 15] = cdw15;
}

/** Writes the data pointer of an entry: PRP1 and PRP2. */
export function writePrpPair(
  words: Uint32Array,
  at: number,
  prp1Low: number,
  prp1High: number,
  prp2Low: number,
  prp2High: number,
): void {
  words[at + 6] = prp1Low;
  words[at + 7] = prp1High;
  words[at + 8] = prp2Low;
  words[at + 9] = prp2High;
}

/**
 * Writes a read, a write or another command of the NVM command set that has an LBA range and data described by PRPs. Checks
 * nothing.
 * @param blocks NLB, zero-based: 0 is one block
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
  writeEntry(words, at, opcode | (cid << 16), nsid, 0, 0, lbaLow, lbaHigh, blocks | (control << 16), 0, 0, 0);
  writePrpPair(words, at, prp1Low, prp1High, prp2Low, prp2High);
}
