/** `iova nvme read`: blocks of a namespace to a file or standard output. */

import { print } from "../../terminal.js";
import {
  CONTROLLER_HELP,
  CONTROLLER_OPTIONS,
  controllerOptions,
  namespaceOption,
  parseCommand,
  TARGET_HELP,
  targetOperand,
  usage,
} from "../arguments.js";
import { openNamespace, withController } from "../open.js";
import { hexDump } from "../output.js";
import type { NvmeSubcommand } from "../subcommand.js";
import { BLOCKS_HELP, BLOCKS_OPTIONS, checkBlocks, wantedBlocks } from "./blocks.js";
import { openSink, STANDARD } from "./data-file.js";
import { readBlocks } from "./transfer.js";

const HELP = `Usage: iova nvme read TARGET [--start-block N] [--blocks N] --data-file FILE

Reads logical blocks, by default one. Without --data-file, a terminal gets a hex dump, and any
other standard output the bytes.

${TARGET_HELP}
${BLOCKS_HELP}  --data-file FILE, -d  where to; - is standard output (also --data)
  --namespace-id N, -n  the namespace (default: the only one)
${CONTROLLER_HELP}  --help                this text
`;

async function run(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommand("read", argv, {
    ...BLOCKS_OPTIONS,
    "data-file": { type: "string", short: "d" },
    data: { type: "string" },
    "namespace-id": { type: "string", short: "n" },
    ...CONTROLLER_OPTIONS,
  });
  const target = targetOperand("read", positionals);
  const wanted = wantedBlocks("read", values);
  const nsid = namespaceOption("read", values["namespace-id"]);
  const options = controllerOptions("read", values);
  const path = values["data-file"] ?? values.data;
  if (path === "") throw usage("read", "--data-file needs the name of a file, or -");
  await withController(target, options, async (nvme) => {
    const ns = await openNamespace(nvme, nsid);
    const blocks = checkBlocks(ns, wanted) ?? 1n;
    if (path === undefined && process.stdout.isTTY === true) {
      await readBlocks(ns, wanted.first, blocks, async (bytes) => print(hexDump(bytes)));
      return;
    }
    await using sink = await openSink(path ?? STANDARD);
    await readBlocks(ns, wanted.first, blocks, (bytes) => sink.write(bytes));
  });
}

export const read: NvmeSubcommand = {
  name: "read",
  operands: "TARGET [--data-file FILE]",
  summary: "read blocks, to a file or standard output",
  help: HELP,
  run,
};
