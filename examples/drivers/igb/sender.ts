/** Sends frames through a queue, and waits while its ring is full. */
import type { InterruptVector } from "iova";
import { Turns } from "../turns.js";
import type { IgbRegisters } from "./registers.js";
import type { SendOptions, SendQueue } from "./send-queue.js";

const SENT = Promise.resolve();

/** Frames in the order of the calls, through one queue. */
export class Sender {
  private readonly turns = new Turns();

  constructor(
    private readonly queue: SendQueue,
    private readonly vector: InterruptVector,
    private readonly regs: IgbRegisters,
  ) {}

  /** Gives a frame to the device. @throws as a rejection: as {@link sendAll} */
  send(frame: Uint8Array, options: SendOptions, signal: AbortSignal | undefined): Promise<void> {
    const { queue } = this;
    if (this.turns.isTaken) return this.sendAll([frame], options, signal);
    try {
      if (!queue.post(frame, options)) return this.sendAll([frame], options, signal);
      queue.ringDoorbell();
      return SENT;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Gives frames to the device, with one doorbell for as many as the ring holds.
   * @throws as a rejection, with the frames before it sent: IgbError; ClosedError; DeviceGoneError; the signal's reason
   */
  async sendAll(
    frames: Iterable<Uint8Array>,
    options: SendOptions,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { queue } = this;
    await this.turns.take(async () => {
      try {
        for (const frame of frames) {
          while (!queue.post(frame, options)) {
            queue.ringDoorbell();
            await this.interrupt(signal);
          }
        }
      } finally {
        queue.ringDoorbell();
      }
    });
  }

  /** Waits until the device has sent everything. @throws as a rejection: as {@link sendAll} */
  async flush(signal: AbortSignal | undefined): Promise<void> {
    const { queue } = this;
    await this.turns.take(async () => {
      for (queue.reap(); !queue.isEmpty; queue.reap()) await this.interrupt(signal);
    });
  }

  /** Waits for frames to be sent. The vector interrupts only meanwhile: most sends need no interrupt. */
  private async interrupt(signal: AbortSignal | undefined): Promise<void> {
    const { vector, regs } = this;
    const bit = 1 << vector.index;
    regs.vectorMaskSet.write(bit);
    await vector.once({ signal });
    regs.vectorMaskClear.write(bit);
  }
}
