import { checkLength } from "../../core/check.js";
import { UnsupportedError } from "../../core/errors.js";
import type { Lease } from "../../core/resource.js";
import { BufferLease, DmaBuffer } from "../../dma/buffer.js";
import { type Iova, type IovaRange, iova, iovaPage } from "../../dma/iova/address.js";
import { IovaAllocator } from "../../dma/iova/allocator.js";
import { MappedIndex } from "../../dma/mapped-index.js";
import type { DmaMapper } from "../../dma/mapper.js";
import type { DmaSpace } from "../../dma/space.js";
import type { PciDevice } from "../../pci/device.js";
import { PAGE_SIZE } from "../../sys/syscalls.js";

/** Where a controller's memory is to be seen by us, and by the controller in its commands. */
export interface DeviceMemoryPlace {
  readonly bar: number;
  /** First byte in the BAR. */
  readonly offset: number;
  readonly sizeBytes: number;
  /** Address of the first byte in PRPs and SGLs. */
  readonly base: bigint;
}

/** Who "maps" memory on a controller: it has its addresses by the controller's own registers. */
class DeviceMapper implements DmaMapper {
  readonly name = "memory on the controller";
  private readonly free: IovaAllocator;

  constructor(
    readonly lease: Lease,
    private readonly range: IovaRange,
  ) {
    this.free = new IovaAllocator([range], PAGE_SIZE);
  }

  iovaRanges(): IovaRange[] {
    return [this.range];
  }

  alignmentBytes(): number {
    return PAGE_SIZE;
  }

  take(sizeBytes: number): Iova {
    return this.free.alloc(sizeBytes);
  }

  map(): never {
    throw new UnsupportedError("nothing else can be mapped to memory on a controller");
  }

  unmap(at: bigint, sizeBytes: number): void {
    this.free.release(at, sizeBytes);
  }
}

/** Memory on the controller (CMB, PMR), given out in whole pages. Its buffers go wherever those of a DMA space go. */
export class DeviceMemory {
  private readonly mapper: DeviceMapper;
  private readonly index = new MappedIndex();

  constructor(
    private readonly device: PciDevice,
    readonly place: DeviceMemoryPlace,
  ) {
    const { base, sizeBytes } = place;
    const last = iova(base + BigInt(sizeBytes) - 1n);
    this.mapper = new DeviceMapper(device.io.lease, { start: iova(base), last });
  }

  get sizeBytes(): number {
    return this.place.sizeBytes;
  }

  /**
   * A part of it, mapped here. It isn't zeroed, and every access goes over the bus: write it in order, read it rarely, and by
   * plain loads and stores, for a copy may use accesses that a virtual machine can't carry out.
   * @throws ArgumentError, IovaSpaceError where there is no room, UnsupportedError where the BAR can't be mapped, SysError
   */
  alloc(sizeBytes: number): DmaBuffer {
    checkLength("sizeBytes", sizeBytes);
    const { device, place, mapper, index } = this;
    const { dma } = device;
    const rounded = Math.ceil(sizeBytes / PAGE_SIZE) * PAGE_SIZE;
    const at = mapper.take(rounded);
    try {
      const memory = device.bar(place.bar).map(place.offset + Number(at - place.base), rounded);
      const page = iovaPage(at);
      const lease = new BufferLease(dma.lease, index, mapper, memory, page, sizeBytes, undefined, true);
      return new DmaBuffer(dma, memory, lease, "");
    } catch (error) {
      mapper.unmap(at, rounded);
      throw error;
    }
  }
}

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

/** Bits 1:0 of an opcode: which way its data goes. */
const TO_HOST = 2;
const FROM_HOST = 1;

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
    const way = opcode & 3;
    if ((way === TO_HOST && !uses.reads) || (way === FROM_HOST && !uses.writes)) {
      const bit = way === TO_HOST ? "RDS" : "WDS";
      const what = way === TO_HOST ? "brings here" : "takes away";
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
