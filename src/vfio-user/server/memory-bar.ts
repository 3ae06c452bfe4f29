/** A BAR that is memory. */
import { checkPowerOfTwo } from "../../core/check.js";
import type { EmulatedBar } from "./emulated-device.js";

const LEAST_BYTES = 16;
const MOST_BYTES = 2 ** 30;

/**
 * A BAR of an emulated function that keeps what is written to it, such as the one for MSI-X's table. A reset doesn't clear it.
 * @param sizeBytes a power of 2 from 16 to 2^30
 * @throws ArgumentError
 */
export function memoryBar(sizeBytes: number): EmulatedBar {
  const bytes = new Uint8Array(checkPowerOfTwo("sizeBytes", sizeBytes, LEAST_BYTES, MOST_BYTES));
  return {
    sizeBytes,
    read: (offset, target) => target.set(bytes.subarray(offset, offset + target.length)),
    write: (offset, source) => bytes.set(source, offset),
  };
}
