/** `iova nvme trim`: tells the controller that blocks are no longer needed. */

import { NvmeError } from "../../../nvme/command/error.js";
import type { NvmeController } from "../../../nvme/controller.js";
import { identifyNvmController } from "../../../nvme/spec/identify.js";
import { CommandSet, IdentifyCns } from "../../../nvme/spec/opcodes.js";
import { parseCommandLine } from "../../command-line.js";
import { trimDescription } from "../../described/nvme/blocks.js";
import { print } from "../../terminal.js";
import { controllerOptions, namespaceOption, targetOperand, usage } from "../arguments.js";
import { assertCanConfirm, confirm } from "../confirm.js";
import { openNamespace, withController } from "../open.js";
import type { NvmeSubcommand } from "../subcommand.js";
import { assertUnused } from "../unused.js";
import { blocksText, checkBlocks, wantedBlocks } from "./blocks.js";

/** A range's length is a 32-bit field. */
const MOST_BLOCKS = 0xffff_ffffn;

/** Most blocks of one range and of one command. */
async function limitOf(nvme: NvmeController): Promise<bigint> {
  try {
    const page = await nvme.structures.read(IdentifyCns.controllerForCommandSet, { csi: CommandSet.nvm });
    const { dmrsl, dmsl } = identifyNvmController.decode(page);
    const limits = [BigInt(dmrsl), dmsl].filter((limit) => limit > 0n);
    return limits.reduce((least, limit) => (limit < least ? limit : least), MOST_BLOCKS);
  } catch (error) {
    // Before NVMe 2.0 there was no such structure, and no limit.
    if (error instanceof NvmeError) return MOST_BLOCKS;
    throw error;
  }
}

async function run(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(trimDescription, argv);
  const target = targetOperand("trim", positionals);
  const wanted = wantedBlocks("trim", values);
  const isOpen = wanted.blocks === undefined && wanted.bytes === undefined;
  const all = values.all === true;
  if (all && (!isOpen || values["start-block"] !== undefined)) {
    throw usage("trim", "--all is the whole namespace: leave the range out");
  }
  if (!all && isOpen) throw usage("trim", "trim needs --blocks N, or --all");
  const nsid = namespaceOption("trim", values["namespace-id"]);
  const options = controllerOptions("trim", values);
  const yes = values.yes === true;
  assertCanConfirm("trim", yes);
  await withController(target, options, async (nvme) => {
    const ns = await openNamespace(nvme, nsid);
    const first = wanted.first;
    const blocks = all ? ns.sizeBlocks : (checkBlocks(ns, wanted) ?? 0n);
    const what = `${blocksText(first, blocks)} of namespace ${ns.nsid}`;
    await assertUnused(nvme, ns.nsid, values.force === true);
    await confirm(nvme, `This discards ${what}`, yes);
    const most = await limitOf(nvme);
    for (let done = 0n; done < blocks; ) {
      const count = blocks - done < most ? blocks - done : most;
      await ns.deallocate([{ lba: first + done, blocks: Number(count) }]);
      done += count;
    }
    print(`trimmed ${what}`);
  });
}

export const trim: NvmeSubcommand = { description: trimDescription, run };
