/** `iova nvme read`: blocks of a namespace to a file or standard output. */

import type { NvmeNamespace } from "../../../nvme/namespace/namespace.js";
import { parseCommandLine } from "../../command-line.js";
import { readDescription } from "../../described/nvme/blocks.js";
import { print } from "../../terminal.js";
import { controllerOptions, namespaceOption, targetOperand, usage } from "../arguments.js";
import { Arguments } from "../command.js";
import { type Details, detailsOf, metadataLength, shapeOf } from "../io/details.js";
import { openNamespace, withController } from "../open.js";
import { hexDump } from "../output.js";
import type { NvmeSubcommand } from "../subcommand.js";
import { checkBlocks, wantedBlocks } from "./blocks.js";
import { openSink, STANDARD } from "./data-file.js";
import { readBlocks } from "./transfer.js";

/** Blocks as --prinfo and the like say. Metadata that no file takes is dropped. */
async function readDetailed(
  ns: NvmeNamespace,
  details: Details,
  first: bigint,
  blocks: bigint,
  take: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  const length = metadataLength(ns, details, blocks);
  const metadata = length === 0 ? undefined : new Uint8Array(length);
  const data = await ns.read(first, Number(blocks) * shapeOf(ns, details).data, {
    ...details.options,
    metadata,
  });
  await take(data);
  if (metadata === undefined || details.metadataFile === undefined) return;
  await using sink = await openSink(details.metadataFile);
  await sink.write(metadata);
}

async function run(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(readDescription, argv);
  const target = targetOperand("read", positionals);
  const wanted = wantedBlocks("read", values);
  const nsid = namespaceOption("read", values["namespace-id"]);
  const options = controllerOptions("read", values);
  const path = values["data-file"] ?? values.data;
  if (path === "") throw usage("read", "--data-file needs the name of a file, or -");
  const details = detailsOf(
    new Arguments<keyof typeof readDescription.options>("read", "", values, readDescription.options),
  );
  await withController(target, options, async (nvme) => {
    const ns = await openNamespace(nvme, nsid);
    const blocks = checkBlocks(ns, wanted) ?? 1n;
    const readTo = (take: (bytes: Uint8Array) => Promise<void>): Promise<void> =>
      details === undefined
        ? readBlocks(ns, wanted.first, blocks, take)
        : readDetailed(ns, details, wanted.first, blocks, take);
    if (path === undefined && process.stdout.isTTY === true) {
      await readTo(async (bytes) => print(hexDump(bytes)));
      return;
    }
    await using sink = await openSink(path ?? STANDARD);
    await readTo((bytes) => sink.write(bytes));
  });
}

export const read: NvmeSubcommand = { description: readDescription, run };
