/** Numbered frames through a cable, from one network driver to another, with every byte compared. */
import { NumberedFrames } from "./frames.js";

/** Frames that are sent with one call. */
export const BATCH = 32;
/** Frames after which a long run says that it lives. */
const NEWS = 200_000;

/** A driver, as far as a transfer needs one. */
interface Station {
  readonly macAddress: string;
}

/** How frames get from one driver to the other. */
export interface Cable<F> {
  readonly from: Station;
  readonly to: Station;
  /** Frames on their way, at most: fewer than the receiver has buffers. */
  readonly window: number;
  /** Sends frames, of which the first has this number. */
  readonly send: (frames: readonly Buffer[], first: number) => Promise<void>;
  /** What the receiver gets. */
  readonly batches: AsyncIterable<readonly F[]>;
  /** Whether a received frame is the one of this number. */
  readonly isRight: (frame: F, number: number, frames: NumberedFrames) => boolean;
}

/** What came of a transfer. */
export interface Transferred {
  readonly received: number;
  /** Numbers of frames that were wrong, or came out of order. */
  readonly wrong: readonly number[];
}

/** Sends numbered frames in order, until all have come. */
export async function transfer<F>(cable: Cable<F>, count: number): Promise<Transferred> {
  const frames = new NumberedFrames(cable.to.macAddress, cable.from.macAddress);
  let received = 0;
  const wrong: number[] = [];
  let wake = (): void => {};
  const send = async (): Promise<void> => {
    for (let number = 0; number < count; number += BATCH) {
      while (number + BATCH - received > cable.window)
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      const length = Math.min(BATCH, count - number);
      await cable.send(
        Array.from({ length }, (_, i) => frames.make(number + i)),
        number,
      );
    }
  };
  const receive = async (): Promise<void> => {
    for await (const batch of cable.batches) {
      for (const frame of batch) {
        if (!cable.isRight(frame, received, frames)) wrong.push(received);
        if (++received % NEWS === 0) console.log(`${received} frames of ${count}`);
      }
      wake();
      if (received >= count) return;
    }
  };
  await Promise.all([send(), receive()]);
  return { received, wrong };
}
