/** `iova doctor --fix`: does what a program can do by itself, and says how to take it back. */
import { append } from "../../core/lists.js";
import { applySteps } from "../../host/changes/apply.js";
import type { HostChange } from "../../host/changes/changes.js";
import { type DoctorOptions, type DoctorReport, doctor } from "../../host/doctor.js";
import { type FixPlan, type PlannedFix, planFixes } from "../../host/fix-plan.js";
import { interruptible } from "../interruptible.js";
import { fixLines, type Line, stepLines } from "./doctor-lines.js";

/** What a device needs can show only after another thing is mended: a bound device has nodes, which may need permissions. */
const MAX_ROUNDS = 4;

/** How far to go. */
export interface FixRequest {
  readonly device: Pick<DoctorOptions, "devices" | "user" | "root">;
  /** Also the boot configuration. */
  readonly boot: boolean;
  readonly isDryRun: boolean;
  /** Takes lines of text as they come. */
  readonly say: (lines: readonly Line[]) => void;
}

/** One look at the host, and what was done about it. */
interface Round {
  readonly plan: FixPlan;
  /** Undefined if nothing was changed. */
  readonly change: HostChange | undefined;
}

/** What was done, and what there is now; what `--json` prints. */
export interface FixOutcome {
  readonly rounds: readonly Round[];
  readonly report: DoctorReport;
}

/** @throws ArgumentError (no such device or user), HostChangeError, BusyError, Interrupted */
export async function fixHost({ device, boot, isDryRun, say }: FixRequest): Promise<FixOutcome> {
  const { root } = device;
  const rounds: Round[] = [];
  const tried = new Set<string>();
  let report = doctor(device);
  while (rounds.length < MAX_ROUNDS) {
    const plan = planFixes(report, { root, boot });
    const isNew = plan.steps.some((step) => !tried.has(JSON.stringify(step)));
    if (rounds.length === 0 || isNew) say(planLines(plan, isDryRun));
    if (!isNew || isDryRun) {
      rounds.push({ plan, change: undefined });
      break;
    }
    for (const step of plan.steps) tried.add(JSON.stringify(step));
    const change = await interruptible((signal) =>
      applySteps(plan.steps, { root, purpose: "iova doctor --fix", about: ["doctor"], signal }),
    );
    rounds.push({ plan, change });
    if (change !== undefined)
      say([
        [
          {
            text: `Done, as change ${change.id}. It is taken back by: sudo npx iova restore ${change.id}`,
            colour: "green",
          },
        ],
        [""],
      ]);
    report = doctor(device);
  }
  return { rounds, report };
}

/** What a plan does, and what it leaves, as lines of text. */
export function planLines({ steps, fixes, withheld, pending, manual }: FixPlan, isDryRun: boolean): Line[] {
  const lines: Line[] = [];
  const section = (
    title: string,
    planned: readonly PlannedFix[],
    shown: (each: PlannedFix) => Line[],
  ): void => {
    if (planned.length === 0) return;
    lines.push([{ text: title, colour: "bold" }]);
    append(lines, unique(planned).flatMap(shown));
    lines.push([""]);
  };
  if (fixes.length > 0) {
    const summaries = unique(fixes).map(({ fix }) => fix.summary);
    lines.push([{ text: `${isDryRun ? "Would" : "Will"}: ${summaries.join("; ")}`, colour: "bold" }]);
    append(lines, steps.flatMap(stepLines));
    lines.push([""]);
  } else lines.push(["There is nothing that can be mended by itself."], [""]);
  section("Only with --yes, since it changes how the machine starts:", withheld, ({ fix }) =>
    fixLines(fix, "-"),
  );
  section("Done before:", pending, ({ fix }) => {
    const when = fix.effect === "login" ? "the next login" : "the next start of the machine";
    return [[`  ${fix.summary}: takes effect at ${when}`]];
  });
  section("For a person:", manual, ({ fix }) => fixLines(fix, "-"));
  return lines;
}

/** Several checks can have the same fix. */
function unique(planned: readonly PlannedFix[]): PlannedFix[] {
  return [...new Map(planned.map((each) => [JSON.stringify(each.fix), each])).values()];
}
