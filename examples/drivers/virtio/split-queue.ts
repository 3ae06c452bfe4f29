/** A split virtqueue (Virtual I/O Device 1.2, section 2.7). */
import type { DmaBuffer, DmaSpace } from "iova";
import { bit, descriptorLayout, fullFence, publish, RingCursor, reg16, reg32, reg64 } from "iova/pci";
import { VirtioError } from "./error.js";

const Descriptor = descriptorLayout("virtq_desc", 16, {
  address: reg64(0),
  length: reg32(8),
  flags: reg16(12, { fields: { next: bit(0), deviceWrites: bit(1), indirect: bit(2) } }),
  next: reg16(14),
});
/** Flags, index, then one of these for each slot, then the event index. */
const Available = descriptorLayout("virtq_avail", 2, { value: reg16(0) });
/** After flags and index. */
const Used = descriptorLayout("virtq_used_elem", 8, {
  id: reg32(0, { access: "ro" }),
  length: reg32(4, { access: "ro" }),
});

const NEXT = 1;
const DEVICE_WRITES = 2;
const INDEX_MASK = 0xffff;
/** Of the halves before the entries. */
const FLAGS = 0;
const INDEX = 1;
const HEAD_HALVES = 2;
const USED_HEAD_BYTES = 4;
const NO_NOTIFY = 1;

/** Memory that a request gives to the device. */
export interface Part {
  readonly iova: bigint;
  readonly sizeBytes: number;
  /** Whether the device writes it, otherwise it reads it. What it reads comes first. */
  readonly deviceWrites: boolean;
}

interface Request {
  /** Its descriptors. The device could have changed what is in the ring. */
  readonly chain: readonly number[];
  resolve(writtenBytes: number): void;
  reject(error: unknown): void;
}

/** A queue of requests, each a chain of descriptors. */
export class SplitQueue {
  readonly descriptorsAt: bigint;
  readonly availableAt: bigint;
  readonly usedAt: bigint;
  private readonly buffer: DmaBuffer;
  private readonly descriptors: ReturnType<typeof Descriptor.on>;
  private readonly available: ReturnType<typeof Available.on>["value"];
  private readonly used: ReturnType<typeof Used.on>;
  /** The device's flags and index, and behind its entries what it wants to be notified at. */
  private readonly usedHalves: ReturnType<typeof Available.on>["value"];
  private readonly filled: RingCursor;
  private readonly taken: RingCursor;
  private readonly freeSlots: number[];
  private readonly requests: (Request | undefined)[];
  private failure: unknown;

  /** @param notify tells the device that there are requests */
  constructor(
    dma: DmaSpace,
    readonly slots: number,
    private readonly hasEventIndex: boolean,
    private readonly notify: () => void,
  ) {
    const descriptorBytes = slots * Descriptor.sizeBytes;
    const availableBytes = (HEAD_HALVES + slots + 1) * 2;
    const usedStart = descriptorBytes + Math.ceil(availableBytes / 8) * 8;
    // The entries of the used ring have words of 32 bits at 4 bytes behind its start.
    const usedBytes = USED_HEAD_BYTES + slots * Used.sizeBytes + 2;
    this.buffer = dma.alloc(usedStart + usedBytes);
    const { bytes, iova } = this.buffer;
    this.descriptorsAt = iova;
    this.availableAt = iova + BigInt(descriptorBytes);
    this.usedAt = iova + BigInt(usedStart);
    this.descriptors = Descriptor.on(bytes.subarray(0, descriptorBytes));
    this.available = Available.on(bytes.subarray(descriptorBytes, usedStart)).value;
    this.usedHalves = Available.on(bytes.subarray(usedStart, usedStart + usedBytes)).value;
    this.used = Used.on(bytes.subarray(usedStart + USED_HEAD_BYTES, usedStart + usedBytes));
    this.filled = new RingCursor(slots);
    this.taken = new RingCursor(slots);
    this.freeSlots = Array.from({ length: slots }, (_, i) => slots - 1 - i);
    this.requests = new Array<Request | undefined>(slots).fill(undefined);
  }

