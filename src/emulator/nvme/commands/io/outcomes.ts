/** What I/O commands leave behind besides data: counters, errors of the medium, and the state of written blocks. */
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { EmulatedNamespace } from "../../medium/namespace.js";
import type { PlacementCommands } from "./placement.js";

/** Counters for the SMART log: doubles, so that counting allocates nothing. */
export const IoCounter = {
  readCommands: 0,
  writeCommands: 1,
  bytesRead: 2,
  bytesWritten: 3,
  mediaErrors: 4,
} as const;

/** The outcomes of all I/O commands of a controller. */
export class IoOutcomes {
  readonly counters = new Float64Array(5);
  /** Commands other than writes that change blocks. */
  otherChanges = 0;

  constructor(private readonly placement: PlacementCommands) {}

  /** Grows with every command that may change blocks. */
  get changes(): number {
    return (this.counters[IoCounter.writeCommands] ?? 0) + this.otherChanges;
  }

  /** Blocks have new data. */
  written(namespace: EmulatedNamespace, lba: number, blocks: number): void {
    if (namespace.uncorrectable.size > 0) namespace.uncorrectable.delete(lba, blocks);
    if (this.placement.isEnabled) this.placement.written(namespace, blocks * namespace.blockBytes);
    namespace.zones?.advance(lba, blocks);
  }

  /** Blocks can't be read. @returns the status */
  mediaError(): number {
    this.counters[IoCounter.mediaErrors] = (this.counters[IoCounter.mediaErrors] ?? 0) + 1;
    return NvmeStatus.unrecoveredReadError;
  }

  /** Blocks can't be written. @returns the status */
  writeFault(): number {
    this.counters[IoCounter.mediaErrors] = (this.counters[IoCounter.mediaErrors] ?? 0) + 1;
    return NvmeStatus.writeFault;
  }
}
