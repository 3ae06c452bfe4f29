/** `iova doctor`: what keeps a device from being used on this host, and how to mend it. */
import type { CheckResult, CheckState } from "../../host/checks/check.js";
import { type DoctorReport, doctor } from "../../host/doctor.js";
import { type Colour, showsColours } from "../colour.js";
import { parseCommandLine, usageError } from "../command-line.js";
import { doctorDescription } from "../described/doctor.js";
import { printJson, printPainted } from "../terminal.js";
import { fixLines, type Line } from "./doctor-lines.js";

const labels: Readonly<Record<CheckState, readonly [text: string, colour: Colour]>> = {
  ok: ["ok", "green"],
  warning: ["warning", "yellow"],
  problem: ["problem", "red"],
  "not-applicable": ["-", "dim"],
};
const LABEL_WIDTH = 7;

/** @throws ConfigError, ArgumentError (no such device or user); with --fix HostChangeError, BusyError, Interrupted */
export async function runDoctor(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(doctorDescription, argv);
  const device = { user: values.user, ...(positionals.length === 0 ? {} : { devices: positionals }) };
  const isJson = values.json === true;
  const isDryRun = values["dry-run"] === true;
  if (values.fix !== true && (isDryRun || values.yes === true))
    throw usageError(doctorDescription, `--${isDryRun ? "dry-run" : "yes"} is for --fix`);
  const withColours = showsColours(process.stdout, process.env);
  const say = (lines: readonly Line[]): void => {
    if (!isJson) printPainted(lines, withColours);
  };
  let report: DoctorReport;
  let shown: object;
  if (values.fix === true) {
    const { fixHost } = await import("./doctor-fix.js");
    const outcome = await fixHost({ device, boot: values.yes === true, isDryRun, say });
    report = outcome.report;
    shown = outcome;
  } else {
    report = doctor(device);
    shown = report;
  }
  if (!report.usable) process.exitCode = 1;
  say(reportLines(report, values.verbose === true));
  if (isJson) printJson(shown);
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
    ...check.fixes.flatMap((fix, i) => fixLines(fix, i === 0 ? "To mend it:" : "Or:")),
  ];
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
