/** The command line of `iova nvme perf`. */
import { parseCommandLine } from "../../command-line.js";
import { perfDescription } from "../../described/nvme/perf.js";
import {
  type ControllerOptions,
  checkTarget,
  controllerOptions,
  namespaceOption,
  numberOption,
  usage,
} from "../arguments.js";
import { isReading, type Workload, workloads } from "./queue.js";

export interface PerfOptions {
  readonly targets: readonly string[];
  readonly depth: number;
  /** Sizes and how many commands in 100 have each. Undefined: 4 KiB, or a block if that is larger. */
  readonly split: readonly { readonly ioBytes: number; readonly percent: number }[] | undefined;
  /** Bytes of the namespace that are used; by default all. */
  readonly rangeBytes: number | undefined;
  readonly workload: Workload;
  readonly readPercent: number;
  readonly sgl: boolean;
  readonly prinfo: number | undefined;
  readonly verify: boolean;
  /** Bytes and commands a second, of all queues together. */
  readonly rate: number | undefined;
  readonly rateIops: number | undefined;
  readonly steady: { readonly percent: number; readonly seconds: number } | undefined;
  /** Processors of the queues' threads, in turn. */
  readonly cpus: readonly number[];
  readonly histogram: boolean;
  readonly html: string | undefined;
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly queues: number;
  readonly interrupts: boolean;
  readonly nsid: number | undefined;
  readonly controller: ControllerOptions;
  readonly json: boolean;
  readonly yes: boolean;
  readonly force: boolean;
}

const NAME = "perf";
const MAX_SECONDS = 86_400;
const MAX_CPU = 1023;
const MAX_TARGETS = 64;

/** @throws ConfigError */
export function parsePerfOptions(argv: readonly string[]): PerfOptions {
  const { values, positionals } = parseCommandLine(perfDescription, argv);
  const workload = workloads.find((name) => name === (values.workload ?? "randread"));
  if (workload === undefined) {
    throw usage(NAME, `--workload ${values.workload}: expected one of ${workloads.join(", ")}`);
  }
  const targets = positionals.map((target) => checkTarget(NAME, target));
  if (targets.length === 0 || targets.length > MAX_TARGETS || new Set(targets).size < targets.length)
    throw usage(
      NAME,
      `perf takes 1 to ${MAX_TARGETS} different targets, got ${positionals.join(" ") || "none"}`,
    );
  if (values.html === "") throw usage(NAME, "--html needs the name of a file");
  const mixed = workload.endsWith("rw");
  if (values.rwmixread !== undefined && !mixed)
    throw usage(NAME, `--rwmixread is for the workloads rw and randrw, not ${workload}`);
  const readPercent = isReading(workload) ? 100 : 0;
  const percent = percentOption("steady-state", values["steady-state"]);
  const window = secondsOption("ss-dur", values["ss-dur"], 0.1);
  if (window !== undefined && percent === undefined) throw usage(NAME, "--ss-dur needs --steady-state");
  return {
    targets,
    depth: numberOption(NAME, "queue-depth", values["queue-depth"], 1, 65535) ?? 1,
    split: splitOption(values["io-size"], values.bssplit),
    rangeBytes: sizeOption("size", values.size),
    workload,
    readPercent: mixed ? (numberOption(NAME, "rwmixread", values.rwmixread, 0, 100) ?? 50) : readPercent,
    sgl: values.sgl === true,
    prinfo: numberOption(NAME, "prinfo", values.prinfo, 0, 15),
    verify: values.verify === true,
    rate: sizeOption("rate", values.rate),
    rateIops: numberOption(NAME, "rate-iops", values["rate-iops"], 1, 1e9),
    steady: percent === undefined ? undefined : { percent, seconds: window ?? 10 },
    cpus: cpusOption(values.cpus),
    histogram: values.histogram === true,
    html: values.html,
    seconds: secondsOption("time", values.time, 0.001) ?? 5,
    warmUpSeconds: secondsOption("warmup", values.warmup, 0) ?? 1,
    queues: numberOption(NAME, "queues", values.queues, 1, 65535) ?? 1,
    interrupts: values.interrupts === true,
    nsid: namespaceOption(NAME, values["namespace-id"]),
    controller: controllerOptions(NAME, values),
    json: values.json === true,
    yes: values.yes === true,
    force: values.force === true,
  };
}

const units: Readonly<Record<string, number>> = { "": 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 };

/** @throws ConfigError */
function sizeOption(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const [, digits = "", unit = ""] = /^(\d{1,9})([kmgt]?)(?:i?b)?$/i.exec(text) ?? [];
  const bytes = Number(digits) * (units[unit.toLowerCase()] ?? Number.NaN);
  if (digits === "" || !(bytes > 0)) {
    throw usage(NAME, `--${option} ${JSON.stringify(text)}: expected a size such as 512, 4k or 1M`);
  }
  return bytes;
}

/** @throws ConfigError */
function secondsOption(option: string, text: string | undefined, min: number): number | undefined {
  if (text === undefined) return undefined;
  const seconds = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (!(seconds >= min && seconds <= MAX_SECONDS)) {
    throw usage(NAME, `--${option} ${text}: expected seconds from ${min} to ${MAX_SECONDS}`);
  }
  return seconds;
}

/** @throws ConfigError */
function percentOption(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const percent = /^\d+(\.\d+)?%?$/.test(text) ? Number.parseFloat(text) : 0;
  if (percent > 0 && percent <= 100) return percent;
  throw usage(NAME, `--${option} ${text}: expected a percentage above 0, up to 100`);
}

/** Sizes as fio's bssplit: `4k/60:64k/40`. @throws ConfigError */
function splitOption(size: string | undefined, split: string | undefined): PerfOptions["split"] {
  const ioBytes = sizeOption("io-size", size);
  if (split === undefined) return ioBytes === undefined ? undefined : [{ ioBytes, percent: 100 }];
  if (size !== undefined) throw usage(NAME, "--bssplit and --io-size exclude each other");
  const parts = split.split(":").map((part) => {
    const [bytes, share] = part.split("/");
    const percent = numberOption(NAME, "bssplit", share ?? "", 1, 100) ?? 0;
    return { ioBytes: sizeOption("bssplit", bytes) ?? 0, percent };
  });
  const sum = parts.reduce((total, { percent }) => total + percent, 0);
  if (sum === 100) return parts;
  throw usage(NAME, `--bssplit ${split}: the percentages add up to ${sum}, not 100`);
}

/** `0,2-5`. @throws ConfigError */
function cpusOption(text: string | undefined): number[] {
  if (text === undefined) return [];
  return text.split(",").flatMap((part) => {
    const [, first = "", last = first] = /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(part) ?? [];
    const [from, to] = [first, last].map(Number);
    if (first === "" || from === undefined || to === undefined || from > to || to > MAX_CPU)
      throw usage(NAME, `--cpus ${text}: expected processors such as 0,2-5, up to ${MAX_CPU}`);
    return Array.from({ length: to - from + 1 }, (_, at) => from + at);
  });
}
