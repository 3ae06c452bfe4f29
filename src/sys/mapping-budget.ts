/**
 * How many memory mappings this process can still make. The kernel counts them (vm.max_map_count), and V8 ends the process when
 * it gets none. So memory that other processes have mapped here must leave some.
 */
import { readFileSync } from "node:fs";
import { kernelText } from "./kernel-files.js";

/** The kernel's default of vm.max_map_count. */
const DEFAULT_MAX = 65_530;
/** What V8 and the rest of the process keep: an eighth, and never less than this. */
const MIN_RESERVE = 4096;
/** Of the mappings that are left, one in so many is made until they are counted again: each can split others. */
const SHARE = 8;
/** Fewer than this aren't worth a count. */
const MIN_SHARE = 8;
/** Counting takes milliseconds: a process at its limit is asked so often at most. */
const RECOUNT_MS = 100;

const NEWLINE = 10;

/** Mappings that this process has: the lines of /proc/self/maps. @throws Error without /proc */
function countMappings(): number {
  const bytes = readFileSync("/proc/self/maps");
  let lines = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) lines++;
  return lines;
}

function maxMappings(): number {
  const max = Number(kernelText("/proc/sys/vm/max_map_count"));
  return max > 0 ? max : DEFAULT_MAX;
}

/** Grants mappings one by one, and counts the process's from time to time: other threads make some, too. */
export class MappingBudget {
  private granted = 0;
  private refusedUntil = Number.NEGATIVE_INFINITY;

  /**
   * The parameters are for tests.
   * @param max mappings that the kernel allows
   * @param count tells how many there are
   */
  constructor(
    private readonly max = maxMappings(),
    private readonly count = countMappings,
    private readonly now = () => performance.now(),
  ) {}

  /** Mappings that can still be made, less what the process itself needs. Counts them. */
  left(): number {
    try {
      const reserve = Math.max(MIN_RESERVE, Math.floor(this.max / 8));
      return Math.max(0, this.max - reserve - this.count());
    } catch {
      // Without /proc nothing is known.
      return Number.MAX_SAFE_INTEGER;
    }
  }

  /** @returns false if no further mapping may be made now */
  take(): boolean {
    if (this.granted === 0) {
      const now = this.now();
      if (now < this.refusedUntil) return false;
      const share = Math.floor(this.left() / SHARE);
      if (share < MIN_SHARE) {
        this.refusedUntil = now + RECOUNT_MS;
        return false;
      }
      this.granted = share;
    }
    this.granted--;
    return true;
  }
}
