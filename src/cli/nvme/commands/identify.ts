/** `iova nvme identify`: the Identify data structures, under nvme-cli's names. */
import { identifyIndependentNamespace, identifyNvmController } from "../../../nvme/spec/identify.js";
import { CommandSet, IdentifyCns } from "../../../nvme/spec/opcodes.js";
import { identifyZonedController } from "../../../nvme/spec/zoned.js";
import { parseCommandLine } from "../../command-line.js";
import { identifyDescription } from "../../described/nvme/information.js";
import { print } from "../../terminal.js";
import {
  controllerOptions,
  namespaceOption,
  numberOption,
  targetOperand,
  usage,
  wantsJson,
} from "../arguments.js";
import { namespaceId, withController } from "../open.js";
import { hexDump, type Json, printJson } from "../output.js";
import type { NvmeSubcommand } from "../subcommand.js";
import {
  controllerJson,
  namespaceDescriptorsJson,
  namespaceIdsJson,
  namespaceJson,
  nvmNamespaceJson,
  recordJson,
  zonedNamespaceJson,
} from "./identify-json.js";
import {
  controllerText,
  descriptorsText,
  namespaceText,
  nsidsText,
  recordText,
  zonedNamespaceText,
} from "./identify-text.js";

type Fields = Readonly<Record<string, Json>>;

/** A data structure that has a name. */
interface Structure {
  readonly title: string;
  readonly cns: number;
  readonly csi?: number;
  /** Whether it describes one namespace. */
  readonly ofNamespace: boolean;
  json(page: Uint8Array): Fields;
  text(fields: Fields, page: Uint8Array): string;
}

export const structures: Readonly<Record<string, Structure>> = {
  "id-ctrl": {
    title: "Identify Controller",
    cns: IdentifyCns.controller,
    ofNamespace: false,
    json: controllerJson,
    text: controllerText,
  },
  "id-ns": {
    title: "Identify Namespace",
    cns: IdentifyCns.namespace,
    ofNamespace: true,
    json: namespaceJson,
    text: namespaceText,
  },
  "list-ns": {
    title: "Active namespaces",
    cns: IdentifyCns.activeNamespaces,
    ofNamespace: false,
    json: namespaceIdsJson,
    text: nsidsText,
  },
  "ns-descs": {
    title: "Namespace Identification Descriptors",
    cns: IdentifyCns.namespaceDescriptors,
    ofNamespace: true,
    json: namespaceDescriptorsJson,
    text: descriptorsText,
  },
  "nvm-id-ns": {
    title: "Identify Namespace of the NVM command set",
    cns: IdentifyCns.namespaceForCommandSet,
    csi: CommandSet.nvm,
    ofNamespace: true,
    json: nvmNamespaceJson,
    text: recordText,
  },
  "nvm-id-ctrl": {
    title: "Identify Controller of the NVM command set",
    cns: IdentifyCns.controllerForCommandSet,
    csi: CommandSet.nvm,
    ofNamespace: false,
    json: (page) => recordJson(identifyNvmController, page),
    text: recordText,
  },
  "zns-id-ns": {
    title: "Identify Namespace of the zoned command set",
    cns: IdentifyCns.namespaceForCommandSet,
    csi: CommandSet.zoned,
    ofNamespace: true,
    json: zonedNamespaceJson,
    text: zonedNamespaceText,
  },
  "zns-id-ctrl": {
    title: "Identify Controller of the zoned command set",
    cns: IdentifyCns.controllerForCommandSet,
    csi: CommandSet.zoned,
    ofNamespace: false,
    json: (page) => recordJson(identifyZonedController, page),
    text: recordText,
  },
  "cmdset-ind-id-ns": {
    title: "Identify Namespace, independent of the command set",
    cns: IdentifyCns.namespaceIndependent,
    ofNamespace: true,
    json: (page) => recordJson(identifyIndependentNamespace, page),
    text: recordText,
  },
};

/** The list of namespaces that is asked for: attached ones or all, of every command set or of one. */
function listed(cns: number, all: boolean, csi: number): number {
  if (cns !== IdentifyCns.activeNamespaces) return cns;
  if (csi === 0) return all ? IdentifyCns.allocatedNamespaces : cns;
  return all ? IdentifyCns.allocatedNamespacesForCommandSet : IdentifyCns.activeNamespacesForCommandSet;
}

async function run(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseCommandLine(identifyDescription, argv);
  const target = targetOperand("identify", positionals);
  const options = controllerOptions("identify", values);
  const json = wantsJson("identify", values);
  const nsid = namespaceOption("identify", values["namespace-id"]);
  const name = values.cns ?? (nsid === undefined ? "id-ctrl" : "id-ns");
  const structure = Object.hasOwn(structures, name) ? structures[name] : undefined;
  if (structure === undefined && !/^(\d+|0x[0-9a-f]+)$/i.test(name)) {
    throw usage(
      "identify",
      `--cns ${name}: expected a number, or one of ${Object.keys(structures).join(", ")}`,
    );
  }
  const cns = structure?.cns ?? numberOption("identify", "cns", name, 0, 0xff) ?? 0;
  const csi = numberOption("identify", "csi", values.csi, 0, 0xff) ?? structure?.csi ?? 0;
  const cntid = numberOption("identify", "cntid", values.cntid, 0, 0xffff) ?? 0;
  const specific = numberOption("identify", "cns-specific-id", values["cns-specific-id"], 0, 0xffff) ?? 0;
  await withController(target, options, async (nvme) => {
    const about = structure?.ofNamespace === true ? await namespaceId(nvme, nsid) : (nsid ?? 0);
    // The list starts after the given id.
    const after = structure?.cns === IdentifyCns.activeNamespaces ? Math.max(0, about - 1) : about;
    const page = await nvme.structures.read(listed(cns, values.all === true, csi), {
      csi,
      nsid: after,
      cntid,
      cnssid: specific,
    });
    if (values["raw-binary"] === true) {
      process.stdout.write(page);
    } else if (structure === undefined) {
      if (json) printJson({ cns, csi, nsid: about, data: Buffer.from(page).toString("hex") });
      else print(hexDump(page));
    } else {
      const fields = structure.json(page);
      if (json) printJson(fields);
      else {
        const of = structure.ofNamespace ? `namespace ${about} of ${nvme.bdf}` : nvme.bdf;
        print(`${structure.title}: ${of}\n${structure.text(fields, page)}`);
      }
    }
  });
}

export const identify: NvmeSubcommand = { description: identifyDescription, run };
