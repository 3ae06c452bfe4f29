import type { Interrupts } from "../../src/index.js";

/** The count of the next signal of a vector; `listener` runs first, where a driver would quiet its device. */
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
