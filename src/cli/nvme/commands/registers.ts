/** The registers that `iova nvme regs` shows: NVMe Base 2.x, section 3.1.4 (property definitions). */
import type { BitTable } from "../../../nvme/spec/capabilities.js";
import { decodeCapabilities } from "../../../nvme/spec/registers.js";
import { decimalBytes } from "../output.js";

/** One register. */
export interface RegisterDescription {
  readonly name: string;
  readonly title: string;
  readonly offset: number;
  readonly bits: 32 | 64;
  readonly fields?: BitTable;
  /** Explains a value. */
  readonly explain?: (value: bigint) => string[];
  /** Whether a controller with this CAP has the register; by default every controller has it. */
  readonly present?: (cap: bigint) => boolean;
}

const hasCmb = (cap: bigint): boolean => decodeCapabilities(cap).cmbs;
const hasPmr = (cap: bigint): boolean => decodeCapabilities(cap).pmrs;
/** CAP.BPS. */
const hasBootPartition = (cap: bigint): boolean => ((cap >> 45n) & 1n) === 1n;
/** CAP.CRMS: controller ready modes. */
const hasReadyModes = (cap: bigint): boolean => ((cap >> 59n) & 3n) !== 0n;

function field(value: bigint, low: number, width: number): number {
  return Number((value >> BigInt(low)) & ((1n << BigInt(width)) - 1n));
}

const shutdownStatus = ["no shutdown requested", "shutting down", "shut down", "reserved"];
const shutdownNotification = ["no shutdown", "normal shutdown", "abrupt shutdown", "reserved"];

function capText(value: bigint): string[] {
  const cap = decodeCapabilities(value);
  const sets = [
    [0, "NVM"],
    [6, "I/O command sets by their identifiers"],
    [7, "admin commands only"],
  ] as const;
  return [
    `queues of up to ${cap.maxQueueEntries} entries${cap.contiguousQueues ? ", contiguous" : ""}`,
    `ready within ${cap.timeoutMs} ms; doorbells ${cap.doorbellStrideBytes} bytes apart`,
    `memory pages of ${cap.minPageBytes} to ${cap.maxPageBytes} bytes`,
    `command sets: ${sets
      .filter(([bit]) => (cap.css & (1 << bit)) !== 0)
      .map(([, name]) => name)
      .join(", ")}`,
  ];
}

/** Unit of CMBSZ, by its field SZU. */
function cmbUnitBytes(szu: number): number {
  return 4096 * 16 ** szu;
}

