/** Looks at all submission queues of the emulated controller, in the order that arbitration gives. */
import type { Features } from "./commands/features.js";
import type { QueueServer } from "./queue-server.js";
import type { WeightedRoundRobin } from "./queues/arbitration.js";
import type { CompletionPoster } from "./queues/completion-poster.js";
import type { DelayedCommands } from "./queues/delayed-commands.js";
import type { InterruptSignaller } from "./queues/interrupt-signaller.js";
import type { PolledWork } from "./queues/poller.js";
import type { QueueSet } from "./queues/queue-set.js";
import type { EmulatedSq } from "./queues/queues.js";
import type { RunState } from "./run-state.js";

const fence = new Int32Array(new SharedArrayBuffer(4));

/** Looks at all queues, has their commands executed, and posts what is due. */
export class CommandLoop implements PolledWork {
  /** Undefined for round robin (CC.AMS). */
  arbiter: WeightedRoundRobin | undefined;

  constructor(
    private readonly queues: QueueSet,
    private readonly server: QueueServer,
    private readonly delayed: DelayedCommands,
    private readonly completions: CompletionPoster,
    private readonly interrupts: InterruptSignaller,
    private readonly features: Features,
    private readonly state: RunState,
    /** A queue or its doorbells are no longer in memory. */
    private readonly queueLost: () => void,
  ) {}

  /** Looks at all queues once. @returns how many commands and completions there were */
  pump(): number {
    if (!this.state.isRunning || this.state.isPaused) return 0;
    if (!this.queues.followMemory()) {
      this.queueLost();
      return 0;
    }
    const { arbiter } = this;
    let done =
      arbiter === undefined
        ? this.serveInTurn()
        : arbiter.round(this.queues.active, this.features.arbitration, this);
    if (this.delayed.isWaiting) done += this.delayed.run();
    if (this.completions.isWaiting) done += this.completions.drain();
    if (this.interrupts.isWaiting) this.interrupts.signal();
    return done;
  }

  beforeSleep(): void {
    this.queues.publishEventIndexes();
    // The host writes its doorbell and then reads the index; we do it the other way round. Both need a full fence.
    Atomics.add(fence, 0, 1);
  }

  dueInMs(): number {
    if (this.interrupts.isWaiting) return 1;
    return this.delayed.dueInMs;
  }

  /** Serves one of these queues, which the arbiter has chosen. @returns undefined where arbitration has to begin anew */
  serveChosen(sq: EmulatedSq, limit: number, active: readonly EmulatedSq[]): number | undefined {
    if (this.queues.active !== active || !this.state.isRunning) return undefined;
    const tail = sq.doorbell.words[sq.doorbell.index] ?? 0;
    return tail === sq.head ? 0 : this.server.serve(sq, tail, limit);
  }

  private serveInTurn(): number {
    let done = 0;
    const { active } = this.queues;
    for (let i = 0; i < active.length; i++) {
      const sq = active[i];
      if (sq === undefined) continue;
      const tail = sq.doorbell.words[sq.doorbell.index] ?? 0;
      if (tail !== sq.head) done += this.server.serve(sq, tail, Number.POSITIVE_INFINITY);
      // The set of queues changed, or the controller stopped.
      if (this.queues.active !== active || !this.state.isRunning) break;
    }
    return done;
  }
}
