/** `iova compare`: its options, the guest for --guest, progress, and the three output formats. */
import { spawn } from "node:child_process";
import { ConfigError, IovaError } from "../core/errors.js";
import { Problems, read } from "../core/options.js";
import { parseBdf } from "../pci/address/bdf.js";
import { parseCommandLine } from "./command-line.js";
import { compare } from "./compare/compare.js";
import { renderHtml } from "./compare/html.js";
import { type CompareReport, reportSchema } from "./compare/report.js";
import { renderText } from "./compare/text.js";
import { compareDescription } from "./described/compare.js";
import { packageFile } from "./package-file.js";
import { checkWritable, writeNamed } from "./page.js";
import { ProgressLine } from "./progress.js";
import { print, printJson } from "./terminal.js";

export interface CompareOptions {
  readonly bdf: string | undefined;
  readonly guest: boolean;
  readonly quick: boolean;
  readonly json: boolean;
  readonly html: string | undefined;
  readonly progress: boolean;
}

/** @throws ConfigError */
export function parseCompareOptions(argv: readonly string[]): CompareOptions {
  const { values, positionals } = parseCommandLine(compareDescription, argv);
  const { html, guest = false, quick = false, json = false, progress = false } = values;
  const [bdf, ...more] = positionals;
  if (more.length > 0) throw new ConfigError(`compare takes one BDF, got ${positionals.join(" ")}`);
  if (guest && bdf !== undefined) {
    throw new ConfigError("--guest has a device of its own: leave the BDF out");
  }
  if (html === "") throw new ConfigError("--html needs the name of a file");
  return { guest, quick, json, progress, html, bdf: bdf === undefined ? undefined : checkedBdf(bdf) };
}

function checkedBdf(bdf: string): string {
  try {
    return parseBdf(bdf);
  } catch (error) {
    throw new ConfigError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

/** @throws IovaError */
export async function runCompare(argv: readonly string[]): Promise<void> {
  const options = parseCompareOptions(argv);
  if (options.html !== undefined) checkWritable(options.html);
  const line = new ProgressLine(process.stderr, options.progress);
  let report: CompareReport;
  try {
    report = options.guest
      ? await inGuest(options, line)
      : await compare({ ...options, onProgress: (what, done) => line.show(what, done) });
  } finally {
    line.end();
  }
  if (options.json) printJson(report);
  else print(renderText(report));
  if (options.html !== undefined) writeNamed("--html", options.html, renderHtml(report));
}

/** The default devices of the guest tool: an NVMe controller to measure, and edu as the second device. */
const GUEST_DEVICES = ["0000:00:01.0", "0000:00:02.0"];
/** Room for 1 GiB of each kind of pages. */
const GUEST_MEMORY = "6G";
const GUEST_HUGE_PAGES = "hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=672";

/** Runs this program in the guest and reads its JSON. The guest tool is a separate program, not a module of src/. */
async function inGuest({ quick }: CompareOptions, line: ProgressLine): Promise<CompareReport> {
  const guestTool = packageFile("dist/lib/guest.js");
  const iova = packageFile("dist/lib/cli.js");
  const [device, second] = GUEST_DEVICES;
  const script =
    'node=$1 iova=$2; shift 2; for bdf in $1 $2; do "$node" "$iova" bind "$bdf" >&2 || exit; done; ' +
    'device=$1; shift 2; exec "$node" "$iova" compare "$device" --json "$@"';
  const args = [
    ...["--memory", GUEST_MEMORY, "--append", GUEST_HUGE_PAGES, "--"],
    ...["sh", "-c", script, "sh", process.execPath, iova, device ?? "", second ?? ""],
    ...(quick ? ["--quick"] : []),
    ...(line.isShown ? ["--progress"] : []),
  ];
  line.show("booting the guest", 0);
  const child = spawn(process.execPath, [guestTool, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const output: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => output.push(chunk));
  let last = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    for (const each of text.split(/[\r\n]+/)) {
      const said = each.replace(/^\s*\d+ %\s+/, "").trim();
      if (said === "") continue;
      last = said;
      const percent = /^\s*(\d+) %/.exec(each)?.[1];
      line.show(`in the guest: ${said}`, Number(percent ?? 0) / 100);
    }
  });
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  if (status !== 0) throw new GuestFailedError(status, last);
  const report = read(reportSchema, JSON.parse(Buffer.concat(output).toString("utf8")));
  if (report instanceof Problems) {
    throw new GuestFailedError(status, `its report is invalid: ${report.text}`);
  }
  return report;
}

/** The guest could not be started, or the comparison failed in it. */
export class GuestFailedError extends IovaError {
  constructor(status: number | null, reason: string) {
    super("ERR_IOVA_GUEST", `the guest ended with status ${status ?? "unknown"}: ${reason}`);
  }
}