export const registers: readonly RegisterDescription[] = [
  {
    name: "CAP",
    title: "Controller Capabilities",
    offset: 0x00,
    bits: 64,
    fields: {
      mqes: [0, 16],
      cqr: 16,
      ams: [17, 2],
      to: [24, 8],
      dstrd: [32, 4],
      nssrs: 36,
      css: [37, 8],
      bps: 45,
      cps: [46, 2],
      mpsmin: [48, 4],
      mpsmax: [52, 4],
      pmrs: 56,
      cmbs: 57,
      nsss: 58,
      crms: [59, 2],
    },
    explain: capText,
  },
  {
    name: "VS",
    title: "Version",
    offset: 0x08,
    bits: 32,
    explain: (value) => [`NVMe ${field(value, 16, 16)}.${field(value, 8, 8)}.${field(value, 0, 8)}`],
  },
  { name: "INTMS", title: "Interrupt Mask Set", offset: 0x0c, bits: 32 },
  { name: "INTMC", title: "Interrupt Mask Clear", offset: 0x10, bits: 32 },
  {
    name: "CC",
    title: "Controller Configuration",
    offset: 0x14,
    bits: 32,
    fields: {
      en: 0,
      css: [4, 3],
      mps: [7, 4],
      ams: [11, 3],
      shn: [14, 2],
      iosqes: [16, 4],
      iocqes: [20, 4],
      crime: 24,
    },
    explain: (value) => [
      `${field(value, 0, 1) === 1 ? "enabled" : "disabled"}, ${shutdownNotification[field(value, 14, 2)]}`,
      `pages of ${4096 * 2 ** field(value, 7, 4)} bytes; entries of ${2 ** field(value, 16, 4)} (I/O SQ) and ` +
        `${2 ** field(value, 20, 4)} (I/O CQ) bytes`,
    ],
  },
  {
    name: "CSTS",
    title: "Controller Status",
    offset: 0x1c,
    bits: 32,
    fields: { rdy: 0, cfs: 1, shst: [2, 2], nssro: 4, pp: 5, st: 6 },
    explain: (value) => [
      `${field(value, 0, 1) === 1 ? "ready" : "not ready"}, ${shutdownStatus[field(value, 2, 2)]}` +
        `${field(value, 1, 1) === 1 ? ", FATAL STATUS" : ""}`,
    ],
  },
  { name: "NSSR", title: "NVM Subsystem Reset", offset: 0x20, bits: 32 },
  {
    name: "AQA",
    title: "Admin Queue Attributes",
    offset: 0x24,
    bits: 32,
    fields: { asqs: [0, 12], acqs: [16, 12] },
    explain: (value) => [`entries: ${field(value, 0, 12) + 1} (SQ), ${field(value, 16, 12) + 1} (CQ)`],
  },
  { name: "ASQ", title: "Admin Submission Queue Base Address", offset: 0x28, bits: 64 },
  { name: "ACQ", title: "Admin Completion Queue Base Address", offset: 0x30, bits: 64 },
  {
    name: "CMBLOC",
    title: "Controller Memory Buffer Location",
    offset: 0x38,
    bits: 32,
    fields: {
      bir: [0, 3],
      cqmms: 3,
      cqpds: 4,
      cdpmls: 5,
      cdpcils: 6,
      cdmmms: 7,
      cqda: 8,
      ofst: [12, 20],
    },
    present: hasCmb,
  },
  {
    name: "CMBSZ",
    title: "Controller Memory Buffer Size",
    offset: 0x3c,
    bits: 32,
    fields: { sqs: 0, cqs: 1, lists: 2, rds: 3, wds: 4, szu: [8, 4], sz: [12, 20] },
    explain: (value) => [
      value === 0n
        ? "shown by the controller only while CMBMSC.CRE is set"
        : decimalBytes(field(value, 12, 20) * cmbUnitBytes(field(value, 8, 4))),
    ],
    present: hasCmb,
  },
  {
    name: "BPINFO",
    title: "Boot Partition Information",
    offset: 0x40,
    bits: 32,
    fields: { bpsz: [0, 15], brs: [24, 2], abpid: 31 },
    present: hasBootPartition,
  },
  {
    name: "BPRSEL",
    title: "Boot Partition Read Select",
    offset: 0x44,
    bits: 32,
    fields: { bprsz: [0, 10], bprof: [10, 20], bpid: 31 },
    present: hasBootPartition,
  },
  {
    name: "BPMBL",
    title: "Boot Partition Memory Buffer Location",
    offset: 0x48,
    bits: 64,
    present: hasBootPartition,
  },
  {
    name: "CMBMSC",
    title: "Controller Memory Buffer Memory Space Control",
    offset: 0x50,
    bits: 64,
    fields: { cre: 0, cmse: 1 },
    present: hasCmb,
  },
  {
    name: "CMBSTS",
    title: "Controller Memory Buffer Status",
    offset: 0x58,
    bits: 32,
    fields: { cbai: 0 },
    present: hasCmb,
  },
  {
    name: "CRTO",
    title: "Controller Ready Timeouts",
    offset: 0x68,
    bits: 32,
    fields: { crwmt: [0, 16], crimt: [16, 16] },
    present: hasReadyModes,
  },
  {
    name: "PMRCAP",
    title: "Persistent Memory Region Capabilities",
    offset: 0xe00,
    bits: 32,
    fields: { rds: 3, wds: 4, bir: [5, 3], pmrtu: [8, 2], pmrwbm: [10, 4], pmrto: [16, 8], cmss: 24 },
    present: hasPmr,
  },
  {
    name: "PMRCTL",
    title: "Persistent Memory Region Control",
    offset: 0xe04,
    bits: 32,
    fields: { en: 0 },
    present: hasPmr,
  },
  {
    name: "PMRSTS",
    title: "Persistent Memory Region Status",
    offset: 0xe08,
    bits: 32,
    fields: { err: [0, 8], nrdy: 8, hsts: [9, 3], cbai: 12 },
    present: hasPmr,
  },
  {
    name: "PMREBS",
    title: "Persistent Memory Region Elasticity Buffer Size",
    offset: 0xe0c,
    bits: 32,
    fields: { pmrszu: [0, 4], rbb: 4, pmrwbz: [8, 24] },
    present: hasPmr,
  },
  {
    name: "PMRSWTP",
    title: "Persistent Memory Region Sustained Write Throughput",
    offset: 0xe10,
    bits: 32,
    fields: { pmrswtu: [0, 4], pmrswtv: [8, 24] },
    present: hasPmr,
  },
  {
    name: "PMRMSCL",
    title: "Persistent Memory Region Memory Space Control Lower",
    offset: 0xe14,
    bits: 32,
    fields: { cmse: 1 },
    present: hasPmr,
  },
  {
    name: "PMRMSCU",
    title: "Persistent Memory Region Memory Space Control Upper",
    offset: 0xe18,
    bits: 32,
    present: hasPmr,
  },
];
