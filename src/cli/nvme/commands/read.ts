/** `iova nvme read`: blocks of a namespace to a file or standard output. */

import { parseCommandLine } from "../../command-line.js";
import { readDescription } from "../../described/nvme/blocks.js";
import { print } from "../../terminal.js";
import { controllerOptions, namespaceOption, targetOperand, usage } from "../arguments.js";
import { openNamespace, withController } from "../open.js";
import { hexDump } from "../output.js";
import type { NvmeSubcommand } from "../subcommand.js";
import { checkBlocks, wantedBlocks } from "./blocks.js";
import { openSink, STANDARD } from "./data-file.js";
import { readBlocks } from "./transfer.js";

async function run(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(readDescription, argv);
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

export const read: NvmeSubcommand = { description: readDescription, run };
