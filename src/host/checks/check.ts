/** What a check finds, and how to mend it. Fixes are data, so that they can be shown, applied and undone. */

/** `warning`: a device can be used all the same. `not-applicable`: the question doesn't arise on this host. */
export type CheckState = "ok" | "warning" | "problem" | "not-applicable";

/** Runs a program. */
export interface CommandStep {
  /** Tells the kinds of {@link FixStep} apart. */
  readonly kind: "command";
  /** Program and arguments; root has to run it. */
  readonly argv: readonly string[];
  /** What takes it back; undefined if there is nothing to take back, or no command does it. */
  readonly undo: readonly string[] | undefined;
}

/** Writes a file of its own. Removing it takes that back. */
export interface FileStep {
  /** Tells the kinds of {@link FixStep} apart. */
  readonly kind: "file";
  /** Absolute path. */
  readonly path: string;
  /** The whole text of the file. */
  readonly content: string;
}

/** Something that only a person can do, such as a setting of the firmware. */
export interface ManualStep {
  /** Tells the kinds of {@link FixStep} apart. */
  readonly kind: "manual";
  /** What to do, as a sentence. */
  readonly text: string;
}

/** One step of a fix. */
export type FixStep = CommandStep | FileStep | ManualStep;

/** A way to mend what a check found. Steps are done in order. */
export interface Fix {
  /** What it does, in words. */
  readonly summary: string;
  /** What to do, in this order. */
  readonly steps: readonly FixStep[];
  /** When it takes effect: at once, at the next login, after a restart of the machine. */
  readonly effect: "now" | "login" | "reboot";
}

/** The result of one check. */
export interface CheckResult {
  /** Names the check: `iommu.on`, `device.driver`. Stable. */
  readonly id: string;
  /** What is checked, in words. */
  readonly title: string;
  /** Address of the device that it is about; undefined if it is about the host. */
  readonly device: string | undefined;
  /** The verdict. */
  readonly state: CheckState;
  /** What was found, in words. It may quote the host's files. */
  readonly found: string;
  /** File or folder that says so. */
  readonly where: string;
  /** Why it matters. */
  readonly why: string;
  /** Ways to mend it, the best first; empty if there is nothing to mend. */
  readonly fixes: readonly Fix[];
}

/** A result without what most results leave out. */
export type Finding = Pick<CheckResult, "state" | "found" | "where"> & Partial<Pick<CheckResult, "fixes">>;
