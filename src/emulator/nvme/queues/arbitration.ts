/** Weighted round robin arbitration of submission queues. */
import { BURST_UNLIMITED } from "../../../nvme/spec/features.js";
import { QueuePriority } from "../../../nvme/spec/queues.js";
import type { EmulatedSq } from "./queues.js";

/** Serves the queues that arbitration chooses. */
export interface ChosenQueueServer {
  /**
   * @param limit commands at most
   * @param active the queues that arbitration chose from
   * @returns how many commands there were; undefined if the queues have changed or the controller has stopped
   */
  serveChosen(sq: EmulatedSq, limit: number, active: readonly EmulatedSq[]): number | undefined;
}

/**
 * Weighted round robin with urgent priority class (NVMe Base 2.x, "Weighted Round Robin with Urgent Priority Class
 * Arbitration"): the admin queue first, urgent queues next, and what is left by the weights of three classes.
 */
export class WeightedRoundRobin {
  private active: readonly EmulatedSq[] = [];
  /** The admin queue, then urgent queues: they have no weight. */
  private first: readonly EmulatedSq[] = [];
  /** High, medium, low: queues, and which of them is next. */
  private readonly classes = [
    { priority: QueuePriority.high, shift: 24, queues: [] as readonly EmulatedSq[], next: 0 },
    { priority: QueuePriority.medium, shift: 16, queues: [] as readonly EmulatedSq[], next: 0 },
    { priority: QueuePriority.low, shift: 8, queues: [] as readonly EmulatedSq[], next: 0 },
  ];

  /**
   * One round.
   * @param arbitration value of the Arbitration feature: weights (zero-based) and burst
   */
  round(active: readonly EmulatedSq[], arbitration: number, server: ChosenQueueServer): number {
    if (active !== this.active) this.sort(active);
    const burst = arbitration & 7;
    const burstLimit = burst === BURST_UNLIMITED ? Number.POSITIVE_INFINITY : 2 ** burst;
    let done = 0;
    for (const sq of this.first) {
      const count = server.serveChosen(sq, Number.POSITIVE_INFINITY, active);
      if (count === undefined) return done;
      done += count;
    }
    for (const each of this.classes) {
      let credits = ((arbitration >>> each.shift) & 0xff) + 1;
      // Queues in turn, until the credits are spent or none of them has anything.
      for (let idle = 0; credits > 0 && idle < each.queues.length; ) {
        const sq = each.queues[each.next % each.queues.length];
        each.next = (each.next + 1) % each.queues.length;
        if (sq === undefined) break;
        const count = server.serveChosen(sq, Math.min(credits, burstLimit), active);
        if (count === undefined) return done;
        done += count;
        credits -= count;
        idle = count === 0 ? idle + 1 : 0;
      }
    }
    return done;
  }

  private sort(active: readonly EmulatedSq[]): void {
    this.active = active;
    const io = active.filter(({ id }) => id !== 0);
    const urgent = io.filter(({ priority }) => priority === QueuePriority.urgent);
    this.first = [...active.filter(({ id }) => id === 0), ...urgent];
    for (const each of this.classes) {
      each.queues = io.filter(({ priority }) => priority === each.priority);
      each.next = 0;
    }
  }
}
