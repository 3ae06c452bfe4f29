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
 * Collects garbage until `done`, or long enough to say that it never will be: what finalization does comes a few turns
 * of the event loop later. Each collection has a turn of its own, because a WeakRef that `done` looked into keeps its
 * object until the end of the turn.
 */
export async function collectUntil(done: () => boolean): Promise<boolean> {
  for (let round = 0; round < 50; round++) {
    await setImmediate();
    collectGarbage();
    await setImmediate();
    if (done()) return true;
  }
  return false;
}
