/** The example's driver for the 82576 at both ends of a cable: every frame arrives, and every byte of it. */
import { describe, expect, test } from "vitest";
import type { Igb } from "../../../examples/drivers/igb/igb.js";
import type { ReceivedFrame } from "../../../examples/drivers/igb/received-frame.js";
import { backendNames } from "../../../src/pci/open.js";
import { NumberedFrames } from "../../support/frames.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { bindForFile, IgbPair, leftIgbBdf, rightIgbBdf } from "../../support/igb-machine.js";
import { BATCH, type Cable, type Transferred, transfer } from "../../support/transfer.js";

bindForFile([leftIgbBdf, rightIgbBdf]);

/** In both directions together. */
const FRAMES = Number(process.env["IOVA_IGB_FRAMES"] ?? 100_000);
/** Only ends what would never end. */
const LONG = { timeout: 20 * 60_000 + FRAMES * 10 };
/** Frames on their way, at most: fewer than the receiver has buffers. */
const WINDOW = 384;

/** Frames of batch n have VLAN tag n, or none in each second batch. */
function tagOf(number: number): number | undefined {
  const batch = Math.floor(number / BATCH);
  return batch % 2 === 0 ? undefined : batch & 0xefff;
}

/** Sends numbered frames from one to the other, in order. */
function transferBetween(from: Igb, to: Igb, count: number): Promise<Transferred> {
  const cable: Cable<ReceivedFrame> = {
    ...{ from, to, window: WINDOW, batches: to.receiveBatches() },
    send: (frames, first) => from.sendAll(frames, { vlan: tagOf(first) }),
    isRight: (frame, number, frames) => frames.isAsMade(frame.bytes, number) && frame.vlan === tagOf(number),
  };
  return transfer(cable, count);
}

describe.each(backendNames)("two 82576 through %s", (backend) => {
  expectNothingLeft();

  test(
    `exchange ${FRAMES} frames of all lengths, with and without VLAN tags, and lose none`,
    LONG,
    async () => {
      await using pair = await IgbPair.start(backend);
      const { left, right } = pair;
      const each = Math.ceil(FRAMES / 2);
      const results = await Promise.all([
        transferBetween(left, right, each),
        transferBetween(right, left, each),
      ]);
      expect(results).toEqual([
        { received: each, wrong: [] },
        { received: each, wrong: [] },
      ]);
      for (const igb of [left, right])
        expect(igb.statistics()).toMatchObject({ sentGood: each, receivedGood: each });
    },
  );

  test("a send waits while the ring is full, and goes on when the device does", LONG, async () => {
    await using pair = await IgbPair.start(backend, { slots: 64 }, { slots: 512 });
    const { left, right, leftDevice } = pair;
    const frames = new NumberedFrames(right.macAddress, left.macAddress);
    const registers = leftDevice.bar(0);
    const SEND_CONTROL = 0x400;
    const TAIL = 0xe018;
    const control = registers.read32(SEND_CONTROL);
    registers.write32(SEND_CONTROL, control & ~2);
    const count = 200;
    let isSent = false;
    const sent = left.sendAll(Array.from({ length: count }, (_, i) => frames.make(i))).then(() => {
      isSent = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(isSent).toBe(false);
    registers.write32(SEND_CONTROL, control);
    // QEMU looks at the ring only when the tail is written.
    registers.write32(TAIL, registers.read32(TAIL));
    let number = 0;
    for await (const frame of right.receive()) {
      expect(frames.isAsMade(frame.bytes, number)).toBe(true);
      if (++number === count) break;
    }
    await sent;
    await left.flush();
  });

  test("fills short frames up with zeros", LONG, async () => {
    await using pair = await IgbPair.start(backend);
    const { left, right } = pair;
    const long = new NumberedFrames(right.macAddress, left.macAddress).make(1000);
    const received = right.receive();
    await left.send(long);
    await left.send(long.subarray(0, 14));
    await received.next();
    const { value } = await received.next();
    expect(value?.bytes).toEqual(Uint8Array.from(Buffer.concat([long.subarray(0, 14), Buffer.alloc(46)])));
    await received.return();
  });

  test("takes a VLAN tag that a frame brings along out, as one that the device inserts", LONG, async () => {
    await using pair = await IgbPair.start(backend);
    const { left, right } = pair;
    const frame = new NumberedFrames(right.macAddress, left.macAddress).make(7);
    const tagged = Buffer.concat([frame.subarray(0, 12), Buffer.from("8100a123", "hex"), frame.subarray(12)]);
    const received = right.receive();
    await left.send(tagged);
    await left.send(frame, { vlan: 0xa123 });
    for (let i = 0; i < 2; i++) {
      const { value } = await received.next();
      expect([value?.vlan, value && Buffer.compare(value.bytes, frame)]).toEqual([0xa123, 0]);
    }
    await received.return();
  });

  test("one iteration at a time has a queue, and a signal ends it", LONG, async () => {
    await using pair = await IgbPair.start(backend);
    const { left } = pair;
    const abort = new AbortController();
    const first = left.receive({ signal: abort.signal });
    const next = first.next();
    await expect(left.receive().next()).rejects.toThrow("queue 0 is received from already");
    const reason = new Error("enough");
    abort.abort(reason);
    await expect(next).rejects.toBe(reason);
    const again = left.receiveBatches({ poll: true });
    const batch = again.next();
    await pair.right.send(new NumberedFrames(left.macAddress, pair.right.macAddress).make(0));
    expect((await batch).value).toHaveLength(1);
    await again.return();
  });
});