  /** Descriptors that are free. A request needs one for each part. */
  get free(): number {
    return this.freeSlots.length;
  }

  /**
   * Gives a request to the device.
   * @returns bytes that the device wrote
   * @throws as a rejection: VirtioError if there are too few free descriptors, or the device breaks the protocol or is reset
   */
  submit(parts: readonly Part[]): Promise<number> {
    return new Promise((resolve, reject) => {
      if (this.failure !== undefined) throw this.failure;
      const chain = this.take(parts.length);
      this.fill(chain, parts);
      const head = chain[0] ?? 0;
      this.requests[head] = { chain, resolve, reject };
      this.available.write(HEAD_HALVES + this.filled.advance(), head);
      this.kick();
    });
  }

  /** Takes what the device has finished. @throws VirtioError if it says what can't be */
  reap(): void {
    for (;;) {
      const ready = (this.usedHalves.read(INDEX) - this.taken.passed) & INDEX_MASK;
      if (ready > this.slots)
        throw new VirtioError(`the device used ${ready} requests: the ring has ${this.slots}`);
      for (let i = 0; i < ready; i++) this.finish(this.taken.advance());
      if (ready > 0) continue;
      if (!this.hasEventIndex) return;
      // Asks for an interrupt at the next one, which may have come just before.
      this.available.write(HEAD_HALVES + this.slots, this.taken.passed & INDEX_MASK);
      fullFence();
      if (this.usedHalves.read(INDEX) === (this.taken.passed & INDEX_MASK)) return;
    }
  }

  /** Ends all requests, and those to come, by an error. The device may still write their memory. */
  fail(error: unknown): void {
    this.failure ??= error;
    for (const [slot, request] of this.requests.entries()) {
      this.requests[slot] = undefined;
      request?.reject(error);
    }
  }

  /** The device has stopped: ends all requests by an error, and frees the memory. */
  end(error: unknown): void {
    this.fail(error);
    this.buffer.close();
  }

  private take(count: number): number[] {
    const { freeSlots } = this;
    if (count === 0 || count > freeSlots.length)
      throw new VirtioError(
        `a request of ${count} parts needs as many descriptors, ${freeSlots.length} are free`,
      );
    return freeSlots.splice(freeSlots.length - count);
  }

  private fill(chain: readonly number[], parts: readonly Part[]): void {
    const { address, length, flags, next } = this.descriptors;
    for (const [i, slot] of chain.entries()) {
      const part = parts[i];
      if (part === undefined) return;
      const following = chain[i + 1];
      address.write(slot, part.iova);
      length.write(slot, part.sizeBytes);
      flags.write(slot, (following === undefined ? 0 : NEXT) | (part.deviceWrites ? DEVICE_WRITES : 0));
      next.write(slot, following ?? 0);
    }
  }

  /** Shows the device what was added, and notifies it if it wants that. */
  private kick(): void {
    const before = this.available.read(INDEX);
    const now = this.filled.passed & INDEX_MASK;
    publish();
    this.available.write(INDEX, now);
    fullFence();
    if (this.wantsNotification(before, now)) this.notify();
  }

  /** Section 2.7.10. */
  private wantsNotification(before: number, now: number): boolean {
    if (!this.hasEventIndex) return (this.usedHalves.read(FLAGS) & NO_NOTIFY) === 0;
    const event = this.usedHalves.read(HEAD_HALVES + this.slots * 4);
    return ((now - event - 1) & INDEX_MASK) < ((now - before) & INDEX_MASK);
  }

  private finish(at: number): void {
    const head = this.used.id.read(at);
    const request = this.requests[head];
    if (request === undefined)
      throw new VirtioError(`the device used request ${head}, which isn't outstanding`);
    this.requests[head] = undefined;
    this.freeSlots.push(...request.chain);
    request.resolve(this.used.length.read(at));
  }
}
