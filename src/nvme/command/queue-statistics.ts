/** Counters and latency of one queue pair. */
import { createHistogram, type RecordableHistogram } from "node:perf_hooks";
import { DataDirection, dataDirection } from "../spec/queue-entries.js";
import type { NvmeCommand } from "./command.js";
import { dataBytes } from "./data-ranges.js";

/** Statistics of a queue pair since their collection started. */
export class QueueStatistics {
  /** Commands completed. */
  commands = 0;
  /** Commands completed with an error status. */
  errors = 0;
  /** Data bytes of commands that read. */
  bytesRead = 0;
  /** Data bytes of commands that write. */
  bytesWritten = 0;
  /** Time from posting to completion, in nanoseconds. */
  readonly latency: RecordableHistogram = createHistogram();
  private readonly starts: Float64Array;

  /** @internal Use {@link NvmeQueue.collectStatistics}. */
  constructor(slots: number) {
    this.starts = new Float64Array(slots);
  }

  /** Sets all counters to 0. */
  reset(): void {
    this.commands = 0;
    this.errors = 0;
    this.bytesRead = 0;
    this.bytesWritten = 0;
    this.latency.reset();
  }

  /** @internal */
  started(slot: number): void {
    this.starts[slot] = performance.now();
  }

  /** @internal */
  completed(slot: number, command: NvmeCommand, statusField: number): void {
    const start = this.starts[slot] ?? 0;
    this.starts[slot] = 0;
    // The command was posted before the collection started.
    if (start === 0) return;
    this.latency.record(Math.max(1, Math.round((performance.now() - start) * 1e6)));
    this.commands++;
    if (statusField !== 0) this.errors++;
    else if (command.data !== undefined) {
      const bytes = dataBytes(command.data);
      const direction = dataDirection(command.opcode);
      if (direction === DataDirection.controllerToHost) this.bytesRead += bytes;
      else if (direction === DataDirection.hostToController) this.bytesWritten += bytes;
    }
  }
}
