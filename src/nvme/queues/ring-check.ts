/** Checks what a ring is made of. */
import { checkInteger, show } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";

/** @param entryWords of one entry, in 32-bit words @throws ArgumentError */
export function checkRingMemory(
  id: number,
  entries: number,
  words: Uint32Array,
  entryWords: number,
  doorbells: Uint32Array,
  doorbell: number,
): void {
  checkInteger("id", id, 0, 0xffff);
  checkInteger("entries", entries, 2, 65_536);
  if (!(words instanceof Uint32Array) || words.length < entries * entryWords)
    throw new ArgumentError(
      `words must be a Uint32Array of ${entries * entryWords} words or more, got ${show(words)}`,
    );
  if (!(doorbells instanceof Uint32Array))
    throw new ArgumentError(`doorbells must be a Uint32Array, got ${show(doorbells)}`);
  checkInteger("doorbell", doorbell, 0, doorbells.length - 1);
}
