/** `iova nvme format`: Format NVM. */

import { ArgumentError } from "../../../core/errors.js";
import type { NvmeController } from "../../../nvme/controller.js";
import { identifyNamespace } from "../../../nvme/spec/identify.js";
import { BROADCAST_NSID, IdentifyCns } from "../../../nvme/spec/opcodes.js";
import { print } from "../../terminal.js";
import {
  CONTROLLER_HELP,
  CONTROLLER_OPTIONS,
  controllerOptions,
  numberOption,
  parseCommand,
  TARGET_HELP,
  targetOperand,
  usage,
} from "../arguments.js";
import { assertCanConfirm, confirm, YES_HELP } from "../confirm.js";
import { namespaceId, withController } from "../open.js";
import type { NvmeSubcommand } from "../subcommand.js";

const HELP = `Usage: iova nvme format TARGET [--lbaf N | --block-size BYTES] [OPTIONS] --yes

Formats a namespace: all its data is lost. Keeps the LBA format unless you choose another.

${TARGET_HELP}
  --namespace-id N, -n    the namespace (default: the only one); 0xffffffff is all of them
  --lbaf N, -l            LBA format, as iova nvme id-ns lists them
  --block-size BYTES, -b  the first LBA format with this block size and no metadata
  --ses N, -s             secure erase: 0 none, 1 user data, 2 cryptographic (default 0)
  --pi N, -i              end-to-end protection type 0 to 3 (default 0)
  --pil N, -p             protection in the last (0) or first (1) bytes of the metadata
  --ms N, -m              separate metadata (0), or after each block's data (1)
${YES_HELP}${CONTROLLER_HELP.replace("30000", "600000")}  --help                  this text
`;

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
  const { values, positionals } = parseCommand("format", argv, {
    "namespace-id": { type: "string", short: "n" },
    lbaf: { type: "string", short: "l" },
    "block-size": { type: "string", short: "b" },
    ses: { type: "string", short: "s" },
    pi: { type: "string", short: "i" },
    pil: { type: "string", short: "p" },
    ms: { type: "string", short: "m" },
    yes: { type: "boolean" },
    ...CONTROLLER_OPTIONS,
  });
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

export const format: NvmeSubcommand = {
  name: "format",
  operands: "TARGET [--lbaf N]",
  summary: "format a namespace",
  help: HELP,
  run,
};
