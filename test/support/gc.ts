import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Collects garbage, now and wholly. */
export const collectGarbage: () => void = (() => {
  setFlagsFromString("--expose-gc");
  const gc: unknown = runInNewContext("gc");
  if (typeof gc !== "function") throw new Error("this Node can't be asked to collect garbage");
  return () => {
    gc();
  };
})();

/**
 * Collects garbage until `done`, or long enough to say that it never will be: one collection may find an object still
 * on the stack, and what finalization does comes a few turns of the event loop later.
 */
export async function collectUntil(done: () => boolean): Promise<boolean> {
  for (let round = 0; round < 50 && !done(); round++) {
    collectGarbage();
    await setImmediate();
  }
  return done();
}
