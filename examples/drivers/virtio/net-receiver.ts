/** A queue of frames that virtio's network device has received. */
import type { DmaSpace } from "iova";
import { VirtioError } from "./error.js";
import { HEADER_BYTES, MOST_BYTES, NetBuffers } from "./net-buffers.js";
import type { Part } from "./ring-format.js";
import type { Request, Virtqueue } from "./virtqueue.js";

/** Batches between two looks at the event loop, which a loop that never waits would stop. */
const TURNS = 16;
const MOST_IN_BATCH = 64;

/** Options of the two ways to receive. */
export interface ReceiveOptions {
  /** Ends the iteration by its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Most frames of a batch; 64 by default. */
  readonly most?: number | undefined;
}

interface Received {
  readonly slot: number;
  readonly length: number;
}

/** Gives all its buffers to the device, and each again after its frame was used. */
export class NetReceiver {
  private readonly buffers: NetBuffers;
  private readonly parts: readonly (readonly [Part])[];
  private readonly requests: readonly Request[];
  private readonly ready: Received[] = [];
  private wake = (): void => {};
  private failure: unknown;
  private isIterating = false;
  private isClosed = false;

  constructor(
    dma: DmaSpace,
    private readonly queue: Virtqueue,
  ) {
    const count = queue.capacity(1);
    const buffers = new NetBuffers(dma, count, true);
    this.buffers = buffers;
    this.parts = Array.from({ length: count }, (_, slot) => [buffers.part(slot)] as const);
    this.requests = this.parts.map((_, slot) => ({
      finished: (writtenBytes) => this.take(slot, writtenBytes),
      failed: (error) => this.fail(error),
    }));
    for (let slot = 0; slot < count; slot++) this.give(slot);
  }

  /** Shows the device its buffers. It must have been started. */
  start(): void {
    this.queue.kick();
  }

  /**
   * Batches of frames, as they come. A frame's bytes are valid until the next turn of the loop. Ends when the driver closes.
   * @param copies whether each frame has memory of its own instead
   * @throws in the iteration: VirtioError if another iteration has this queue, or the device has failed; the signal's reason
   */
  async *batches(
    { signal, most = MOST_IN_BATCH }: ReceiveOptions,
    copies = false,
  ): AsyncGenerator<readonly Uint8Array[], void, undefined> {
    if (this.isIterating) throw new VirtioError(`frames are received by another iteration already`);
    this.isIterating = true;
    const stop = (): void => this.wake();
    signal?.addEventListener("abort", stop);
    let taken: Received[] = [];
    try {
      for (let turn = 1; !this.isClosed; turn++) {
        signal?.throwIfAborted();
        taken = this.ready.splice(0, most);
        if (taken.length > 0) {
          yield taken.map(({ slot, length }) =>
            copies ? this.buffers.read(slot, length) : this.buffers.frame(slot, length),
          );
          this.giveBack(taken);
          if (turn % TURNS === 0) await new Promise(setImmediate);
        } else if (this.failure !== undefined) throw this.failure;
        else
          await new Promise<void>((resolve) => {
            this.wake = resolve;
          });
      }
    } finally {
      this.giveBack(taken);
      signal?.removeEventListener("abort", stop);
      this.isIterating = false;
    }
  }

  /** Ends the iteration. */
  end(): void {
    this.isClosed = true;
    this.wake();
  }

  /** Frees the memory. The device must have stopped. */
  close(): void {
    this.end();
    this.buffers.close();
  }

  /** A length that can't be is damage: a device must not show what an earlier frame left in the buffer. */
  private take(slot: number, writtenBytes: number): void {
    const length = writtenBytes - HEADER_BYTES;
    if (length < 0 || length > MOST_BYTES)
      throw new VirtioError(`the device says that it wrote ${writtenBytes} bytes of a frame`);
    this.ready.push({ slot, length });
    this.wake();
  }

  private give(slot: number): void {
    const part = this.parts[slot];
    const request = this.requests[slot];
    if (part !== undefined && request !== undefined) this.queue.add(part, request);
  }

  private giveBack(taken: Received[]): void {
    if (this.isClosed || this.failure !== undefined || taken.length === 0) return;
    for (const { slot } of taken.splice(0)) this.give(slot);
    this.queue.kick();
  }

  private fail(error: unknown): void {
    this.failure ??= error;
    this.wake();
  }
}
