/** A queue of received frames. */
import type { DmaBuffer, DmaSpace, InterruptVector } from "iova";
import { type DescriptorRing, publish } from "iova/pci";
import { Addresses } from "./addresses.js";
import { ReceiveDone, ReceiveRead, Status } from "./descriptors.js";
import { IgbError } from "./error.js";
import { ReceivedFrame } from "./received-frame.js";
import type { IgbRegisters } from "./registers.js";

/** Bytes of each buffer: what a descriptor of one buffer needs for the longest frame. */
const BUFFER_BYTES = 2048;
const ONE_BUFFER = 1;
const TIMEOUT_MS = 1000;
/** Batches between two looks at the event loop, which a loop that never waits would stop. */
const TURNS = 16;

type Registers = ReturnType<IgbRegisters["receiveRings"]["at"]>;

/** Options of the two ways to receive. */
export interface ReceiveOptions {
  /** Ends the iteration by its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Most frames of a batch; 64 by default. */
  readonly most?: number | undefined;
  /** Looks in each turn of the event loop in place of waiting for interrupts. */
  readonly poll?: boolean | undefined;
}

/** Frames that the device has received. */
export class ReceiveQueue {
  private readonly ring: DescriptorRing<typeof ReceiveRead.words>;
  private readonly done: ReturnType<typeof ReceiveDone.on>;
  private readonly buffer: DmaBuffer;
  /** A frame for each slot, twice in a row, so that those of a batch are neighbours wherever it starts. */
  private readonly frames: readonly ReceivedFrame[];
  private readonly addresses: Addresses;
  /** Slots that were taken and not given back. */
  private taken = 0;
  private isIterating = false;
  private isClosed = false;

  constructor(
    dma: DmaSpace,
    readonly index: number,
    slots: number,
    private readonly regs: Registers,
  ) {
    this.buffer = dma.alloc(slots * BUFFER_BYTES);
    try {
      this.ring = ReceiveRead.ring(dma, slots);
    } catch (error) {
      this.buffer.close();
      throw error;
    }
    this.done = ReceiveDone.on(this.ring.buffer.bytes);
    this.addresses = new Addresses(this.buffer, slots, BUFFER_BYTES);
    const { buffer } = this;
    const frames = Array.from({ length: slots }, (_, i) => {
      const at = i * BUFFER_BYTES;
      return new ReceivedFrame(index, buffer.view(at, BUFFER_BYTES), (target) => buffer.read(target, at));
    });
    this.frames = [...frames, ...frames];
  }

  /** Gives all buffers to the device. */
  async start(): Promise<void> {
    const { regs, ring } = this;
    regs.base.write(ring.iova);
    regs.sizeBytes.write(ring.buffer.sizeBytes);
    regs.split.write({ bufferKib: BUFFER_BYTES / 1024, descriptorType: ONE_BUFFER });
    regs.head.write(0);
    regs.tail.write(0);
    regs.control.write({ prefetch: 8, host: 8, writeBack: 1, enable: true });
    await regs.control.until({ enable: true }, { timeoutMs: TIMEOUT_MS });
    this.refill(ring.free);
  }

  /**
   * Takes what has come, without waiting. {@link giveBack} it before the next call.
   * @returns frames whose bytes lie in the device's buffers
   * @throws IgbError if the device writes a length that its buffers don't have
   */
  take(most: number): readonly ReceivedFrame[] {
    const { ring, done, frames } = this;
    const { head } = ring;
    const start = head.slot;
    const end = start + Math.min(most, ring.used);
    let at = start;
    let areWhole = true;
    // Past the last slot the frames go on with the first.
    for (; at < end; at++) {
      const slot = at < ring.count ? at : at - ring.count;
      const status = done.status.read(slot);
      if ((status & Status.done) === 0) break;
      const frame = frames[slot];
      if (frame === undefined) break;
      frame.fill(done.size.readSettled(slot), status, done.hash.readSettled(slot));
      if (frame.length > BUFFER_BYTES)
        throw new IgbError(
          `queue ${this.index}: the device says that a buffer of ${BUFFER_BYTES} holds ${frame.length} bytes`,
        );
      if (!frame.isWhole) areWhole = false;
    }
    head.skip(at - start);
    this.taken += at - start;
    const batch = frames.slice(start, at);
    return areWhole ? batch : batch.filter(({ isWhole }) => isWhole);
  }

  /** Gives the buffers of all frames that were taken to the device again. */
  giveBack(): void {
    const { taken } = this;
    if (taken === 0 || this.isClosed) return;
    this.taken = 0;
    this.refill(taken);
  }

  /**
   * Batches of frames, as they come. A frame's bytes are valid until the next turn of the loop. Ends when the driver closes.
   * @throws in the iteration: IgbError if another iteration has this queue; the signal's reason; DeviceGoneError
   */
  async *batches(
    vector: InterruptVector,
    deviceSignal: AbortSignal,
    { signal, most = 64, poll = false }: ReceiveOptions = {},
  ): AsyncGenerator<readonly ReceivedFrame[], void, undefined> {
    if (this.isIterating) throw new IgbError(`queue ${this.index} is received from already`);
    if (this.isClosed) return;
    this.isIterating = true;
    const events = vector.values({ signal });
    try {
      for (let turn = 1; !this.isClosed; turn++) {
        deviceSignal.throwIfAborted();
        signal?.throwIfAborted();
        const batch = this.take(most);
        if (batch.length > 0) yield batch;
        this.giveBack();
        if (batch.length > 0 ? turn % TURNS === 0 : poll) await new Promise(setImmediate);
        else if (batch.length === 0 && (await events.next()).done === true) return;
      }
    } finally {
      this.giveBack();
      this.isIterating = false;
      await events.return?.();
    }
  }

  /** Frees the memory. The device must have stopped. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.ring.close();
    this.buffer.close();
  }

  private refill(count: number): void {
    const { ring, addresses } = this;
    const { address, headerAddress } = ring.slots;
    const { tail, count: slots } = ring;
    for (let i = 0, slot = tail.slot; i < count; i++, slot = slot + 1 === slots ? 0 : slot + 1) {
      address.writeHalves(slot, addresses.low(slot), addresses.high(slot));
      headerAddress.writeHalves(slot, 0, 0);
    }
    tail.skip(count);
    publish();
    this.regs.tail.write(ring.tail.slot);
  }
}
