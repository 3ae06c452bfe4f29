/** What the main thread of `iova nvme perf` does while queues run: shows progress, and ends warm-ups that it holds. */
import { largestOf, smallestOf } from "../../../core/lists.js";
import { formatCount } from "../../compare/units.js";
import type { ProgressLine } from "../../progress.js";
import { type PerfQueueSetup, Shared } from "./queue.js";
import { phases } from "./run.js";

/** Parts of the window whose rates are compared. */
const PARTS = 10;
/** A warm-up lasts no longer than so many windows. */
const MOST_WINDOWS = 20;
/** Milliseconds between two looks. */
export const LOOK_MS = 50;

/** What was found about the steady state. */
export interface SteadyState {
  readonly reached: boolean;
  /** How long the warm-up was. */
  readonly seconds: number;
  /** Of the last window: the largest distance from the mean, and what the line through the rates rises by, in percent of the mean. */
  readonly variation: number;
  readonly drift: number;
}

/** How rates of equal times vary and drift. */
export function steadiness(rates: readonly number[]): Pick<SteadyState, "variation" | "drift"> {
  const middle = (rates.length - 1) / 2;
  const mean = rates.reduce((sum, rate) => sum + rate, 0) / rates.length;
  const distances = rates.map((rate) => Math.abs(rate - mean));
  const rise = rates.reduce((sum, rate, at) => sum + (at - middle) * (rate - mean), 0);
  const squares = rates.reduce((sum, _, at) => sum + (at - middle) ** 2, 0);
  return {
    variation: (100 * largestOf(distances, 0)) / mean,
    drift: (100 * (rise / squares) * (rates.length - 1)) / mean,
  };
}

export class PerfMonitor {
  /** Undefined if it isn't looked for, or no warm-up was long enough. */
  steady: SteadyState | undefined;
  private warmSince: number | undefined;
  private isReleased = false;
  private readonly rates: number[] = [];
  private last: { readonly at: number; readonly ios: number } | undefined;
  private shown = { at: 0, ios: 0 };

  constructor(
    private readonly setups: readonly PerfQueueSetup[],
    private readonly line: ProgressLine,
    private readonly want: { readonly percent: number; readonly seconds: number } | undefined,
  ) {}

  look(now = performance.now()): void {
    const phase = smallestOf(this.setups.map(({ shared }) => Atomics.load(shared, Shared.phase)));
    const ios = this.setups.reduce((sum, { shared }) => sum + Atomics.load(shared, Shared.ios), 0);
    if (phases[phase] === "warming up" && !this.isReleased) this.warm(now, ios);
    if (!this.line.isShown || now - this.shown.at < 500) return;
    const iops = ((ios - this.shown.ios) / (now - this.shown.at)) * 1000;
    this.shown = { at: now, ios };
    this.line.show(`${phases[phase]}: ${formatCount(Math.max(iops, 0))} IOPS`, this.done(phase));
  }

  /** The share of the measurement that is over. */
  private done(phase: number): number {
    const [setup] = this.setups;
    if (setup === undefined || phases[phase] !== "measuring")
      return phase > phases.indexOf("measuring") ? 1 : 0;
    const counts = setup.shared.subarray(Shared.samples);
    return counts.reduce((last, count, at) => (count > 0 ? at + 1 : last), 0) / counts.length;
  }

  private warm(now: number, ios: number): void {
    this.warmSince ??= now;
    const seconds = (now - this.warmSince) / 1000;
    const { want, rates } = this;
    if (want !== undefined) {
      this.last ??= { at: now, ios };
      const part = now - this.last.at;
      if (part >= (want.seconds * 1000) / PARTS) {
        rates.push((ios - this.last.ios) / part);
        this.last = { at: now, ios };
      }
      if (rates.length >= PARTS) {
        const found = steadiness(rates.slice(-PARTS));
        const reached = found.variation <= want.percent && Math.abs(found.drift) <= want.percent;
        this.steady = { reached, seconds, ...found };
      }
      if (this.steady?.reached !== true && seconds < want.seconds * MOST_WINDOWS) return;
    }
    if (seconds * 1000 < (this.setups[0]?.plan.warmUpMs ?? 0)) return;
    this.isReleased = true;
    for (const { shared } of this.setups) Atomics.store(shared, Shared.released, 1);
  }
}
