/** Create I/O Submission and Completion Queue, CDW11: NVMe Base 2.x. */

/** Bits of CDW11. */
export const QueueFlag = {
  /** PC: physically contiguous. */
  contiguous: 1 << 0,
  /** IEN, completion queues. */
  interruptsEnabled: 1 << 1,
  /** QPRIO, submission queues. */
  PRIORITY_SHIFT: 1,
} as const;

/** QPRIO. */
export const QueuePriority = { urgent: 0, high: 1, medium: 2, low: 3 } as const;
