/** Which of the events that match a fault are hit. Faults of all emulated devices count in this way. */
import * as z from "zod/mini";
import { integer } from "../../core/options.js";

/** Which of the events that match a fault it hits. Left out: all of them. */
export interface FaultCounting {
  /** Begin at the n-th event that matches, counted from 1. */
  readonly nth?: number | undefined;
  /** From there on hit one of so many. */
  readonly every?: number | undefined;
  /** End after so many hits. With `nth` and neither `every` nor `probability`: 1. */
  readonly count?: number | undefined;
  /** Hit each with this probability, from 0 to 1. */
  readonly probability?: number | undefined;
  /** Start of the random numbers: the same seed hits the same events. */
  readonly seed?: number | undefined;
}

/** The schema's part for {@link FaultCounting}. */
export function countingOptions() {
  return {
    nth: z.optional(integer(1)),
    every: z.optional(integer(1)),
    count: z.optional(integer(1)),
    probability: z.optional(z.number().check(z.gt(0), z.maximum(1))),
    seed: z._default(integer(0, 0xffff_ffff), 1),
  };
}

/** A fault that was injected. */
export interface InjectedFault extends Disposable {
  /** How often it has hit. */
  readonly hits: number;
  /** Ends the fault. Does nothing if it has ended. */
  remove(): void;
}

/** Counts the events that match a fault. */
export class FaultCounter {
  hits = 0;
  private seen = 0;
  private random: number;
  private readonly limit: number;

  constructor(private readonly counting: FaultCounting) {
    const { nth, every, count, probability, seed = 1 } = counting;
    this.random = seed >>> 0 || 1;
    const once = nth !== undefined && every === undefined && probability === undefined;
    this.limit = count ?? (once ? 1 : Number.POSITIVE_INFINITY);
  }

  /** An event matches. @returns whether the fault hits it */
  hit(): boolean {
    const { nth = 1, every = 1, probability } = this.counting;
    this.seen++;
    if (this.hits >= this.limit || this.seen < nth || (this.seen - nth) % every !== 0) return false;
    if (probability !== undefined && this.next() >= probability) return false;
    this.hits++;
    return true;
  }

  private next(): number {
    this.random = nextRandom(this.random);
    return this.random / 2 ** 32;
  }
}

/** xorshift32: the same numbers on every machine. @param state not 0 */
export function nextRandom(state: number): number {
  let x = state;
  x ^= x << 13;
  x ^= x >>> 17;
  x ^= x << 5;
  return x >>> 0;
}
