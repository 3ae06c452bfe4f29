/** Which fixes of a report a program can do by itself, and what is left for a person. */
import { checkArray, checkBoolean, checkKeys, checkMembers, checkObject } from "../core/check.js";
import { append } from "../core/lists.js";
import { type ChangeList, listChanges } from "./changes/changes.js";
import { placesOf, type RecordOptions } from "./changes/options.js";
import { isOwnUndo } from "./changes/take-back.js";
import type { CheckResult, CommandStep, FileStep, Fix } from "./checks/check.js";
import type { DoctorReport } from "./doctor.js";
import { HostRoot } from "./facts/root.js";

/** Options of {@link planFixes}. */
export interface FixPlanOptions extends RecordOptions {
  /** Also change the kernel command line, which takes a restart of the machine. */
  readonly boot?: boolean | undefined;
}

/** A fix, and the check that it is for. */
export interface PlannedFix {
  /** Identifier of the check, such as `device.driver`. */
  readonly check: string;
  /** Address of the device; undefined if the check is about the host. */
  readonly device: string | undefined;
  /** What mends it. */
  readonly fix: Fix;
}

/** What can be done about the problems of a report. */
export interface FixPlan {
  /**
   * What to do, in this order: for `applySteps`. Each step once, but what brings something up to date (`udevadm control --reload`)
   * after each change that it reads.
   */
  readonly steps: readonly (CommandStep | FileStep)[];
  /** The fixes that {@link steps} are of. */
  readonly fixes: readonly PlannedFix[];
  /** Fixes of the boot configuration, which the option `boot` would add. */
  readonly withheld: readonly PlannedFix[];
  /** Fixes that are done, as the record says, and wait for the next login or start. */
  readonly pending: readonly PlannedFix[];
  /** Fixes with steps that only a person can do. Of those that begin with other steps, these are in {@link steps}, too. */
  readonly manual: readonly PlannedFix[];
}

/**
 * Chooses the first fix of each problem of a report. Warnings are left alone. What comes after a step for a person waits for it.
 * @param report of `doctor()`
 * @throws ArgumentError; HostChangeError: the record can't be read
 */
export function planFixes(report: DoctorReport, options: FixPlanOptions = {}): FixPlan {
  checkKeys("options", options, ["root", "record", "boot"]);
  checkReport(report);
  const { boot = false } = options;
  checkBoolean("boot", boot);
  const { root, folder } = placesOf(options);
  const host = new HostRoot(root);
  const record = listChanges({ root, record: folder });
  const plan = {
    steps: [] as (CommandStep | FileStep)[],
    fixes: [] as PlannedFix[],
    withheld: [] as PlannedFix[],
    pending: [] as PlannedFix[],
    manual: [] as PlannedFix[],
  };
  const known = new Set<string>();
  for (const planned of report.checks.flatMap(firstFix)) {
    const { fix } = planned;
    const own = doable(fix);
    if (own.length < fix.steps.length) plan.manual.push(planned);
    if (own.length === 0) continue;
    if (isPending(fix, own, host, record)) plan.pending.push(planned);
    else if (fix.effect === "reboot" && !boot) plan.withheld.push(planned);
    else {
      plan.fixes.push(planned);
      append(plan.steps, newSteps(own, known));
    }
  }
  return plan;
}

/** The steps of a fix that those before it lack. @param known keys of the steps before it, to which these are added */
function newSteps(
  steps: readonly (CommandStep | FileStep)[],
  known: Set<string>,
): (CommandStep | FileStep)[] {
  const isKnown = (step: CommandStep | FileStep): boolean => known.has(JSON.stringify(step));
  if (steps.every(isKnown)) return [];
  const added = steps.filter((step) => !isKnown(step) || isRefresh(step));
  for (const step of added) known.add(JSON.stringify(step));
  return added;
}

function isRefresh(step: CommandStep | FileStep): boolean {
  return step.kind === "command" && isOwnUndo(step.argv, step.undo);
}

/** A report may have been read from a file. @throws ArgumentError */
function checkReport(report: DoctorReport): void {
  checkObject("report", report);
  checkArray("report.checks", report.checks);
  for (const [i, check] of report.checks.entries()) {
    const name = `report.checks[${i}]`;
    checkMembers(name, check, "a check of doctor()", { id: "string", state: "string" });
    checkArray(`${name}.fixes`, check.fixes);
    for (const [j, fix] of check.fixes.entries()) {
      checkMembers(`${name}.fixes[${j}]`, fix, "a fix of doctor()", { effect: "string" });
      checkArray(`${name}.fixes[${j}].steps`, fix.steps);
      for (const [k, step] of fix.steps.entries()) checkStep(`${name}.fixes[${j}].steps[${k}]`, step);
    }
  }
}

function checkStep(name: string, step: Fix["steps"][number]): void {
  checkMembers(name, step, "a step of a fix", { kind: "string" });
  if (step.kind === "file")
    checkMembers(name, step, "a step with a file", { path: "string", content: "string" });
  if (step.kind === "command") checkArray(`${name}.argv`, step.argv);
}

function firstFix({ id, device, state, fixes: [fix] }: CheckResult): PlannedFix[] {
  return state === "problem" && fix !== undefined ? [{ check: id, device, fix }] : [];
}

/** The steps before the first that only a person can do. */
function doable({ steps }: Fix): (CommandStep | FileStep)[] {
  const own: (CommandStep | FileStep)[] = [];
  for (const step of steps) {
    if (step.kind === "manual") break;
    own.push(step);
  }
  return own;
}

/** Whether a fix whose effect comes later is done already. Doing it again would add a kernel parameter twice. */
function isPending(
  { effect }: Fix,
  steps: readonly (CommandStep | FileStep)[],
  host: HostRoot,
  { changes }: ChangeList,
): boolean {
  if (effect === "now") return false;
  const done = new Set(changes.filter(({ state }) => state === "applied").flatMap((change) => change.steps));
  return steps.every((step) =>
    step.kind === "file" ? host.text(step.path) === step.content.trim() : done.has(step.argv.join(" ")),
  );
}
