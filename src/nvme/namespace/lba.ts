/** Logical block addresses (LBA): their check, and their place in a command. */
import { checkInteger, checkU64 } from "../../core/check.js";

/**
 * Checks a logical block address: a bigint of 64 bits, or a safe integer.
 * @param name name of the address in the error
 * @throws ArgumentError if it is neither
 */
export function checkLba<Lba extends bigint | number>(name: string, lba: Lba): Lba {
  if (typeof lba === "number") checkInteger(name, lba, 0, Number.MAX_SAFE_INTEGER);
  else checkU64(name, lba);
  return lba;
}

/** A checked LBA as the two dwords that hold it in all block commands (SLBA). */
export function lbaDwords(lba: bigint | number): { readonly cdw10: number; readonly cdw11: number } {
  // Splitting a bigint makes two more bigints, and nearly every LBA is exact as a number.
  const exact = Number(lba);
  if (exact <= Number.MAX_SAFE_INTEGER) return { cdw10: exact >>> 0, cdw11: Math.floor(exact / 2 ** 32) };
  const whole = BigInt(lba);
  return { cdw10: Number(whole & 0xffff_ffffn), cdw11: Number(whole >> 32n) };
}
