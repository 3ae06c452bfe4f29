/** The command line of `iova nvme perf`. */
import { parseCommandLine } from "../../command-line.js";
import { perfDescription } from "../../described/nvme/perf.js";
import {
  type ControllerOptions,
  controllerOptions,
  namespaceOption,
  numberOption,
  targetOperand,
  usage,
} from "../arguments.js";
import { type Workload, workloads } from "./queue.js";

export interface PerfOptions {
  readonly target: string;
  readonly depth: number;
  /** Undefined: 4 KiB, or a block if that is larger. */
  readonly ioBytes: number | undefined;
  readonly workload: Workload;
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

/** @throws ConfigError */
export function parsePerfOptions(argv: readonly string[]): PerfOptions {
  const { values, positionals } = parseCommandLine(perfDescription, argv);
  const workload = workloads.find((name) => name === (values.workload ?? "randread"));
  if (workload === undefined) {
    throw usage(NAME, `--workload ${values.workload}: expected one of ${workloads.join(", ")}`);
  }
  return {
    target: targetOperand(NAME, positionals),
    depth: numberOption(NAME, "queue-depth", values["queue-depth"], 1, 65535) ?? 1,
    ioBytes: sizeOption("io-size", values["io-size"]),
    workload,
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

const units: Readonly<Record<string, number>> = { "": 1, k: 1024, m: 1024 ** 2 };

/** @throws ConfigError */
function sizeOption(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const [, digits = "", unit = ""] = /^(\d{1,9})([km]?)(?:i?b)?$/i.exec(text) ?? [];
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
