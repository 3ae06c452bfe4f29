/** The quirks: what some controllers do otherwise than the specification says, and what the driver does about it. */
import { ConfigError, UnsupportedError } from "../../core/errors.js";

/** Why each quirk exists, and what the driver does about it. */
export const nvmeQuirks = {
  "bogus-identifiers":
    "EUI-64, NGUID or UUID are wrong or the same on several devices: the driver doesn't report them",
  "delay-before-ready":
    "reading CSTS soon after CC.EN is cleared makes the controller fail: the driver waits 2.5 s first",
  "no-write-zeroes": "Write Zeroes hangs, is slow or damages data: the driver refuses it",
} as const;

/** Name of a quirk. */
export type NvmeQuirkName = keyof typeof nvmeQuirks;

/** All names, in alphabetical order. */
export const nvmeQuirkNames = Object.keys(nvmeQuirks) as readonly NvmeQuirkName[];

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
  if (!target.hasQuirk(name)) return;
  throw new UnsupportedError(
    `${target.bdf} has the quirk ${name}, so the driver doesn't use ${what}: to use it all the same, open the controller with the option quirks { remove: ["${name}"] }`,
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
