/** Fixes as lines of text: what a person would type. */
import type { Fix, FixStep } from "../../host/checks/check.js";
import type { Coloured } from "../colour.js";

/** A line of text, of parts that may have colours. */
export type Line = readonly (string | Coloured)[];

const EFFECTS = {
  now: "",
  login: " (takes effect at the next login)",
  reboot: " (takes effect at the next start)",
};

/** A fix and its steps. @param lead what stands before it */
export function fixLines({ summary, steps, effect }: Fix, lead: string): Line[] {
  return [[`  ${lead} ${summary}${EFFECTS[effect]}`], ...steps.flatMap(stepLines)];
}

/** A step as a person types it. */
export function stepLines(step: FixStep): Line[] {
  if (step.kind === "manual") return [[`    ${step.text}`]];
  if (step.kind === "command")
    return [[{ text: `    sudo ${step.argv.map(quoted).join(" ")}`, colour: "bold" }]];
  const content = step.content.trimEnd().split("\n");
  return [
    [{ text: `    sudo tee ${quoted(step.path)} <<'EOF'`, colour: "bold" }],
    ...content.map((line): Line => [line]),
    ["EOF"],
  ];
}

/** A word as a shell takes it. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
