/** Sends frames through a queue, and waits while its ring is full. */
import type { InterruptVector } from "iova";
import type { IgbRegisters } from "./registers.js";
import type { SendOptions, SendQueue } from "./send-queue.js";

const SENT = Promise.resolve();

/** Frames in the order of the calls, through one queue. */
export class Sender {
  /** Ends with the last call that had to wait. */
  private turn: Promise<void> = SENT;
  private waiting = 0;

  constructor(
    private readonly queue: SendQueue,
    private readonly vector: InterruptVector,
    private readonly regs: IgbRegisters,
  ) {}

  /** Gives a frame to the device. @throws as a rejection: as {@link sendAll} */
  send(frame: Uint8Array, options: SendOptions, signal: AbortSignal | undefined): Promise<void> {
    const { queue } = this;
    if (this.waiting > 0) return this.sendAll([frame], options, signal);
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
    await this.inTurn(async () => {
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
    await this.inTurn(async () => {
      for (queue.reap(); !queue.isEmpty; queue.reap()) await this.interrupt(signal);
    });
  }

  private async inTurn(action: () => Promise<void>): Promise<void> {
    const before = this.turn;
    const own = (async () => {
      await before;
      await action();
    })();
    this.turn = own.catch(() => {});
    this.waiting++;
    try {
      await own;
    } finally {
      this.waiting--;
    }
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
