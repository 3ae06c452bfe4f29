/** Firmware Image Download and Firmware Commit: what is refused, and an image of the tester's that is taken. */
import { randomBytes } from "node:crypto";
import { hexDigits } from "../../../../core/hex-digits.js";
import { decodeBits, Frmw } from "../../../../nvme/spec/capabilities.js";
import { firmwareSlotLog } from "../../../../nvme/spec/log-pages.js";
import { AdminOpcode, LogPageId } from "../../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import type { ConformBench, Fields } from "../bench.js";
import { subjectOf } from "../check.js";
import { expect, NotApplicable, needs } from "../findings.js";
import { refusedRow, row } from "./admin-rows.js";
import { readLog } from "./logs-and-features.js";

const FIRMWARE = "Base: Firmware Commit command";
const DOWNLOAD = "Base: Firmware Image Download command";
const { firmwareCommit, firmwareImageDownload } = AdminOpcode;
const { invalidField, invalidFirmwareSlot, invalidFirmwareImage } = NvmeStatus;
/** FWUG counts so many bytes. */
const GRANULE_BYTES = 4096;
async function slots(bench: ConformBench) {
  const found = decodeBits((await bench.controller()).frmw, Frmw);
  const { afi, frs } = firmwareSlotLog.decode(await readLog(bench, LogPageId.firmwareSlot, 512));
  const count = Number(found.slots);
  const first = found.firstSlotReadOnly === true ? 2 : 1;
  const writable = Array.from({ length: count }, (_, i) => i + 1).filter((slot) => slot >= first);
  return { count, writable, active: afi & 7, frs, readOnly: first === 2 };
}

const commit = (action: number, slot: number): Fields => ({
  opcode: firmwareCommit,
  cdw: [slot | (action << 3)],
});
const download = (bench: ConformBench, at: number, bytes: number, content?: Uint8Array): Fields => {
  const data = bench.alloc(bytes);
  data.bytes.set(content ?? randomBytes(bytes));
  return { opcode: firmwareImageDownload, data, cdw: [bytes / 4 - 1, at / 4] };
};

/** A slot that can be written, and isn't the running one's. */
async function spare(bench: ConformBench): Promise<number> {
  const { writable, active } = await slots(bench);
  const slot = writable.find((one) => one !== active) ?? 0;
  needs(slot !== 0, "no slot can be written but the active one");
  return slot;
}

/**
 * Downloads the tester's image and commits it to a spare slot, without an activation.
 * @param order of its pieces
 * @returns what was found
 */
async function accept(bench: ConformBench, order: (pieces: number[]) => number[]): Promise<string> {
  const { firmware } = bench.given;
  if (firmware === undefined) throw new NotApplicable("there is no image: give --firmware FILE");
  const slot = await spare(bench);
  const { fwug, fr } = await bench.controller();
  const unit = fwug === 0 || fwug === 0xff ? GRANULE_BYTES : fwug * GRANULE_BYTES;
  needs(unit <= (await bench.maxTransferBytes()), `a command doesn't carry a piece of ${unit} bytes (FWUG)`);
  const admin = await bench.start();
  const pieces = Array.from({ length: Math.ceil(firmware.length / unit) }, (_, i) => i * unit);
  for (const at of order(pieces)) {
    const piece = firmware.subarray(at, at + unit);
    await bench.ok(admin, download(bench, at, piece.length, piece));
  }
  await bench.ok(admin, commit(0, slot));
  const { frs, active } = await slots(bench);
  const revision = (frs[slot - 1] ?? "").replace(/[\0 ]+$/, "");
  expect(revision !== "", `slot ${slot} is empty after the commit`);
  const now = await bench.controller();
  expect(now.fr === fr && active !== slot, "it runs, although it wasn't activated");
  return `slot ${slot} has ${revision}`;
}

export const firmware = subjectOf(
  "firmware",
  [],
  [
    refusedRow(
      "firmware",
      "the reserved commit action 5",
      FIRMWARE,
      async (bench) => commit(5, await spare(bench)),
      invalidField,
    ),
    refusedRow(
      "firmware",
      "a commit to a slot that there isn't",
      FIRMWARE,
      async (bench) => {
        const { count } = await slots(bench);
        needs(count < 7, "all 7 slots exist");
        return commit(0, count + 1);
      },
      invalidFirmwareSlot,
    ),
    refusedRow(
      "firmware",
      "a commit to a slot that can't be written",
      FIRMWARE,
      async (bench) => {
        needs((await slots(bench)).readOnly, "slot 1 can be written");
        return commit(0, 1);
      },
      invalidFirmwareSlot,
    ),
    refusedRow(
      "firmware",
      "an activation of an empty slot",
      FIRMWARE,
      async (bench) => {
        const { writable, frs } = await slots(bench);
        const empty = writable.find((slot) => (frs[slot - 1] ?? "").replace(/[\0 ]/g, "") === "");
        needs(empty !== undefined, "no slot is empty");
        return commit(2, empty ?? 0);
      },
      invalidFirmwareSlot,
      invalidFirmwareImage,
    ),
    refusedRow(
      "firmware",
      "a commit without a download",
      FIRMWARE,
      async (bench) => {
        await bench.start();
        return commit(0, await spare(bench));
      },
      invalidFirmwareImage,
    ),
    refusedRow(
      "firmware",
      "a commit of random bytes",
      FIRMWARE,
      async (bench) => {
        const slot = await spare(bench);
        await bench.start();
        await bench.ok(await bench.admin(), download(bench, 0, 4096));
        return commit(0, slot);
      },
      invalidFirmwareImage,
    ),
    row(
      "firmware",
      "pieces that overlap are refused, at once or with the commit",
      DOWNLOAD,
      async (bench) => {
        const slot = await spare(bench);
        const admin = await bench.start();
        await bench.ok(admin, download(bench, 4096, 4096));
        const { status } = await bench.send(admin, download(bench, 4096, 4096));
        expect(status === 0 || status === NvmeStatus.overlappingRange, `status ${hexDigits(status, 3)}h`);
        await bench.fails(admin, commit(0, slot), invalidFirmwareImage, NvmeStatus.overlappingRange);
        await bench.stop();
      },
    ),
    refusedRow(
      "firmware",
      "a piece that isn't at a multiple of FWUG",
      DOWNLOAD,
      async (bench) => {
        const { fwug } = await bench.controller();
        needs(fwug !== 0 && fwug !== 0xff, `FWUG ${hexDigits(fwug, 2)}h`);
        return download(bench, 4, 4096);
      },
      invalidField,
    ),
    row("firmware", "what was refused has left the slots as they were", FIRMWARE, async (bench) => {
      const before = JSON.stringify(await slots(bench));
      const admin = await bench.start();
      await bench.ok(admin, download(bench, 0, 4096));
      await bench.send(admin, commit(0, await spare(bench)));
      await bench.start();
      expect(JSON.stringify(await slots(bench)) === before, "they changed");
    }),
    row(
      "firmware",
      "an image that the controller takes fills a spare slot, and doesn't run before its activation",
      FIRMWARE,
      async (bench) => await accept(bench, (pieces) => pieces),
    ),
    row(
      "firmware",
      "the pieces of an image may come in any order",
      DOWNLOAD,
      // The first one begins an image.
      async (bench) => await accept(bench, ([first = 0, ...rest]) => [first, ...rest.reverse()]),
    ),
  ],
);
