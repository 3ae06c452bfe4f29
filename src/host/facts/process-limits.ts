/** Limits of this process, from /proc/self/limits (getrlimit(2)). */
import { linesOf } from "./lines.js";

/** A limit: infinity if there is none. */
export interface ProcessLimit {
  /** What counts now. */
  readonly soft: number;
  /** How far the process itself can raise it. */
  readonly hard: number;
}

/** Limits by the kernel's name for them, such as `Max locked memory`. Never throws. */
export function parseProcessLimits(text: string): Map<string, ProcessLimit> {
  const limits = new Map<string, ProcessLimit>();
  for (const line of linesOf(text)) {
    const [, name, soft, hard] =
      /^(Max [a-z -]+?)\s+(\d+|unlimited)\s+(\d+|unlimited)(?:\s|$)/.exec(line) ?? [];
    if (name !== undefined) limits.set(name, { soft: limitValue(soft), hard: limitValue(hard) });
  }
  return limits;
}

function limitValue(text: string | undefined): number {
  return text === undefined || text === "unlimited" ? Number.POSITIVE_INFINITY : Number(text);
}
