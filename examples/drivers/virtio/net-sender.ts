/** A queue of frames that virtio's network device sends. */
import type { DmaSpace } from "iova";
import { Turns } from "../turns.js";
import { VirtioError } from "./error.js";
import { HEADER_BYTES, MOST_BYTES, NetBuffers } from "./net-buffers.js";
import type { Virtqueue } from "./virtqueue.js";

/** Two addresses and a type. */
const LEAST_BYTES = 14;

/** Copies each frame into memory of its own, and waits while all are in use. */
export class NetSender {
  private readonly buffers: NetBuffers;
  private readonly freeSlots: number[];
  /** Those that wait for a slot, or for all of them. */
  private waiting: (() => void)[] = [];
  private failure: unknown;
  /** Frames go in the order of the calls. */
  private readonly turns = new Turns();

  constructor(
    dma: DmaSpace,
    private readonly queue: Virtqueue,
  ) {
    const count = queue.capacity(1);
    this.buffers = new NetBuffers(dma, count, false);
    this.freeSlots = Array.from({ length: count }, (_, i) => i);
  }

  /**
   * Gives frames to the device, with one notification for as many as there is room for. Each is copied when its turn comes.
   * @throws as a rejection, with the frames before it sent: VirtioError (too short or long, the device has failed or stopped);
   *   the signal's reason
   */
  async sendAll(frames: Iterable<Uint8Array>, signal: AbortSignal | undefined): Promise<void> {
    await this.turns.take(async () => {
      try {
        for (const frame of frames) {
          check(frame);
          while (this.freeSlots.length === 0) {
            this.queue.kick();
            await this.change(signal);
          }
          signal?.throwIfAborted();
          this.post(frame);
        }
      } finally {
        this.queue.kick();
      }
    });
  }

  /** Waits until the device has sent everything. @throws as a rejection: as {@link sendAll} */
  async flush(signal: AbortSignal | undefined): Promise<void> {
    await this.turns.take(async () => {
      while (this.freeSlots.length < this.buffers.count) await this.change(signal);
    });
  }

  /** Frees the memory. The device must have stopped. */
  close(): void {
    this.buffers.close();
  }

  private post(frame: Uint8Array): void {
    // A queue that has ended has no buffers any more.
    this.queue.assertWorks();
    const slot = this.freeSlots.pop() ?? 0;
    this.buffers.write(slot, frame);
    this.queue.add([this.buffers.part(slot, HEADER_BYTES + frame.length)], {
      finished: () => {
        this.freeSlots.push(slot);
        this.wake();
      },
      failed: (error) => {
        this.failure ??= error;
        this.wake();
      },
    });
  }

  private wake(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  /** Waits until the device has sent some. */
  private async change(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (this.failure !== undefined) throw this.failure;
    const wake = (): void => this.wake();
    signal?.addEventListener("abort", wake);
    try {
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    } finally {
      signal?.removeEventListener("abort", wake);
    }
    signal?.throwIfAborted();
    if (this.failure !== undefined) throw this.failure;
  }
}

function check(frame: Uint8Array): void {
  if (frame.length < LEAST_BYTES || frame.length > MOST_BYTES)
    throw new VirtioError(`a frame has ${LEAST_BYTES} to ${MOST_BYTES} bytes, got ${frame.length}`);
}
