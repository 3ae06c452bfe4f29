/** `iova nvme write`: a file or standard input to blocks of a namespace. */

import { ArgumentError } from "../../../core/errors.js";
import type { NvmeController } from "../../../nvme/controller.js";
import type { NvmeNamespace } from "../../../nvme/namespace/namespace.js";
import { parseCommandLine } from "../../command-line.js";
import { writeDescription } from "../../described/nvme/blocks.js";
import { controllerOptions, namespaceOption, targetOperand, usage } from "../arguments.js";
import { Arguments } from "../command.js";
import { assertCanConfirm, confirm } from "../confirm.js";
import { type Details, detailsOf, directiveOf, metadataToSend, noDetails, shapeOf } from "../io/details.js";
import { openNamespace, withController } from "../open.js";
import type { NvmeSubcommand } from "../subcommand.js";
import { assertUnused } from "../unused.js";
import { assertInside, blocksText, checkBlocks, wantedBlocks } from "./blocks.js";
import { type DataSource, openSource, STANDARD } from "./data-file.js";
import { writeBlocks } from "./transfer.js";

/**
 * The number of blocks to write; undefined if only the end of the source tells.
 * @throws ArgumentError if the source is empty, too short, or no whole number of blocks
 */
function blocksOf(source: DataSource, ns: NvmeNamespace, asked: bigint | undefined): bigint | undefined {
  const { sizeBytes, name } = source;
  if (sizeBytes === undefined) return asked;
  if (asked !== undefined) {
    const bytes = asked * BigInt(ns.blockSizeBytes);
    if (BigInt(sizeBytes) >= bytes) return asked;
    throw new ArgumentError(`${name} has ${sizeBytes} bytes; ${asked} blocks are ${bytes}`);
  }
  if (sizeBytes === 0) throw new ArgumentError(`${name} is empty`);
  if (sizeBytes % ns.blockSizeBytes === 0) return BigInt(sizeBytes / ns.blockSizeBytes);
  throw new ArgumentError(
    `${name} has ${sizeBytes} bytes, which is no whole number of blocks of ${ns.blockSizeBytes}`,
  );
}

/** What to write as --prinfo and the like say: all of it is read before the first command. */
interface Detailed {
  readonly details: Details;
  readonly data: Uint8Array;
  readonly metadata: Uint8Array | undefined;
}

async function detailedOf(
  values: Readonly<Record<string, unknown>>,
  path: string,
): Promise<Detailed | undefined> {
  const args = new Arguments<keyof typeof writeDescription.options>(
    "write",
    "",
    { ...values, data: path },
    writeDescription.options,
  );
  const directive = directiveOf(args);
  const hasDirective = Object.keys(directive).length > 0;
  const given = detailsOf(args) ?? (hasDirective ? noDetails : undefined);
  if (given === undefined) return undefined;
  const data = (await args.file("data")) ?? args.missing("data-file FILE");
  return {
    details: { ...given, options: { ...given.options, ...directive } },
    data,
    metadata: await args.file("metadata"),
  };
}

/** @throws as NvmeNamespace.write(); ArgumentError if sizes don't fit, with nothing written */
async function writeDetailed(
  ns: NvmeNamespace,
  { details, data, metadata }: Detailed,
  first: bigint,
  asked: bigint | undefined,
  ask: (blocks: bigint) => Promise<void>,
): Promise<void> {
  const perBlock = shapeOf(ns, details).data;
  const blocks = asked ?? BigInt(Math.ceil(data.length / perBlock));
  const length = Number(blocks) * perBlock;
  if (data.length < length) {
    throw new ArgumentError(
      `the data has ${data.length} bytes; ${blocks} blocks of ${perBlock} bytes are ${length}`,
    );
  }
  assertInside(ns, first, blocks);
  const sent = metadataToSend(ns, details, blocks, metadata);
  await ask(blocks);
  await ns.write(first, data.subarray(0, length), { ...details.options, metadata: sent });
  await ns.flush();
}

async function run(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(writeDescription, argv);
  const target = targetOperand("write", positionals);
  const wanted = wantedBlocks("write", values);
  const nsid = namespaceOption("write", values["namespace-id"]);
  const options = controllerOptions("write", values);
  const path = values["data-file"] ?? values.data;
  if (path === undefined || path === "") throw usage("write", "write needs --data-file FILE, or -");
  const yes = values.yes === true;
  if (path === STANDARD && !yes) {
    throw usage("write", "standard input holds the data and can't answer the question: add --yes");
  }
  assertCanConfirm("write", yes);
  const ask = async (nvme: NvmeController, ns: NvmeNamespace, where: string): Promise<void> => {
    await assertUnused(nvme, ns.nsid, values.force === true);
    await confirm(nvme, `This overwrites ${where} of namespace ${ns.nsid}`, yes);
  };
  const detailed = await detailedOf(values, path);
  if (detailed !== undefined) {
    await withController(target, options, async (nvme) => {
      const ns = await openNamespace(nvme, nsid);
      await writeDetailed(ns, detailed, wanted.first, checkBlocks(ns, wanted), (blocks) =>
        ask(nvme, ns, blocksText(wanted.first, blocks)),
      );
    });
    return;
  }
  await using source = await openSource(path);
  await withController(target, options, async (nvme) => {
    const ns = await openNamespace(nvme, nsid);
    const blocks = blocksOf(source, ns, checkBlocks(ns, wanted));
    if (blocks !== undefined) assertInside(ns, wanted.first, blocks);
    const where = blocks === undefined ? `blocks from ${wanted.first} on` : blocksText(wanted.first, blocks);
    await ask(nvme, ns, where);
    const written = await writeBlocks(ns, wanted.first, source, blocks);
    if (written === 0n) throw new ArgumentError(`${source.name} is empty`);
    if (blocks !== undefined && written < blocks) {
      throw new ArgumentError(
        `${source.name} ended after ${written} of ${blocks} blocks; these were written`,
      );
    }
  });
}

export const write: NvmeSubcommand = { description: writeDescription, run };
