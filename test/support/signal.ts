/** Waits for one interrupt. */
import type { Interrupts } from "../../src/index.js";

/**
 * Resolves with the count of the next signal of a vector. `listener` runs first; a driver would clear the device's
 * interrupt there.
 */
export function nextSignal(
  interrupts: Interrupts,
  vector: number,
  listener = (): void => {},
): Promise<number> {
  return new Promise((resolve) => {
    const watch = interrupts.watch(vector, (count) => {
      listener();
      watch.close();
      resolve(count);
    });
  });
}
