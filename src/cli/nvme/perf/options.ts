/** The command line of `iova nvme perf`. */
import { allBackendNames } from "../../../pci/open.js";
import {
  type ControllerOptions,
  controllerOptions,
  namespaceOption,
  numberOption,
  parseCommand,
  TARGET_HELP,
  targetOperand,
  usage,
} from "../arguments.js";
import { type Workload, workloads } from "./queue.js";

export const PERF_HELP = `Usage: iova nvme perf TARGET [-q DEPTH] [-o SIZE] [-w WORKLOAD] [-t SECONDS] ...

Measures commands per second, their latency, and their CPU time. Each queue has its own thread,
which polls it without pause.

${TARGET_HELP}
  -q DEPTH, --queue-depth      commands outstanding on each queue (default 1)
  -o SIZE, --io-size           bytes of each command, such as 512, 4k or 1M (default 4k,
                               or one block if that is larger)
  -w WORKLOAD, --workload      ${workloads.join(", ")}
                               (default randread; randrw is one half each)
  -t SECONDS, --time           time to measure (default 5)
  --warmup SECONDS             time to run before that (default 1)
  --queues N                   queues, each on a thread of its own (default 1)
  --interrupts                 wait for interrupts instead of polling
  --namespace-id N, -n         the namespace (default: the only one)
  --backend NAME               ${allBackendNames.join(", ")}
  --vf-token UUID              the secret of a physical function and its virtual functions
  --trust-server               vfio-user: also map files that the server could truncate
                               (SPDK's targets, whose doorbells are messages otherwise)
  --json                       print JSON
  --yes                        don't ask before a workload that overwrites the namespace
  --help                       this text
`;

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
}

const NAME = "perf";
const MAX_SECONDS = 86_400;

/** @throws ConfigError */
export function parsePerfOptions(argv: readonly string[]): PerfOptions {
  const { values, positionals } = parseCommand(NAME, argv, {
    "queue-depth": { type: "string", short: "q" },
    "io-size": { type: "string", short: "o" },
    workload: { type: "string", short: "w" },
    time: { type: "string", short: "t" },
    warmup: { type: "string" },
    queues: { type: "string" },
    interrupts: { type: "boolean" },
    "namespace-id": { type: "string", short: "n" },
    backend: { type: "string" },
    "vf-token": { type: "string" },
    "trust-server": { type: "boolean" },
    json: { type: "boolean" },
    yes: { type: "boolean" },
  });
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
