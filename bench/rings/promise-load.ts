/** The same reads with a promise each: namespace.read(), as an application has it, over the queue pair. */

import { Lease } from "../../src/core/lifetime/lease.js";
import type { DmaBuffer } from "../../src/dma/buffer.js";
import { type Iova, type IovaRange, iova } from "../../src/dma/iova/address.js";
import type { DmaMapper } from "../../src/dma/mapper.js";
import { DmaSpace } from "../../src/dma/space.js";
import { BounceBuffers } from "../../src/nvme/memory/bounce-buffers.js";
import type { BlockFormat } from "../../src/nvme/namespace/block-format.js";
import type { CommandTarget } from "../../src/nvme/namespace/command-target.js";
import { NvmeNamespace } from "../../src/nvme/namespace/namespace.js";
import { CommandIds } from "../../src/nvme/queues/command-ids.js";
import { CompletionQueue } from "../../src/nvme/queues/completion-queue.js";
import { PreparedCommands } from "../../src/nvme/queues/prepared-commands.js";
import { QueuePair } from "../../src/nvme/queues/queue-pair.js";
import { writeIoEntry } from "../../src/nvme/queues/submission-entry.js";
import { SubmissionQueue } from "../../src/nvme/queues/submission-queue.js";
import { IDENTIFY_BYTES, identifyController, identifyNamespace } from "../../src/nvme/spec/identify.js";
import { IoOpcode } from "../../src/nvme/spec/opcodes.js";
import { CQ_DOORBELL, ENTRIES, type InlineController, type SharedQueues, SQ_DOORBELL } from "./device.js";
import { WARM_UP_MS } from "./ring-load.js";

const READ_BYTES = 4096;
const BLOCKS = 8;
const format: BlockFormat = {
  blockSizeBytes: READ_BYTES / BLOCKS,
  metadataBytes: 0,
  extended: false,
  protection: undefined,
};

/** Stands in for an IOMMU: the simulated controller looks at no address. */
const mapper: DmaMapper = {
  lease: new Lease("bench", () => {}),
  name: "none",
  iovaRanges: () => [{ start: iova(0n), last: iova(2n ** 47n - 1n) }] satisfies IovaRange[],
  alignmentBytes: () => 4096,
  map: (address): Iova => iova(BigInt(address)),
  unmap: () => {},
};

/** Gives the queue pair the shared rings, which it allocates first. */
class RingSpace extends DmaSpace {
  private readonly rings = [this.queues.sq, this.queues.cq];

  constructor(private readonly queues: SharedQueues) {
    super(mapper);
  }

  override alloc(sizeBytes: number): DmaBuffer {
    const ring = this.rings.shift();
    return ring === undefined ? super.alloc(sizeBytes) : this.map(ring);
  }
}

/** A namespace whose controller is nothing but a queue pair. */
class BareNamespace extends NvmeNamespace {
  constructor(space: DmaSpace, pair: QueuePair) {
    const page = new Uint8Array(IDENTIFY_BYTES);
    const none = (): never => {
      throw new Error("this bench only reads");
    };
    const target: CommandTarget = {
      bdf: "bench",
      dma: space,
      identify: identifyController.decode(page),
      capabilities: { minPageBytes: 4096 },
      maxTransferBytes: READ_BYTES,
      bounce: new BounceBuffers("bench", space, 0),
      hasQuirk: () => false,
      admin: none,
      submitIo: none,
      submitFused: none,
      // As NvmeController has it.
      transferIo(opcode, nsid, lba, cdw12, buffer, offset, length) {
        return pair.transfer(opcode, nsid, lba, cdw12, buffer, offset, length);
      },
      prepareIo: (commands) =>
        new PreparedCommands(commands, { space, pageBytes: 4096, maxTransferBytes: READ_BYTES }),
      submitPrepared: (batch, _, onEnd) => pair.submitBatch(batch, onEnd),
    };
    super(target, 1, { identify: identifyNamespace.decode(page), format });
  }
}

/** Runs so many loops, each of which waits for one read after the other, and measures them. */
async function runLoops(
  depth: number,
  milliseconds: number,
  read: (slot: number, count: number) => Promise<void>,
  elsewhereMs: () => number,
): Promise<number> {
  let done = 0;
  let stopped = false;
  let counted = 0;
  let begin = 0;
  let end = 0;
  const now = (): number => performance.now() - elsewhereMs();
  const start = now();
  const loop = async (slot: number): Promise<void> => {
    while (!stopped) {
      await read(slot, done);
      if ((++done & 1023) === 0) {
        end = now();
        if (begin === 0) {
          if (end - start < WARM_UP_MS) continue;
          begin = end;
          counted = done;
        }
        stopped = end - begin > milliseconds;
      }
    }
  };
  await Promise.all(Array.from({ length: depth }, (_, slot) => loop(slot)));
  return ((done - counted) / (end - begin)) * 1000;
}

/** Runs a controller on this thread, if there is one, and measures its time. */
class OnThisThread {
  spentMs = 0;

  constructor(private readonly controller: InlineController | undefined) {}

  readonly run = (): void => {
    if (this.controller === undefined) return;
    const begin = performance.now();
    this.controller.completeAll();
    this.spentMs += performance.now() - begin;
  };
}

