/** Waits for a condition. */
import { setTimeout as sleep } from "node:timers/promises";

/** Calls `look` until it returns a value. The test's time limit is the only one. */
export async function eventually<T>(look: () => Promise<T | undefined> | T | undefined): Promise<T> {
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    await sleep(5);
  }
}
