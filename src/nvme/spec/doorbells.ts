/** Where the doorbells of queues are: NVM Express Base Specification 2.x, PCIe transport, "Doorbell" properties. */

/** Index of a submission queue's doorbell (SQyTDBL), in words from the first doorbell on. */
export function submissionDoorbell(id: number, strideWords: number): number {
  return 2 * id * strideWords;
}

/** Index of a completion queue's doorbell (CQyHDBL), in words from the first doorbell on. */
export function completionDoorbell(id: number, strideWords: number): number {
  return (2 * id + 1) * strideWords;
}
