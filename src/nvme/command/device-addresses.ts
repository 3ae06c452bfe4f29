/** Addresses of memory on the controller (CMB, PMR), and what commands may keep there. */
import { UnsupportedError } from "../../core/errors.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { DmaSpace } from "../../dma/space.js";
import { DataDirection, dataDirection } from "../spec/queue-entries.js";

/** What may lie in a controller's memory, as its registers say. */
export interface DeviceMemoryUses {
  /** `CMB` or `PMR`. */
  readonly kind: string;
  /** The register that says so. */
  readonly register: string;
  readonly submissionQueues: boolean;
  readonly completionQueues: boolean;
  /** PRP lists and SGL segments; also of commands that lie elsewhere. */
  readonly lists: boolean;
  readonly independentLists: boolean;
  /** Data of commands that bring it there (`reads`), and that take it away. */
  readonly reads: boolean;
  readonly writes: boolean;
  /** Data and metadata of one command may lie partly there. */
  readonly mixedData: boolean;
}

/**
 * The memory on a controller that is in use: free numbers for it, above all that the space can map, so that no other buffer
 * ever has them; and what may lie there.
 */
export class DeviceAddresses {
  private next: bigint | undefined;
  /** Lowest first. Addresses of pages are exact as numbers, up to 64 bits. */
  private readonly taken: { readonly first: number; readonly uses: DeviceMemoryUses }[] = [];

  constructor(
    private readonly name: string,
    private readonly space: DmaSpace,
  ) {}

  /** @throws UnsupportedError where the whole 64-bit range can be mapped */
  take(sizeBytes: number, uses: DeviceMemoryUses): bigint {
    const after = this.space.iovaRanges().reduce((end, { last }) => (last >= end ? last + 1n : end), 0n);
    const from = this.next !== undefined && this.next > after ? this.next : after;
    // Naturally aligned, as a BAR is.
    const unit = 2n ** BigInt(Math.ceil(Math.log2(sizeBytes)));
    const base = ((from + unit - 1n) / unit) * unit;
    const end = base + BigInt(sizeBytes);
    if (end > 2n ** 64n) {
      throw new UnsupportedError(`${this.name}: no address is left for memory on the controller`);
    }
    this.next = end;
    this.taken.push({ first: Number(base), uses });
    return base;
  }

  /** Whether there is any: nothing has to be asked otherwise. */
  get inUse(): boolean {
    return this.taken.length > 0;
  }

  /** @throws UnsupportedError where a command can't have this buffer for its data */
  assertData({ iovaLow, iovaHigh }: DmaBuffer, opcode: number): void {
    const uses = this.usesAt(iovaLow, iovaHigh);
    if (uses === undefined) return;
    const isRead = dataDirection(opcode) === DataDirection.controllerToHost;
    const isWrite = dataDirection(opcode) === DataDirection.hostToController;
    if ((isRead && !uses.reads) || (isWrite && !uses.writes)) {
      const bit = isRead ? "RDS" : "WDS";
      const what = isRead ? "brings here" : "takes away";
      throw new UnsupportedError(
        `${this.name}: data that a command ${what} can't lie in its ${uses.kind} (${uses.register}.${bit})`,
      );
    }
  }

  /** @throws UnsupportedError where a command can't have its data and metadata in all of these buffers at once */
  assertTogether(buffers: readonly DmaBuffer[]): void {
    const places = new Set(buffers.map(({ iovaLow, iovaHigh }) => this.usesAt(iovaLow, iovaHigh)));
    if (places.size < 2) return;
    for (const uses of places) {
      if (uses === undefined || uses.mixedData) continue;
      throw new UnsupportedError(
        `${this.name}: data and metadata of one command can't lie only partly in its ${uses.kind} (CMBLOC.CDMMMS)`,
      );
    }
  }

  /**
   * @param submission where the commands are
   * @throws UnsupportedError where PRP lists and SGL segments can't lie in this buffer
   */
  assertLists({ iovaLow, iovaHigh }: DmaBuffer, submission: DmaBuffer | undefined): void {
    const uses = this.usesAt(iovaLow, iovaHigh);
    if (uses === undefined) return;
    if (!uses.lists) {
      throw new UnsupportedError(
        uses.kind === "PMR"
          ? `${this.name}: lists can't lie in a persistent memory region`
          : `${this.name}: PRP lists and SGL segments can't lie in its ${uses.kind} (${uses.register}.LISTS)`,
      );
    }
    const commands = submission && this.usesAt(submission.iovaLow, submission.iovaHigh);
    if (commands !== uses && !uses.independentLists) {
      throw new UnsupportedError(
        `${this.name}: lists can't lie in its ${uses.kind} where their submission queue doesn't (CMBLOC.CDPCILS)`,
      );
    }
  }

  /** @throws UnsupportedError where a queue can't lie in this buffer */
  assertRing({ iovaLow, iovaHigh }: DmaBuffer, which: "submission" | "completion"): void {
    const uses = this.usesAt(iovaLow, iovaHigh);
    if (uses === undefined) return;
    const [has, bit] =
      which === "submission" ? [uses.submissionQueues, "SQS"] : [uses.completionQueues, "CQS"];
    if (has) return;
    throw new UnsupportedError(
      uses.kind === "PMR"
        ? `${this.name}: queues can't lie in a persistent memory region`
        : `${this.name}: a ${which} queue can't lie in its ${uses.kind} (${uses.register}.${bit})`,
    );
  }

  private usesAt(iovaLow: number, iovaHigh: number): DeviceMemoryUses | undefined {
    const at = iovaHigh * 2 ** 32 + iovaLow;
    return this.taken.findLast(({ first }) => at >= first)?.uses;
  }
}
