/** `iova doctor`: what keeps a device from being used on this host, and how to mend it. */
import type { CheckResult, CheckState, Fix, FixStep } from "../host/checks/check.js";
import { type DoctorReport, doctor } from "../host/doctor.js";
import { type Colour, type Coloured, showsColours } from "./colour.js";
import { parseCommandLine } from "./command-line.js";
import { doctorDescription } from "./described/doctor.js";
import { printJsonText, printPainted } from "./terminal.js";

type Line = readonly (string | Coloured)[];

const labels: Readonly<Record<CheckState, readonly [text: string, colour: Colour]>> = {
  ok: ["ok", "green"],
  warning: ["warning", "yellow"],
  problem: ["problem", "red"],
  "not-applicable": ["-", "dim"],
};
const LABEL_WIDTH = 7;

/** @throws ConfigError, ArgumentError (no such device or user) */
export function runDoctor(argv: readonly string[]): void {
  const { values, positionals } = parseCommandLine(doctorDescription, argv);
  const report = doctor({ user: values.user, ...(positionals.length === 0 ? {} : { devices: positionals }) });
  if (!report.usable) process.exitCode = 1;
  if (values.json === true) {
    printJsonText(JSON.stringify(report, undefined, 2));
    return;
  }
  const withColours = showsColours(process.stdout, process.env);
  const lines = reportLines(report, values.verbose === true);
  printPainted(lines, withColours);
}

/** The report as lines of text. */
export function reportLines(report: DoctorReport, isVerbose: boolean): Line[] {
  const shown = report.checks.filter(({ state }) => isVerbose || state !== "not-applicable");
  const width = shown.reduce((most, check) => Math.max(most, titleOf(check).length), 0);
  const explained = report.checks.filter(
    ({ state }) => isVerbose || state === "problem" || state === "warning",
  );
  return [
    [{ text: `${report.distribution}, Linux ${report.kernel}, for the user ${report.user}`, colour: "bold" }],
    [""],
    ...shown.map((check) => rowOf(check, width)),
    ...explained.flatMap((check) => adviceOf(check, isVerbose)),
    [""],
    ...verdictLines(report),
  ];
}

function titleOf({ title, device }: CheckResult): string {
  return device === undefined ? title : `${device} ${title}`;
}

function rowOf(check: CheckResult, width: number): Line {
  const [text, colour] = labels[check.state];
  return [{ text: text.padEnd(LABEL_WIDTH), colour }, `  ${titleOf(check).padEnd(width)}  ${check.found}`];
}

function adviceOf(check: CheckResult, isVerbose: boolean): Line[] {
  if (!isVerbose && check.state === "warning" && check.fixes.length === 0) return [];
  const [text, colour] = labels[check.state];
  return [
    [""],
    [{ text: `${text}: ${titleOf(check)}`, colour }, isVerbose ? ` [${check.id}]` : ""],
    [`  ${check.found}`],
    [`  ${check.why}`],
    ...(isVerbose ? [[{ text: `  from ${check.where}`, colour: "dim" }] as const] : []),
    ...check.fixes.flatMap((fix, i) => fixLines(fix, i === 0)),
  ];
}

const EFFECTS = {
  now: "",
  login: " (takes effect at the next login)",
  reboot: " (takes effect at the next start)",
};

function fixLines({ summary, steps, effect }: Fix, isFirst: boolean): Line[] {
  return [[`  ${isFirst ? "To mend it" : "Or"}: ${summary}${EFFECTS[effect]}`], ...steps.flatMap(stepLines)];
}

function stepLines(step: FixStep): Line[] {
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

function verdictLines({ devices, user }: DoctorReport): Line[] {
  if (devices.length === 0) {
    return [
      [
        {
          text: "no device is bound to a driver of VFIO: choose one by iova list, and check it by iova doctor BDF",
          colour: "red",
        },
      ],
    ];
  }
  return devices.map(({ bdf, usable, backends }) =>
    usable
      ? [{ text: `${bdf} can be used now by ${user}, through ${backends.join(", ")}`, colour: "green" }]
      : [{ text: `${bdf} can't be used now by ${user}`, colour: "red" }],
  );
}
