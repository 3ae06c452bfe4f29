/** `iova nvme log`: log pages, by name or as bytes. */

import { print } from "../../terminal.js";
import {
  CONTROLLER_HELP,
  CONTROLLER_OPTIONS,
  checkTarget,
  controllerOptions,
  JSON_HELP,
  JSON_OPTIONS,
  numberOption,
  parseCommand,
  TARGET_HELP,
  targetOperand,
  usage,
  wantsJson,
} from "../arguments.js";
import { withController } from "../open.js";
import { hexDump, printJson } from "../output.js";
import type { NvmeSubcommand } from "../subcommand.js";
import { type NamedLog, namedLogs } from "./log-pages.js";

const HELP = `Usage: iova nvme log NAME TARGET [OPTIONS]
       iova nvme log TARGET --log-id N --log-len BYTES [OPTIONS]

Prints a log page: one that has a name
  error, smart, firmware, changed-ns, effects, supported, self-test, endurance, sanitize
or any other as bytes. Without --rae, reading a page clears the event that announced it.

${TARGET_HELP}
  --log-id N, -i        identifier of a page without a name
  --log-len BYTES, -l   how much of it, a multiple of 4 (default 512)
  --lpo BYTES, -L       first byte, a multiple of 4
  --ot 1, -O 1          --lpo counts entries, not bytes, if the page supports it
  --lsp N, -s           log specific parameter
  --lsi N, -S           log specific identifier: for endurance the group (default 1)
  --csi N, -y           command set: 0 NVM, 1 key value, 2 zoned
  --namespace-id N, -n  of one namespace (default all)
  --rae, -r             keep the event
  --raw-binary, -b      write a page without a name unchanged
${JSON_HELP}${CONTROLLER_HELP}  --help                this text
`;

const OPTIONS = {
  "log-id": { type: "string", short: "i" },
  "log-len": { type: "string", short: "l" },
  lpo: { type: "string", short: "L" },
  ot: { type: "string", short: "O" },
  lsp: { type: "string", short: "s" },
  lsi: { type: "string", short: "S" },
  csi: { type: "string", short: "y" },
  "namespace-id": { type: "string", short: "n" },
  rae: { type: "boolean", short: "r" },
  "raw-binary": { type: "boolean", short: "b" },
  ...JSON_OPTIONS,
  ...CONTROLLER_OPTIONS,
} as const;

/** The log and the target of the command line. @throws ConfigError */
function operandsOf(operands: readonly string[]): { named: NamedLog | undefined; target: string } {
  const [name, target, ...more] = operands;
  if (target === undefined) return { named: undefined, target: targetOperand("log", operands) };
  if (more.length > 0 || name === undefined) {
    throw usage("log", `log takes a name and a target, got ${operands.join(" ")}`);
  }
  const named = Object.hasOwn(namedLogs, name) ? namedLogs[name] : undefined;
  if (named === undefined) {
    throw usage(
      "log",
      `there is no log ${JSON.stringify(name)}: expected one of ${Object.keys(namedLogs).join(", ")}`,
    );
  }
  return { named, target: checkTarget("log", target) };
}

async function run(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommand("log", argv, OPTIONS);
  const number = (
    option: "log-id" | "log-len" | "lpo" | "ot" | "lsp" | "lsi" | "csi",
    max: number,
    min = 0,
  ) => numberOption("log", option, values[option], min, max);
  const { named, target } = operandsOf(positionals);
  const lid = number("log-id", 0xff);
  if (named === undefined && lid === undefined) {
    throw usage("log", "log needs the name of a log, or --log-id");
  }
  if (named !== undefined && lid !== undefined)
    throw usage("log", "give the name of a log or --log-id, not both");
  const sizeBytes = number("log-len", 0xffff_ffff, 4) ?? 512;
  const offset = number("lpo", Number.MAX_SAFE_INTEGER);
  const where = number("ot", 1) === 1 ? { index: offset ?? 0 } : { offset };
  if (named !== undefined && "index" in where) throw usage("log", "--ot is for pages without a name");
  const page = {
    nsid: numberOption("log", "namespace-id", values["namespace-id"], 0, 0xffff_ffff),
    lsp: number("lsp", 0x7f),
    lsi: number("lsi", 0xffff),
    csi: number("csi", 0xff),
    ...where,
    rae: values.rae === true,
  };
  const json = wantsJson("log", values);
  await withController(target, controllerOptions("log", values), async (nvme) => {
    if (named !== undefined) {
      const result = await named.read(nvme, page);
      if (json) printJson(result.json);
      else print(`${named.title}: ${nvme.bdf}\n${result.text}`);
      return;
    }
    const bytes = await nvme.logs.read(lid ?? 0, sizeBytes, page);
    if (values["raw-binary"] === true) process.stdout.write(bytes);
    else if (json) printJson({ lid: lid ?? 0, data: Buffer.from(bytes).toString("hex") });
    else print(hexDump(bytes));
  });
}

export const log: NvmeSubcommand = {
  name: "log",
  operands: "NAME TARGET",
  summary: "log pages: error, firmware, effects, ... (also error-log, get-log, ...)",
  help: HELP,
  aliases: {
    "error-log": ["error"],
    "fw-log": ["firmware"],
    "changed-ns-list-log": ["changed-ns"],
    "effects-log": ["effects"],
    "supported-log-pages": ["supported"],
    "self-test-log": ["self-test"],
    "endurance-log": ["endurance"],
    "sanitize-log": ["sanitize"],
    "get-log": [],
  },
  run,
};
