/** What an emulated controller says of its memory buffer in CMBSZ and CMBLOC. */
import { expect, test } from "vitest";
import { cmbUses } from "../../../../../src/doors/emulator.js";
import { CmbRules } from "../../../../../src/emulator/nvme/host/cmb-rules.js";

/** Bits of the registers, from the figures of NVMe Base 2.x: CMBSZ, and CMBLOC. */
const bits = {
  SQS: [1 << 0, 0],
  CQS: [1 << 1, 0],
  LISTS: [1 << 2, 0],
  RDS: [1 << 3, 0],
  WDS: [1 << 4, 0],
  CDPMLS: [0, 1 << 5],
  CDPCILS: [0, 1 << 6],
  CDMMMS: [0, 1 << 7],
} as const;

test("cmbUses are the uses that the registers can tell", () => {
  expect([...cmbUses]).toEqual(Object.keys(bits));
});

test.each(cmbUses)("a buffer that isn't for %s lacks its bit only", (use) => {
  const all = new CmbRules([]);
  const less = new CmbRules([use]);
  expect([all.cmbsz - less.cmbsz, all.cmbloc - less.cmbloc]).toEqual([...bits[use]]);
  expect([all.has(use), less.has(use)]).toEqual([true, false]);
  expect([all.restricts, less.restricts]).toEqual([false, true]);
});
