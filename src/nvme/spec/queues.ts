/** Create I/O Submission and Completion Queue, CDW11: NVMe Base 2.x. */

/** Bits of CDW11 of Create I/O Submission Queue and Create I/O Completion Queue. */
export const QueueFlag = {
  /** PC: physically contiguous. */
  contiguous: 1 << 0,
  /** IEN: interrupts are enabled; completion queues only. */
  interruptsEnabled: 1 << 1,
  /** Lowest bit of QPRIO; submission queues only. */
  PRIORITY_SHIFT: 1,
} as const;

/** Priority of a submission queue with weighted round robin arbitration (QPRIO). */
export const QueuePriority = {
  /** Urgent: before all other classes. */
  urgent: 0,
  /** High: weighted by the Arbitration feature. */
  high: 1,
  /** Medium: weighted by the Arbitration feature. */
  medium: 2,
  /** Low: weighted by the Arbitration feature. */
  low: 3,
} as const;
