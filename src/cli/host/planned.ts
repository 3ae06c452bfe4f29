/** Planned steps as text, with the files that they write. */
import { type ChangeStep, stepText } from "../../host/changes/steps.js";
import { quoted } from "./doctor-lines.js";

/** One line for each step; below a file's path its lines. */
export function plannedText(steps: readonly ChangeStep[]): string {
  if (steps.length === 0) return "everything is so already";
  return steps.map(planned).join("\n");
}

function planned(step: ChangeStep): string {
  if (step.kind === "command") return step.argv.map(quoted).join(" ");
  if (step.kind !== "file") return stepText(step);
  const lines = step.content.trimEnd().split("\n");
  return [`${step.path}:`, ...lines.map((line) => `    ${line}`)].join("\n");
}
