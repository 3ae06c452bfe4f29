/** The loop of igb.c over the example's queues, and the frame that both send. */
import type { ReceiveQueue } from "../../examples/drivers/igb/receive-queue.js";
import type { SendQueue } from "../../examples/drivers/igb/send-queue.js";

export const SLOTS = 512;
export const BATCH = 32;
export const SIZES = [60, 1514];
export const BUFFER_BYTES = 2048;
export const DESCRIPTOR_BYTES = 16;
/** Queues: the driver's own, that of the rings, and that of the C program. */
export const Queue = { driver: 0, rings: 1, c: 2 } as const;
/** What the C program's rings and their buffers need, and its frame. */
export const C_BYTES = 2 * SLOTS * (DESCRIPTOR_BYTES + BUFFER_BYTES) + BUFFER_BYTES;
/** Where its frame lies. */
export const C_FRAME_AT = C_BYTES - BUFFER_BYTES;

/** IPv4 without more: what the devices make a hash of, so that the table of hashes chooses the queue. */
export function frameOf(destination: string, source: string, bytes: number): Buffer {
  const frame = Buffer.alloc(bytes);
  frame.write(`${destination}${source}0800`.replaceAll(":", ""), "hex");
  const ip = Buffer.from("4500000000000000400b00000a0000010a000002", "hex");
  ip.writeUInt16BE(bytes - 14, 2);
  ip.copy(frame, 14);
  return frame;
}

/** @returns nanoseconds for each frame since `start` */
export function timed(frames: number, start: bigint): number {
  return Number(process.hrtime.bigint() - start) / frames;
}

/** Sends so many frames and receives them. @returns nanoseconds for each */
export function runRings(
  sending: SendQueue,
  receiving: ReceiveQueue,
  frame: Uint8Array,
  wanted: number,
): number {
  const start = process.hrtime.bigint();
  let sent = 0;
  let received = 0;
  while (received < wanted) {
    sending.reap();
    if (sent < wanted && sent - received + BATCH < SLOTS) {
      // A frame may be received before its sending is reported. Then the ring is full for a moment.
      for (let i = Math.min(BATCH, wanted - sent); i > 0 && sending.post(frame); i--) sent++;
      sending.ringDoorbell();
    }
    for (const { length } of receiving.take(SLOTS)) {
      if (length !== frame.length) throw new Error(`a frame of ${length} bytes`);
      received++;
    }
    receiving.giveBack();
  }
  return timed(wanted, start);
}

/** A whole number of batches. */
export function wholeBatches(frames: number): number {
  return Math.ceil(frames / BATCH) * BATCH;
}
