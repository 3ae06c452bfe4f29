/** I/O queue pairs as programs use them, and the options to create one. */
import type { DmaBuffer } from "../../dma/buffer.js";
import type { QueuePriority } from "../spec/queues.js";
import type { QueueStatistics } from "./queue-statistics.js";

/** Memory for a queue pair, from the caller: ordinary buffers, or parts of the controller memory buffer. */
export interface RingBuffers {
  /** Submission queue: 64 bytes per entry, starting at a memory page. */
  readonly submission?: DmaBuffer | undefined;
  /** Completion queue: 16 bytes per entry, starting at a memory page. */
  readonly completion?: DmaBuffer | undefined;
  /**
   * PRP lists and SGL segments of all commands, starting at a memory page. The size depends on the number of entries and
   * the longest transfer. If the buffer is too small, the error contains the required size.
   */
  readonly lists?: DmaBuffer | undefined;
}

/** Options of {@link NvmeController.createQueuePair}. */
export interface QueueOptions {
  /** Entries of each ring; one stays empty. Default: `queueEntries` of {@link NvmeOptions}. */
  readonly entries?: number | undefined;
  /** Interrupt vector. Default: the next one in turn. */
  readonly vector?: number | undefined;
  /** Arbitration priority. Only with weighted round robin arbitration. */
  readonly priority?: keyof typeof QueuePriority | undefined;
  /** Memory of the rings. The buffers stay in use until the queue is deleted. */
  readonly memory?: RingBuffers | undefined;
}

/** An I/O queue pair of a controller. */
export interface NvmeQueue {
  /** Queue identifier, the same for both queues of the pair. */
  readonly id: number;
  /** Entries of each ring. One command less can be outstanding. */
  readonly entries: number;
  /** Interrupt vector. */
  readonly vector: number;
  /** Arbitration priority, if one was set. */
  readonly priority: keyof typeof QueuePriority | undefined;
  /** Commands that the controller has received but not completed. */
  readonly outstanding: number;
  /** Starts collecting statistics, unless they are already collected. Costs about 100 ns per command. */
  collectStatistics(): QueueStatistics;
  /** Stops collecting statistics. */
  endStatistics(): void;
}
