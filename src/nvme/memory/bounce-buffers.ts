/** Buffers that stand in for memory that devices can't reach. They are mapped once, and used by one command after the other. */
import { ArgumentError, asError, ClosedError, UnsupportedError } from "../../core/errors.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { DmaSpace } from "../../dma/space.js";

const SMALLEST_BYTES = 4096;
/** How often a request that waits looks whether the controller has released a buffer whose command was given up. */
const LOOK_MS = 10;

interface Waiter {
  readonly sizeBytes: number;
  resolve(buffer: DmaBuffer): void;
  reject(error: Error): void;
}

/** The bounce buffers of one controller. */
export class BounceBuffers {
  /** Free buffers by size: of 4096 bytes, 8192, ... */
  private readonly free: DmaBuffer[][] = [];
  /** Buffers whose command was given up while the controller still had it, and may still write to them. */
  private lingering: DmaBuffer[] = [];
  private readonly waiting: Waiter[] = [];
  private madeBytes = 0;
  private timer: NodeJS.Timeout | undefined = undefined;
  private isClosed = false;

  /** @param limitBytes most bytes to map; 0: none, and each request is refused */
  constructor(
    private readonly name: string,
    private readonly dma: DmaSpace,
    private readonly limitBytes: number,
  ) {}

  /**
   * Takes a buffer of at least `sizeBytes`. Its bytes are whatever they were.
   * @returns undefined if all are in use, see {@link wait}
   * @throws UnsupportedError without bounce buffers; ArgumentError if the limit is smaller; as DmaSpace.alloc()
   */
  take(sizeBytes: number): DmaBuffer | undefined {
    return this.waiting.length > 0 ? undefined : this.find(sizeBytes);
  }

  /** {@link take}, as soon as there is one, in the order of the calls. @throws as take(), as a rejection */
  async wait(sizeBytes: number): Promise<DmaBuffer> {
    const buffer = this.take(sizeBytes);
    if (buffer !== undefined) return buffer;
    return await new Promise((resolve, reject) => {
      this.waiting.push({ sizeBytes, resolve, reject });
      this.look();
    });
  }

  /** Gives a buffer back. The controller may still have its command, after that was given up. */
  give(buffer: DmaBuffer): void {
    if (this.isClosed) {
      end(buffer);
      return;
    }
    if (buffer.lease.isHeld) this.lingering.push(buffer);
    else this.keep(buffer);
    this.serve();
    this.look();
  }

  /** The controller has none of the buffers any more. */
  close(): void {
    this.isClosed = true;
    clearTimeout(this.timer);
    for (const buffer of [...this.free.splice(0).flat(), ...this.lingering.splice(0)]) end(buffer);
    for (const waiter of this.waiting.splice(0)) waiter.reject(this.closed());
  }

  private closed(): ClosedError {
    return new ClosedError(`NVMe controller ${this.name}`);
  }

  private find(sizeBytes: number): DmaBuffer | undefined {
    if (this.isClosed) throw this.closed();
    if (this.limitBytes === 0) {
      throw new UnsupportedError(
        "bounceBytes is 0, so only DMA buffers can be read and written: use nvme.dma.alloc(), or open the controller with bounceBytes",
      );
    }
    const size = Math.max(SMALLEST_BYTES, 2 ** Math.ceil(Math.log2(sizeBytes)));
    if (size > this.limitBytes) {
      throw new ArgumentError(
        `a command of ${sizeBytes} bytes needs a bounce buffer of ${size} bytes, but bounceBytes is ${this.limitBytes}`,
      );
    }
    this.sweep();
    const free = this.freeOf(size).pop();
    if (free !== undefined) return free;
    // Buffers of other sizes make room.
    for (const others of this.free) {
      while (this.madeBytes + size > this.limitBytes) {
        const other = others?.pop();
        if (other === undefined) break;
        this.madeBytes -= other.sizeBytes;
        other.close();
      }
    }
    if (this.madeBytes + size > this.limitBytes) return undefined;
    const buffer = this.dma.alloc(size);
    // Who forgets the controller is told of the controller.
    buffer.relinquish();
    this.madeBytes += size;
    return buffer;
  }

  private freeOf(size: number): DmaBuffer[] {
    const index = Math.log2(size / SMALLEST_BYTES);
    this.free[index] ??= [];
    return this.free[index];
  }

  private keep(buffer: DmaBuffer): void {
    this.freeOf(buffer.sizeBytes).push(buffer);
  }

  /** Keeps what the controller has released meanwhile. */
  private sweep(): void {
    if (this.lingering.length === 0) return;
    const { lingering } = this;
    this.lingering = lingering.filter(({ lease }) => lease.isHeld);
    for (const buffer of lingering) if (!buffer.lease.isHeld) this.keep(buffer);
  }

  /** Nothing tells when the controller releases a buffer. It does so within the time limit of a command, or fails. */
  private look(): void {
    if (this.lingering.length === 0 || this.waiting.length === 0 || this.timer !== undefined) return;
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.serve();
      this.look();
    }, LOOK_MS);
  }

  private serve(): void {
    for (let next = this.waiting[0]; next !== undefined; next = this.waiting[0]) {
      try {
        const buffer = this.find(next.sizeBytes);
        if (buffer === undefined) return;
        this.waiting.shift();
        next.resolve(buffer);
      } catch (error) {
        this.waiting.shift();
        next.reject(asError(error));
      }
    }
  }
}

/** A controller that can't be stopped may still write to a buffer. That one stays until the address space closes. */
function end(buffer: DmaBuffer): void {
  if (!buffer.lease.isHeld) buffer.close();
}
