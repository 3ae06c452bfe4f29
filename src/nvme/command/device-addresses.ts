/** Addresses of memory on the controller (CMB, PMR), and what they may be used for. */
import { UnsupportedError } from "../../core/errors.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { DmaSpace } from "../../dma/space.js";
import { DataDirection, dataDirection } from "../spec/queue-entries.js";

/** What a controller's memory may be used for, by its registers. */
export interface DeviceMemoryUses {
  /** `CMB` or `PMR`. */
  readonly kind: string;
  /** The register that defines the uses. */
  readonly register: string;
  readonly submissionQueues: boolean;
  readonly completionQueues: boolean;
  /** PRP lists and SGL segments. */
  readonly lists: boolean;
  /** Lists of commands whose submission queue is elsewhere. */
  readonly independentLists: boolean;
  /** Data that the controller writes, for commands that read. */
  readonly reads: boolean;
  /** Data that the controller reads, for commands that write. */
  readonly writes: boolean;
  /** Data and metadata of one command may be partly in this memory. */
  readonly mixedData: boolean;
}

/**
 * The addresses and uses of the enabled memory on a controller. The addresses are above all that the space can map, so no
 * other buffer can get them.
 */
export class DeviceAddresses {
  private next: bigint | undefined;
  /** Lowest first. A number holds any page address of 64 bits exactly. */
  private readonly taken: { readonly first: number; readonly uses: DeviceMemoryUses }[] = [];

  constructor(
    private readonly name: string,
    private readonly space: DmaSpace,
  ) {}

  /** Reserves addresses. @throws UnsupportedError if the space can map the whole 64-bit range */
  take(sizeBytes: number, uses: DeviceMemoryUses): bigint {
    const after = this.space.iovaRanges().reduce((end, { last }) => (last >= end ? last + 1n : end), 0n);
    const from = this.next !== undefined && this.next > after ? this.next : after;
    // Naturally aligned, like a BAR.
    const unit = 2n ** BigInt(Math.ceil(Math.log2(sizeBytes)));
    const base = ((from + unit - 1n) / unit) * unit;
    const end = base + BigInt(sizeBytes);
    if (end > 2n ** 64n) {
      throw new UnsupportedError(
        `${this.name}: the DMA space leaves no address for memory on the controller`,
      );
    }
    this.next = end;
    this.taken.push({ first: Number(base), uses });
    return base;
  }

  /** Whether any memory is enabled. Without it, commands need no checks. */
  get inUse(): boolean {
    return this.taken.length > 0;
  }

  /** @throws UnsupportedError if a command can't use this buffer for its data */
  assertData({ iovaLow, iovaHigh }: DmaBuffer, opcode: number): void {
    const uses = this.usesAt(iovaLow, iovaHigh);
    if (uses === undefined) return;
    const isRead = dataDirection(opcode) === DataDirection.controllerToHost;
    const isWrite = dataDirection(opcode) === DataDirection.hostToController;
    if ((isRead && !uses.reads) || (isWrite && !uses.writes)) {
      const bit = isRead ? "RDS" : "WDS";
      const what = isRead ? "reads" : "writes";
      throw new UnsupportedError(
        `${this.name}: data that a command ${what} can't be in its ${uses.kind} (${uses.register}.${bit})`,
      );
    }
  }

  /** @throws UnsupportedError if one command can't use all of these buffers */
  assertTogether(buffers: readonly DmaBuffer[]): void {
    const places = new Set(buffers.map(({ iovaLow, iovaHigh }) => this.usesAt(iovaLow, iovaHigh)));
    if (places.size < 2) return;
    for (const uses of places) {
      if (uses === undefined || uses.mixedData) continue;
      throw new UnsupportedError(
        `${this.name}: data and metadata of one command can't be only partly in its ${uses.kind} (CMBLOC.CDMMMS)`,
      );
    }
  }

  /**
   * @param submission memory of the submission queue
   * @throws UnsupportedError if PRP lists and SGL segments can't be in this buffer
   */
  assertLists({ iovaLow, iovaHigh }: DmaBuffer, submission: DmaBuffer | undefined): void {
    const uses = this.usesAt(iovaLow, iovaHigh);
    if (uses === undefined) return;
    if (!uses.lists) {
      throw new UnsupportedError(
        uses.kind === "PMR"
          ? `${this.name}: PRP lists and SGL segments can't be in a persistent memory region`
          : `${this.name}: PRP lists and SGL segments can't be in its ${uses.kind} (${uses.register}.LISTS)`,
      );
    }
    const commands = submission && this.usesAt(submission.iovaLow, submission.iovaHigh);
    if (commands !== uses && !uses.independentLists) {
      throw new UnsupportedError(
        `${this.name}: PRP lists and SGL segments can't be in its ${uses.kind} if their submission queue isn't (CMBLOC.CDPCILS)`,
      );
    }
  }

  /** @throws UnsupportedError if a queue can't be in this buffer */
  assertRing({ iovaLow, iovaHigh }: DmaBuffer, which: "submission" | "completion"): void {
    const uses = this.usesAt(iovaLow, iovaHigh);
    if (uses === undefined) return;
    const [has, bit] =
      which === "submission" ? [uses.submissionQueues, "SQS"] : [uses.completionQueues, "CQS"];
    if (has) return;
    throw new UnsupportedError(
      uses.kind === "PMR"
        ? `${this.name}: queues can't be in a persistent memory region`
        : `${this.name}: a ${which} queue can't be in its ${uses.kind} (${uses.register}.${bit})`,
    );
  }

  private usesAt(iovaLow: number, iovaHigh: number): DeviceMemoryUses | undefined {
    const at = iovaHigh * 2 ** 32 + iovaLow;
    return this.taken.findLast(({ first }) => at >= first)?.uses;
  }
}
