/** Times functions. */

/** Nanoseconds that `work` takes. */
export function elapsed(work: () => void): number {
  const start = process.hrtime.bigint();
  work();
  return Number(process.hrtime.bigint() - start);
}
