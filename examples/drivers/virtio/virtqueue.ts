/** A queue of requests to a virtio device. */
import type { DmaSpace } from "iova";
import { VirtioError } from "./error.js";
import { IndirectTables } from "./indirect-tables.js";
import type { Part, VirtqueueRing } from "./ring-format.js";

/** What becomes of a request. */
export interface Request {
  /** @param writtenBytes that the device wrote */
  finished(writtenBytes: number): void;
  failed(error: unknown): void;
}

/** Each request has parts, and takes a descriptor for each of them, or one for all if the device takes tables. */
export class Virtqueue {
  private readonly requests: (Request | undefined)[];
  private readonly tables: IndirectTables | undefined;
  private failure: unknown;

  /** @param notify tells the device that there are requests */
  constructor(
    dma: DmaSpace,
    readonly ring: VirtqueueRing,
    private readonly takesTables: boolean,
    private readonly notify: () => void,
  ) {
    this.requests = new Array<Request | undefined>(ring.memory.slots).fill(undefined);
    this.tables = takesTables ? new IndirectTables(dma, ring.memory.slots) : undefined;
  }

  get slots(): number {
    return this.ring.memory.slots;
  }

  /** How many requests of so many parts it takes now. */
  room(parts: number): number {
    return this.takesTables ? this.ring.free : Math.floor(this.ring.free / parts);
  }

  /** How many requests of so many parts it takes when it is empty. */
  capacity(parts: number): number {
    return this.takesTables ? this.slots : Math.floor(this.slots / parts);
  }

  /** @throws what ended the queue, if the device has failed or stopped */
  assertWorks(): void {
    if (this.failure !== undefined) throw this.failure;
  }

  /**
   * Puts a request into the queue. The device sees it at {@link kick}.
   * @throws VirtioError if there is no room, or the device has failed or stopped
   */
  add(parts: readonly Part[], request: Request): void {
    this.assertWorks();
    const { ring, tables } = this;
    if (parts.length === 0 || this.room(parts.length) === 0)
      throw new VirtioError(`there is no room for a request of ${parts.length} parts`);
    if (tables === undefined || parts.length === 1) {
      this.requests[ring.add(parts)] = request;
      return;
    }
    const table = tables.take(parts, (memory) => ring.writeTable(memory, parts));
    this.requests[ring.add([table], true)] = {
      finished: (writtenBytes) => {
        tables.giveBack(table);
        request.finished(writtenBytes);
      },
      failed: (error) => request.failed(error),
    };
  }

  /** Shows the device what was added. */
  kick(): void {
    if (this.ring.publish()) this.notify();
  }

  /**
   * Gives one request to the device.
   * @returns bytes that the device wrote
   * @throws as a rejection: VirtioError if there is no room, the device breaks the protocol or is reset
   */
  submit(parts: readonly Part[]): Promise<number> {
    return new Promise((finished, failed) => {
      this.add(parts, { finished, failed });
      this.kick();
    });
  }

  /**
   * Ends the requests that the device has finished, and asks for an interrupt at the next.
   * @throws VirtioError if the device says what can't be
   */
  reap(): void {
    do {
      this.takeUsed();
    } while (this.ring.arm());
  }

  /** Ends all requests, and those to come, by an error. The device may still write their memory. */
  fail(error: unknown): void {
    this.failure ??= error;
    for (const [id, request] of this.requests.entries()) {
      this.requests[id] = undefined;
      request?.failed(error);
    }
  }

  /** The device has stopped: ends all requests by an error, and frees the memory. */
  end(error: unknown): void {
    this.fail(error);
    this.ring.memory.close();
    this.tables?.close();
  }

  /** As many as there are slots at most: a device that finishes faster must not hold the event loop. */
  private takeUsed(): void {
    for (let i = 0; i < this.slots; i++) {
      const used = this.ring.next();
      if (used === undefined) return;
      const request = this.requests[used.id];
      this.requests[used.id] = undefined;
      request?.finished(used.writtenBytes);
    }
  }
}
