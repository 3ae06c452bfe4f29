/** Places of the queues' doorbells: NVM Express Base Specification 2.x, PCIe transport, "Doorbell" properties. */

/** Index of a submission queue's doorbell (SQyTDBL), in words from the first doorbell. */
export function submissionDoorbell(id: number, strideWords: number): number {
  return 2 * id * strideWords;
}

/** Index of a completion queue's doorbell (CQyHDBL), in words from the first doorbell. */
export function completionDoorbell(id: number, strideWords: number): number {
  return (2 * id + 1) * strideWords;
}
