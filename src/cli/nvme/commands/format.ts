/** `iova nvme format`: Format NVM. */

import { ArgumentError } from "../../../core/errors.js";
import type { NvmeController } from "../../../nvme/controller.js";
import { identifyNamespace } from "../../../nvme/spec/identify.js";
import { BROADCAST_NSID, IdentifyCns } from "../../../nvme/spec/opcodes.js";
import { parseCommandLine } from "../../command-line.js";
import { formatDescription } from "../../described/nvme/blocks.js";
import { print } from "../../terminal.js";
import { controllerOptions, numberOption, targetOperand, usage } from "../arguments.js";
import { assertCanConfirm, confirm } from "../confirm.js";
import { namespaceId, withController } from "../open.js";
import type { NvmeSubcommand } from "../subcommand.js";
import { assertUnused } from "../unused.js";

const protections = [0, 1, 2, 3] as const;
/** In the order of --ses. */
const erasures = ["none", "userData", "cryptographic"] as const;

async function namespacePage(nvme: NvmeController, nsid: number) {
  return identifyNamespace.decode(await nvme.structures.read(IdentifyCns.namespace, { nsid }));
}

/** The index of the wanted LBA format. @throws ArgumentError */
async function lbafOf(
  nvme: NvmeController,
  nsid: number,
  wanted: { readonly lbaf: number | undefined; readonly blockSize: number | undefined },
): Promise<number> {
  const { lbaf, blockSize } = wanted;
  if (lbaf !== undefined && nsid === BROADCAST_NSID) return lbaf;
  const about = nsid === BROADCAST_NSID ? await firstNamespace(nvme) : nsid;
  const { flbas, nlbaf, nulbaf, lbaf: formats } = await namespacePage(nvme, about);
  const count = nlbaf + 1 + nulbaf;
  if (lbaf !== undefined) {
    if (lbaf < count) return lbaf;
    throw new ArgumentError(`namespace ${about} has the LBA formats 0 to ${count - 1}, not ${lbaf}`);
  }
  if (blockSize === undefined) return (flbas & 0xf) | (nlbaf >= 16 ? ((flbas >> 5) & 3) << 4 : 0);
  const found = formats
    .slice(0, count)
    .findIndex((format) => format.blockSizeBytes === blockSize && format.metadataBytes === 0);
  if (found >= 0) return found;
  throw new ArgumentError(`namespace ${about} has no LBA format of ${blockSize} bytes without metadata`);
}

async function firstNamespace(nvme: NvmeController): Promise<number> {
  const [nsid] = await nvme.namespaceIds();
  if (nsid === undefined) throw new ArgumentError(`${nvme.bdf} has no active namespace`);
  return nsid;
}

async function run(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(formatDescription, argv);
  const target = targetOperand("format", positionals);
  const number = (option: "lbaf" | "block-size" | "ses" | "pi" | "pil" | "ms", max: number) =>
    numberOption("format", option, values[option], 0, max);
  const wantedNsid = numberOption("format", "namespace-id", values["namespace-id"], 1, BROADCAST_NSID);
  const lbaf = number("lbaf", 63);
  const blockSize = number("block-size", 2 ** 31);
  if (lbaf !== undefined && blockSize !== undefined) {
    throw usage("format", "--lbaf or --block-size, but not both");
  }
  const ses = number("ses", 2) ?? 0;
  const pi = number("pi", 3) ?? 0;
  const pil = number("pil", 1) ?? 0;
  const ms = number("ms", 1) ?? 0;
  const options = controllerOptions("format", values);
  const yes = values.yes === true;
  assertCanConfirm("format", yes);
  await withController(target, options, async (nvme) => {
    const nsid = wantedNsid === BROADCAST_NSID ? wantedNsid : await namespaceId(nvme, wantedNsid);
    const format = await lbafOf(nvme, nsid, { lbaf, blockSize });
    const which = nsid === BROADCAST_NSID ? "all namespaces" : `namespace ${nsid}`;
    const reachesAll = nsid === BROADCAST_NSID || (nvme.identify.fna & (ses === 0 ? 1 : 3)) !== 0;
    await assertUnused(nvme, reachesAll ? "all" : nsid, values.force === true);
    await confirm(nvme, `This destroys all data of ${which}`, yes);
    await nvme.maintenance.format(nsid, {
      lbaFormat: format,
      metadataExtended: ms === 1,
      protection: protections[pi] ?? 0,
      protectionFirst: pil === 1,
      secureErase: erasures[ses] ?? "none",
      timeoutMs: options.timeoutMs,
    });
    print(`formatted ${which} with LBA format ${format}`);
  });
}

export const format: NvmeSubcommand = { description: formatDescription, run };
