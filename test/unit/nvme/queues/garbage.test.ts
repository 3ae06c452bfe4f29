/** Thousands of buffers are used, closed and forgotten while the garbage collector works: none has another's bytes. */
import { createHash } from "node:crypto";
import { expect, test, vi } from "vitest";
import type { DmaBuffer } from "../../../../src/index.js";
import { MIB, openController, useEmulatedNvme } from "../../../support/emulated-nvme.js";
import { useForgottenWarnings } from "../../../support/forgotten.js";
import { collectGarbage } from "../../../support/gc.js";
import { holdings } from "../../../support/holdings.js";

/** IOVA_BUFFERS=1000000 for a million, which takes 20 minutes of a processor. */
const BUFFERS = Number(process.env["IOVA_BUFFERS"] ?? 5000);
const SIDE_BY_SIDE = 32;
const SLOT_BYTES = 64 * 1024;

useEmulatedNvme();
const forgotten = useForgottenWarnings();

const sumOf = (bytes: Uint8Array): string => createHash("sha1").update(bytes).digest("base64");

/** Words that follow from a seed. */
function fill(bytes: Uint8Array, seed: number): void {
  let state = (seed * 0x9e3779b9) >>> 0 || 1;
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
}

test(`${BUFFERS} buffers return what was written to them while the heap is under pressure`, async () => {
  const nvme = await openController({ sizeBytes: 4 * MIB }, { queues: 2, queueEntries: 64 });
  const ns = await nvme.namespace(1);
  const before = holdings();
  let made = 0;
  const alloc = (sizeBytes: number): DmaBuffer => {
    made++;
    return nvme.dma.alloc(sizeBytes);
  };
  /** Only the command refers to the buffer, and nothing after it. */
  const writeAndForget = (lba: bigint, sizeBytes: number, seed: number): Promise<void> => {
    const buffer = alloc(sizeBytes);
    fill(buffer.bytes, seed);
    return ns.write(lba, buffer);
  };
  const garbage: unknown[][] = [];
  const work = async (worker: number): Promise<void> => {
    const lba = BigInt((worker * SLOT_BYTES) / ns.blockSizeBytes);
    const reference = new Uint8Array(SLOT_BYTES);
    for (let seed = worker; made < BUFFERS; seed += SIDE_BY_SIDE) {
      const sizeBytes = 512 * (1 + ((seed * 7) % (SLOT_BYTES / 512)));
      if (seed % 50 === worker % 50) await writeAndForget(lba, sizeBytes, seed);
      else {
        using source = alloc(sizeBytes);
        fill(source.bytes, seed);
        await ns.write(lba, source);
      }
      using target = alloc(sizeBytes);
      // Young and old objects, some of which live for a while.
      garbage[seed % 256] = Array.from({ length: 500 }, (_, i) => ({ i, text: `${seed} ${i}` }));
      await ns.read(lba, target);
      const expected = reference.subarray(0, sizeBytes);
      fill(expected, seed);
      if (sumOf(target.bytes) !== sumOf(expected))
        throw new Error(`buffer ${seed} of worker ${worker} differs`);
    }
  };
  await Promise.all(Array.from({ length: SIDE_BY_SIDE }, (_, worker) => work(worker)));
  expect(made).toBeGreaterThanOrEqual(BUFFERS);
  garbage.length = 0;
  // All are released, the forgotten ones by the garbage collector.
  await vi.waitFor(
    () => {
      collectGarbage();
      expect(holdings()).toEqual(before);
    },
    { timeout: 600_000, interval: 100 },
  );
  expect(forgotten.messages.length).toBeGreaterThan(BUFFERS / 200);
});
