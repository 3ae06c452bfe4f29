/** `iova nvme log`: log pages, by name or as bytes. */

import { parseCommandLine } from "../../command-line.js";
import { logDescription } from "../../described/nvme/information.js";
import { print } from "../../terminal.js";
import {
  checkTarget,
  controllerOptions,
  numberOption,
  targetOperand,
  usage,
  wantsJson,
} from "../arguments.js";
import { withController } from "../open.js";
import { hexDump, printJson } from "../output.js";
import type { NvmeSubcommand } from "../subcommand.js";
import { type NamedLog, namedLogs } from "./log-pages.js";

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
  const { values, positionals } = parseCommandLine(logDescription, argv);
  const number = (
    option: "log-id" | "log-len" | "lpo" | "ot" | "lsp" | "lsi" | "group-id" | "csi",
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
    lsi: number("lsi", 0xffff) ?? number("group-id", 0xffff),
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

export const log: NvmeSubcommand = { description: logDescription, run };
