/**
 * A queue pair, and a controller that the test plays. The controller reads and writes the same memory and doorbells as a real
 * one, and can do what a test can't make a real one do: it answers out of order, late, twice or never.
 */
import { setImmediate } from "node:timers/promises";
import { ClosedError } from "../../src/core/errors.js";
import { Lease } from "../../src/core/lifetime/lease.js";
import type { DmaBuffer } from "../../src/dma/buffer.js";
import { type Iova, type IovaRange, iova } from "../../src/dma/iova/address.js";
import type { DmaMapper } from "../../src/dma/mapper.js";
import { type AllocOptions, DmaSpace } from "../../src/dma/space.js";
import type { NvmeCommand } from "../../src/nvme/command/command.js";
import { QueuePair, type QueuePairOptions } from "../../src/nvme/queues/queue-pair.js";

export const QUEUE_ID = 2;
/** Two words between doorbells, as a controller with CAP.DSTRD 1 has them. */
const STRIDE_WORDS = 2;
export const SQ_DOORBELL = 2 * QUEUE_ID * STRIDE_WORDS;
export const CQ_DOORBELL = SQ_DOORBELL + STRIDE_WORDS;
/** The content of a doorbell that was never rung. */
export const UNTOUCHED = 0xdead_beef;
export const PAGE = 4096;

/** Assigns ascending addresses from a start that the test chooses. */
class CountingMapper implements DmaMapper {
  readonly name = "counting";
  readonly lease = new Lease("counting mapper", () => {});

  constructor(private next: bigint) {}

  iovaRanges(): IovaRange[] {
    return [{ start: iova(0n), last: iova(2n ** 64n - 1n) }];
  }

  alignmentBytes(): number {
    return PAGE;
  }

  map(_address: number, sizeBytes: number): Iova {
    const at = this.next;
    this.next += BigInt(sizeBytes);
    return iova(at);
  }

  unmap(): void {}
}

/** A DMA space that a test can read as a device does. */
class VisibleSpace extends DmaSpace {
  private readonly buffers: DmaBuffer[] = [];

  override alloc(sizeBytes: number, options?: AllocOptions): DmaBuffer {
    const buffer = super.alloc(sizeBytes, options);
    this.buffers.push(buffer);
    return buffer;
  }

  /** What a device reads at an address. */
  read(address: bigint, length: number): Uint8Array {
    for (const buffer of this.buffers) {
      const offset = address - buffer.iova;
      if (offset >= 0n && offset < BigInt(buffer.memory.sizeBytes)) {
        return buffer.memory.bytes.subarray(Number(offset), Number(offset) + length);
      }
    }
    throw new Error(`nothing is mapped at 0x${address.toString(16)}`);
  }

  readEntry(address: bigint): bigint {
    const bytes = this.read(address, 8);
    return new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
  }
}

/** A submission queue entry as a controller reads it. */
export interface Fetched {
  readonly opcode: number;
  readonly cid: number;
  readonly nsid: number;
  readonly prp1: bigint;
  readonly prp2: bigint;
  readonly dwords: readonly number[];
}

/** The controller's end of a queue pair. */
export class PlayedController {
  private sqHead = 0;
  private cqTail = 0;
  private phase = 1;

  constructor(
    private readonly queue: QueuePair,
    private readonly doorbells: Uint32Array,
    private readonly entries: number,
  ) {}

  /** All commands that the doorbell announced since the last call. */
  fetch(): Fetched[] {
    const found: Fetched[] = [];
    const tail = this.doorbells[SQ_DOORBELL] ?? 0;
    if (tail === UNTOUCHED) return found;
    const { words } = this.queue.sqMemory.memory;
    while (this.sqHead !== tail) {
      const dwords = [...words.subarray(this.sqHead * 16, this.sqHead * 16 + 16)];
      const dword = (index: number): number => dwords[index] ?? 0;
      const wide = (index: number): bigint => BigInt(dword(index)) | (BigInt(dword(index + 1)) << 32n);
      found.push({
        opcode: dword(0) & 0xff,
        cid: dword(0) >>> 16,
        nsid: dword(1),
        prp1: wide(6),
        prp2: wide(8),
        dwords,
      });
      this.sqHead = (this.sqHead + 1) % this.entries;
    }
    return found;
  }

  complete(cid: number, statusField = 0, dw0 = 0, dw1 = 0): void {
    const { words } = this.queue.cqMemory.memory;
    const at = this.cqTail * 4;
    words.set([dw0, dw1, (QUEUE_ID << 16) | this.sqHead], at);
    words[at + 3] = ((statusField << 17) | (this.phase << 16) | cid) >>> 0;
    this.cqTail = (this.cqTail + 1) % this.entries;
    if (this.cqTail === 0) this.phase ^= 1;
  }
}

/** A queue pair, and what the test sees of it. */
export interface PlayedQueuePair {
  readonly space: VisibleSpace;
  readonly queue: QueuePair;
  readonly device: PlayedController;
  readonly doorbells: Uint32Array;
  readonly failures: Error[];
}

const cleanups: (() => void)[] = [];

/** Runs after the test, or at the next cleanUp(). */
export function atCleanup(cleanup: () => void): void {
  cleanups.push(cleanup);
}

/** Closes all queue pairs made so far, for tests that make many. */
export function cleanUp(): void {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
}

/** Makes a queue pair. It is closed after the test, if the test file has `afterEach(cleanUp)`. */
export function setUp(options: Partial<QueuePairOptions> & { firstIova?: bigint } = {}): PlayedQueuePair {
  const { firstIova = 0x1000n, entries = 8, ...rest } = options;
  const mapper = new CountingMapper(firstIova);
  const space = new VisibleSpace(mapper);
  const doorbells = new Uint32Array(16).fill(UNTOUCHED);
  const failures: Error[] = [];
  const queue = new QueuePair({
    id: QUEUE_ID,
    entries,
    space,
    doorbells,
    doorbellStrideWords: STRIDE_WORDS,
    pageBytes: PAGE,
    maxTransferBytes: 64 * 1024,
    mode: "interrupt",
    timeoutMs: 30_000,
    onFailure: (error) => failures.push(error),
    onTick: () => {},
    ...rest,
  });
  cleanups.push(() => {
    queue.fail(new ClosedError("the test's queue pair"));
    queue.close();
    space.close();
    mapper.lease.close();
  });
  return { space, queue, device: new PlayedController(queue, doorbells, entries), doorbells, failures };
}

/** A command that its dword 10 identifies. */
export const command = (cdw10: number): NvmeCommand => ({ opcode: 0x7e, nsid: 1, cdw10 });

/** The states of promises now, without waiting for any. */
export async function settled(promises: readonly Promise<unknown>[]): Promise<string[]> {
  const states = promises.map(() => "pending");
  promises.forEach((promise, i) => {
    promise.then(
      () => {
        states[i] = "resolved";
      },
      () => {
        states[i] = "rejected";
      },
    );
  });
  await setImmediate();
  return states;
}