/** A namespace on the shared rings, and a buffer of a page for each read. */
class Reader implements Disposable {
  readonly namespace: NvmeNamespace;
  readonly buffer: DmaBuffer;
  private readonly space: RingSpace;
  private readonly pair: QueuePair;

  constructor(queues: SharedQueues, depth: number, inline: OnThisThread | undefined) {
    const space = new RingSpace(queues);
    const pair = new QueuePair({
      id: 1,
      entries: ENTRIES,
      space,
      doorbells: queues.doorbells,
      doorbellStrideWords: 1,
      afterRing: inline?.run,
      pageBytes: 4096,
      maxTransferBytes: READ_BYTES,
      mode: "poll",
      timeoutMs: 60_000,
      onFailure: (error: Error) => {
        throw error;
      },
      onTick: () => {},
    });
    this.space = space;
    this.pair = pair;
    this.namespace = new BareNamespace(space, pair);
    this.buffer = space.alloc(depth * READ_BYTES);
  }

  [Symbol.dispose](): void {
    this.pair.fail(new Error("done"));
    this.pair.close();
    this.buffer.close();
    this.space.close();
  }
}

/**
 * @param controller on this thread, whose time is not counted; else it is elsewhere
 * @returns commands per second
 */
export async function runPromises(
  queues: SharedQueues,
  depth: number,
  milliseconds: number,
  controller?: InlineController,
): Promise<number> {
  const inline = new OnThisThread(controller);
  using reader = new Reader(queues, depth, controller && inline);
  const { namespace, buffer } = reader;
  const places = Array.from({ length: depth }, (_, slot) => ({
    offset: slot * READ_BYTES,
    length: READ_BYTES,
  }));
  return await runLoops(
    depth,
    milliseconds,
    (slot, count) => namespace.read(count * BLOCKS, buffer, places[slot]),
    () => inline.spentMs,
  );
}

/** Batches that together have as many reads as the depth: while one is evaluated, the controller has the others. */
const BATCHES = 4;

/** The same reads in batches, each of which reads other blocks every time. @param controller as with runPromises() */
export async function runBatches(
  queues: SharedQueues,
  depth: number,
  milliseconds: number,
  controller?: InlineController,
): Promise<number> {
  const inline = new OnThisThread(controller);
  using reader = new Reader(queues, depth, controller && inline);
  const { namespace, buffer } = reader;
  const length = depth / BATCHES;
  const batches = Array.from({ length: BATCHES }, (_, at) =>
    namespace.batch(
      Array.from({ length }, (_, slot) => ({
        command: "read",
        lba: 0,
        data: { buffer, offset: (at * length + slot) * READ_BYTES, length: READ_BYTES },
      })),
    ),
  );
  const rate = await runLoops(
    BATCHES,
    milliseconds,
    (at, count) => {
      const batch = batches[at];
      if (batch === undefined) return Promise.resolve();
      for (let i = 0; i < length; i++) batch.setLba(i, (count * length + i) * BLOCKS);
      return batch.run();
    },
    () => inline.spentMs,
  );
  for (const batch of batches) batch.close();
  return rate * length;
}

/**
 * The least cost of a promise for each read: the ring layer and a bare `new Promise`, without anything else that a library
 * does.
 * @param controller as with runPromises() @returns commands per second
 */
export async function runBarePromises(
  queues: SharedQueues,
  depth: number,
  milliseconds: number,
  controller?: InlineController,
): Promise<number> {
  const { sqWords, cqWords, doorbells } = queues;
  const sq = new SubmissionQueue(1, ENTRIES, sqWords, doorbells, SQ_DOORBELL);
  const cq = new CompletionQueue(1, ENTRIES, cqWords, doorbells, CQ_DOORBELL);
  const cids = new CommandIds(depth);
  const resolves: (() => void)[] = new Array(depth);
  const inline = new OnThisThread(controller);
  let isPolling = true;
  const poll = (): void => {
    // The memory may be unmapped by then.
    if (!isPolling) return;
    const count = cq.reap(ENTRIES);
    for (let i = 0; i < count; i++) {
      const cid = cq.cids[i] ?? -1;
      if ((cq.statuses[i] ?? 1) !== 0 || !cids.give(cid)) throw new Error("a read failed");
      resolves[cid]?.();
    }
    cq.ring();
    setImmediate(poll);
  };
  let isRinging = false;
  const ring = (): void => {
    isRinging = false;
    sq.ring();
    inline.run();
  };
  const ready = Promise.resolve();
  const read = (_: number, count: number): Promise<void> => {
    const cid = cids.take();
    const lba = (count * BLOCKS) >>> 0;
    const prp = 0x1000_0000 + cid * READ_BYTES;
    writeIoEntry(sq.words, sq.slot, IoOpcode.read, cid, 1, lba, 0, BLOCKS - 1, 0, prp, 1, 0, 0);
    sq.post();
    if (!isRinging) {
      isRinging = true;
      void ready.then(ring);
    }
    return new Promise((resolve) => {
      resolves[cid] = resolve;
    });
  };
  setImmediate(poll);
  const rate = await runLoops(depth, milliseconds, read, () => inline.spentMs);
  isPolling = false;
  return rate;
}
