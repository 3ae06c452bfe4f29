/** The quirks: what some controllers do otherwise than the specification says, and what the driver does about it. */
import { ConfigError, UnsupportedError } from "../../core/errors.js";

/** What the controller does: what the driver does about it. */
const reasons = {
  "admin-queue-64": "the admin queue must fill whole pages: the driver makes its entries a multiple of 64",
  "bogus-identifiers":
    "EUI-64, NGUID or UUID are wrong or the same on several devices: the driver doesn't report them",
  "bogus-subsystem-nqn": "SUBNQN is wrong or the same on several devices: the driver reports it as empty",
  "class-code": "the PCI class code is not that of an NVMe controller: the driver opens it all the same",
  "cns-0-and-1":
    "Identify returns something else for a CNS above 1: the driver looks at each namespace id, and refuses other structures",
  "deallocate-zeroes":
    "deallocated blocks read as zeros, and Write Zeroes may be missing: then the driver deallocates instead",
  "deep-queues": "I/O queues of few entries are slow: the driver makes 1024 by default",
  "delay-after-queue": "a command right after the creation of a queue can hang: the driver waits 10 ms",
  "delay-before-init": "it is not ready for its start right after a function reset: open waits 2 s",
  "delay-before-ready":
    "reading CSTS soon after CC.EN is cleared makes the controller fail: the driver waits 2.5 s first",
  "dma-48-bits": "DMA fails at addresses of more than 48 bits: the driver maps no buffer there",
  "entries-128-bytes":
    "entries of I/O submission queues take 128 bytes, of which 64 are used: the driver lays them out so",
  "medium-priority":
    "weighted arbitration is on by itself, and all queues were urgent: the driver gives them medium priority",
  "mqes-0-is-63": "CAP.MQES is 0 by mistake: the driver makes I/O queues of up to 64 entries",
  "no-apst":
    "it fails in power states that it enters by itself: the driver refuses to enable Autonomous Power State Transition",
  "no-deepest-power-state": "it doesn't wake from its deepest power state: the driver refuses to use that",
  "no-msi": "MSI never arrives: the driver uses MSI-X or INTx",
  "no-namespace-descriptors":
    "Identify of CNS 3 fails or hangs: the driver takes the identifiers from Identify Namespace",
  "no-security": "OACS promises Security Send and Receive, which it doesn't have: the driver refuses them",
  "no-sensor-thresholds":
    "only the composite temperature has thresholds: the driver refuses those of sensors",
  "no-sgl": "it has more demands on SGLs than SGLS says: the driver uses PRPs only",
  "no-temperature-threshold":
    "a temperature threshold that is set causes a warning that stays: the driver refuses to set one",
  "no-write-zeroes": "Write Zeroes hangs, is slow or damages data: the driver refuses it",
  "one-command":
    "commands that are outstanding together end in resets and lost data: I/O queues have one at a time",
  "shared-command-ids":
    "it mixes up commands of the admin and the I/O queue that have the same id, and ids beyond the queue: there is one I/O queue, and its ids follow those of the admin queue",
  "single-vector": "only the first interrupt vector works: all queues share it",
  stripe:
    "commands that cross a stripe are slow: long transfers are split at stripes (NOIOB, or byte 3075 of Identify Controller)",
} as const;

/** Name of a quirk. */
export type NvmeQuirkName = keyof typeof reasons;

/** All quirks: for each name, what such a controller does and what the driver does about it. */
export const nvmeQuirks: Readonly<Record<NvmeQuirkName, string>> = reasons;

/** All names, in alphabetical order. */
export const nvmeQuirkNames = Object.keys(reasons) as readonly NvmeQuirkName[];

/** A quirk of an open controller. */
export interface NvmeQuirk {
  /** Its name. */
  readonly name: NvmeQuirkName;
  /** What the controller does, and what the driver does about it. */
  readonly reason: string;
  /** Where the knowledge comes from: a table of Linux or SPDK with the controller's name, or the option `quirks`. */
  readonly source: string;
}

/**
 * Which quirks an open controller has. `auto`: those of the table of known controllers. A list: exactly these; an empty one is
 * none. An object: those of the table, with some added and some removed.
 */
export type NvmeQuirkChoice =
  | "auto"
  | readonly NvmeQuirkName[]
  | {
      /** Quirks that the controller has in addition. */
      readonly add?: readonly NvmeQuirkName[] | undefined;
      /** Quirks of the table that the controller doesn't have. */
      readonly remove?: readonly NvmeQuirkName[] | undefined;
    };

/** What can be asked about the quirks of a controller. */
export interface QuirkTarget {
  /** PCI address, for messages. */
  readonly bdf: string;
  /** Whether the controller has a quirk. */
  hasQuirk(name: NvmeQuirkName): boolean;
}

/** @throws UnsupportedError if the controller has the quirk, which forbids `what` */
export function assertNoQuirk(target: QuirkTarget, name: NvmeQuirkName, what: string): void {
  if (target.hasQuirk(name)) throw forbiddenBy(target.bdf, name, what);
}

/** The error for what a quirk forbids. */
export function forbiddenBy(bdf: string, name: NvmeQuirkName, what: string): UnsupportedError {
  return new UnsupportedError(
    `${bdf} has the quirk ${name}, so the driver doesn't use ${what}: to use it all the same, open the controller with the option quirks { remove: ["${name}"] }`,
  );
}

/**
 * Reads a choice from text: names with commas between them. With a sign they are added (`+no-sgl`) or removed (`-no-sgl`), without
 * one they are all that the controller has. `auto` and `none` stand alone.
 * @throws ConfigError
 */
export function parseQuirkChoice(text: string): NvmeQuirkChoice {
  if (text === "auto") return "auto";
  if (text === "none") return [];
  const parts = text
    .split(",")
    .map((part) => ({ sign: /^[+-]/.exec(part)?.[0], name: part.replace(/^[+-]/, "") }));
  const named = (sign: string | undefined): NvmeQuirkName[] =>
    parts.filter((part) => part.sign === sign).map((part) => knownName(part.name));
  const [exact, add, remove] = [named(undefined), named("+"), named("-")];
  if (exact.length > 0 && exact.length < parts.length) {
    throw new ConfigError(`quirks ${text}: either all names have a sign (+ or -), or none has`);
  }
  return exact.length > 0 ? exact : { add, remove };
}

function knownName(text: string): NvmeQuirkName {
  const name = nvmeQuirkNames.find((known) => known === text);
  if (name !== undefined) return name;
  throw new ConfigError(`there is no quirk ${JSON.stringify(text)}: expected ${nvmeQuirkNames.join(", ")}`);
}
