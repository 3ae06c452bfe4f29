/** Forces garbage collection. */
import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Runs a full garbage collection. */
export const collectGarbage: () => void = (() => {
  setFlagsFromString("--expose-gc");
  const gc: unknown = runInNewContext("gc");
  if (typeof gc !== "function") throw new Error("this Node can't be asked to collect garbage");
  return () => {
    gc();
  };
})();

/**
 * Collects garbage until `done` returns true, at most 50 times. Finalizers run a few turns of the event loop later. Each
 * collection has its own turn, because a WeakRef that `done` has dereferenced keeps its object until the end of the turn.
 * @returns whether `done` returned true
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
