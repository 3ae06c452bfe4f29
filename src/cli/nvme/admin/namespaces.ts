/** `iova nvme list-ctrl`, `create-ns`, `attach-ns`, ...: namespaces, controllers, and lists of Identify, under nvme-cli's JSON keys. */
import { ArgumentError } from "../../../core/errors.js";
import type { NvmeController } from "../../../nvme/controller.js";
import { namespaceGranularityList } from "../../../nvme/spec/identify-lists.js";
import { BROADCAST_NSID, IdentifyCns } from "../../../nvme/spec/opcodes.js";
import { VirtualizationAction } from "../../../nvme/spec/virtualization.js";
import { namespaceDescriptions } from "../../described/nvme/namespaces.js";
import { type Arguments, commands, type Result, type Work } from "../command.js";
import type { Json } from "../output.js";

const ID = 0xffff;
const protections = [0, 1, 2, 3] as const;

/** Bytes with a decimal unit, such as `1.5T`. */
function decimalBytes(
  args: Arguments<"nsze-si" | "ncap-si">,
  option: "nsze-si" | "ncap-si",
): number | undefined {
  const text = args.text(option);
  if (text === undefined) return undefined;
  const found = /^(\d+(?:\.\d+)?)([kMGTP]?)B?$/i.exec(text);
  if (found === null) throw args.wrong(`--${option} ${text}: expected bytes with a unit, such as 1.5T`);
  return Number(found[1]) * 1000 ** " KMGTP".indexOf((found[2] ?? "").toUpperCase() || " ");
}

/** The LBA formats that all namespaces can have. */
async function formatsOf(nvme: NvmeController) {
  const { lbaf, nlbaf, nulbaf } = await nvme.structures.namespace(BROADCAST_NSID);
  return lbaf.slice(0, nlbaf + 1 + nulbaf);
}

async function formatOf(nvme: NvmeController, flbas: number, blockSize: number | undefined): Promise<number> {
  if (blockSize === undefined) return (flbas & 0xf) | ((flbas >> 1) & 0x30);
  const formats = await formatsOf(nvme);
  const found = formats.findIndex((each) => each.blockSizeBytes === blockSize && each.metadataBytes === 0);
  if (found >= 0) return found;
  throw new ArgumentError(`${nvme.bdf} has no LBA format of ${blockSize} bytes without metadata`);
}

function attachment(args: Arguments<"namespace-id" | "controllers">, verb: "attach" | "detach"): Work {
  const nsid = args.needed("namespace-id", BROADCAST_NSID - 1, 1);
  const given = args.list("controllers", BigInt(ID))?.map(Number);
  return async (nvme, ask): Promise<Result> => {
    const ids = given ?? [nvme.identify.cntlid];
    const what = `namespace ${nsid} ${verb === "attach" ? "to" : "from"} the controllers ${ids.join(", ")}`;
    await ask(`This ${verb}es ${what}`);
    await nvme.namespaceManagement[verb](nsid, ids);
    return { json: { nsid, controllers: ids }, text: `${verb}ed ${what}` };
  };
}

/** A list whose entries have identifiers from one on. @param read the whole list */
function listed<T>(
  keys: readonly [count: string, list: string],
  read: (nvme: NvmeController) => Promise<readonly T[]>,
  json: (entry: T) => Json,
  idOf: (entry: T) => number = () => 0,
  from = 0,
  most?: number,
): Work {
  return async (nvme) => {
    const entries = (await read(nvme)).filter((entry) => idOf(entry) >= from).slice(0, most);
    return { json: { [keys[0]]: entries.length, [keys[1]]: entries.map(json) } };
  };
}

const self = (id: number): number => id;

export const namespaceCommands = commands(namespaceDescriptions, {
  controllers(args) {
    const nsid = args.number("namespace-id", BROADCAST_NSID - 1, 1);
    return listed(
      ["num_ctrl", "ctrl_list"],
      ({ structures }) => (nsid === undefined ? structures.controllers() : structures.controllersOf(nsid)),
      (ctrl_id) => ({ ctrl_id }),
      self,
      args.number("cntid", ID),
    );
  },
  create(args) {
    const [blocks, capacity] = [args.big("nsze", undefined, 1n), args.big("ncap", undefined, 1n)];
    const [bytes, capacityBytes] = [decimalBytes(args, "nsze-si"), decimalBytes(args, "ncap-si")];
    if ((blocks === undefined) === (bytes === undefined))
      throw args.wrong("create-ns needs --nsze or --nsze-si");
    if (capacity !== undefined && capacityBytes !== undefined)
      throw args.wrong("--ncap or --ncap-si, not both");
    const blockSize = args.number("block-size");
    const given = args.number("flbas", 0x7f);
    if (blockSize !== undefined && given !== undefined) throw args.wrong("--flbas or --block-size, not both");
    const [flbas, dps] = [given ?? 0, args.number("dps", 0xf) ?? 0];
    const options = {
      metadataExtended: (flbas & 0x10) !== 0,
      protection: protections[dps & 7] ?? 0,
      protectionFirst: (dps & 8) !== 0,
      shared: args.number("nmic", 1) === 1,
      anaGroupId: args.number("anagrp-id"),
      nvmSetId: args.number("nvmset-id", ID),
      enduranceGroupId: args.number("endg-id", ID),
      csi: args.number("csi", 0xff),
      storageTagMask: args.big("lbstm"),
      placementHandles: args.list("phndls", BigInt(ID))?.map(Number),
    };
    if ((dps & 7) > 3) throw args.wrong(`--dps ${dps}: protection types are 0 to 3`);
    return async (nvme, ask) => {
      const lbaFormat = await formatOf(nvme, flbas, blockSize);
      const { blockSizeBytes = 0 } = (await formatsOf(nvme))[lbaFormat] ?? {};
      if (blockSizeBytes === 0) throw new ArgumentError(`${nvme.bdf} has no LBA format ${lbaFormat}`);
      const inBlocks = (size: number | undefined): bigint | undefined =>
        size === undefined ? undefined : BigInt(Math.floor(size / blockSizeBytes));
      const sizeBlocks = blocks ?? inBlocks(bytes) ?? 0n;
      const capacityBlocks = capacity ?? inBlocks(capacityBytes);
      await ask(`This creates a namespace of ${sizeBlocks} blocks of ${blockSizeBytes} bytes`);
      const nsid = await nvme.namespaceManagement.create({
        sizeBlocks,
        capacityBlocks,
        lbaFormat,
        ...options,
      });
      return { json: { nsid }, text: `created namespace ${nsid}; attach-ns attaches it` };
    };
  },
  delete(args) {
    const nsid = args.needed("namespace-id", BROADCAST_NSID, 1);
    const which = nsid === BROADCAST_NSID ? "all namespaces" : `namespace ${nsid}`;
    return async (nvme, ask) => {
      await ask(`This deletes ${which} with all data`, nsid === BROADCAST_NSID ? "all" : nsid);
      await nvme.namespaceManagement.delete(nsid);
      return { json: { nsid }, text: `deleted ${which}` };
    };
  },
  attach: (args) => attachment(args, "attach"),
  detach: (args) => attachment(args, "detach"),
  primary: () => async (nvme) => ({ json: { ...(await nvme.virtualization.capabilities()) } }),
  secondary: (args) =>
    listed(
      ["num", "secondary-controllers"],
      (nvme) => nvme.virtualization.secondaryControllers(),
      (entry) => ({
        "secondary-controller-identifier": entry.scid,
        "primary-controller-identifier": entry.pcid,
        "secondary-controller-state": entry.scs,
        "virtual-function-number": entry.vfn,
        "num-virtual-queues": entry.nvq,
        "num-virtual-interrupts": entry.nvi,
      }),
      ({ scid }) => scid,
      args.number("cntid", ID),
      args.number("num-entries"),
    ),
  virtualization(args) {
    const cntlid = args.needed("cntlid", ID);
    const act = args.needed("act", 15);
    const actions: readonly (keyof typeof VirtualizationAction)[] = [
      "primaryFlexibleAllocation",
      "secondaryOffline",
      "secondaryAssign",
      "secondaryOnline",
    ];
    const action = actions.find((name) => VirtualizationAction[name] === act);
    if (action === undefined) throw args.wrong(`--act ${act}: expected 1, 7, 8 or 9`);
    const type = args.number("rt", 1) === 1 ? "interrupts" : "queues";
    const count = args.number("nr", ID) ?? 0;
    return async (nvme, ask) => {
      await ask(`This changes resources or state of controller ${cntlid}`);
      const nrm = await nvme.virtualization.manage(action, cntlid, { type, count });
      return { json: { nrm }, text: `resources changed: ${nrm}` };
    };
  },
  sets: (args) =>
    listed(
      ["nid", "NVMSet"],
      ({ structures }) => structures.nvmSets(),
      (set) => ({
        nvmset_id: set.nvmsetid,
        endurance_group_id: set.endgid,
        random_4k_read_typical: set.rr4kt,
        optimal_write_size: set.ows,
        total_nvmset_cap: String(set.tnvmsetcap),
        unalloc_nvmset_cap: String(set.unvmsetcap),
      }),
      ({ nvmsetid }) => nvmsetid,
      args.number("nvmset-id", ID),
    ),
  uuids: () => async (nvme) => {
    const list = await nvme.structures.uuids();
    return { json: { "UUID-list": list.map(({ association, uuid }) => ({ association, uuid })) } };
  },
  commandSets(args) {
    const cntid = args.number("controller-id", ID);
    const sets = ["NVM Command Set", "Key Value Command Set", "Zoned Namespace Command Set"];
    return async (nvme) => {
      const list = await nvme.structures.commandSets(cntid);
      const entries = list.flatMap((word, index): [string, Json][] => [
        [`I/O Command Set Combination[${index}]`, word],
        [
          `IOCSC${index}`,
          Object.fromEntries(
            sets.map((set, bit) => [set, ((word >> BigInt(bit)) & 1n) === 1n ? "Selected" : "Not selected"]),
          ),
        ],
      ]);
      return { json: Object.fromEntries(entries) };
    };
  },
  domains: (args) =>
    listed(
      ["num_dom_entries", "domain_list"],
      ({ structures }) => structures.domains(),
      (domain) => ({
        dom_id: domain.dom_id,
        dom_cap: String(domain.dom_cap),
        unalloc_dom_cap: String(domain.unalloc_dom_cap),
        max_egrp_dom_cap: String(domain.max_egrp_dom_cap),
      }),
      ({ dom_id }) => dom_id,
      args.number("dom-id", ID),
    ),
  enduranceGroups: (args) =>
    listed(
      ["num_endgrp_id", "endgrp_list"],
      ({ structures }) => structures.enduranceGroups(),
      (endgrp_id) => ({ endgrp_id }),
      self,
      args.number("endgrp-id", ID),
    ),
  granularity: () => async (nvme) => {
    const page = namespaceGranularityList.decode(
      await nvme.structures.read(IdentifyCns.namespaceGranularity),
    );
    return {
      json: {
        attributes: page.attributes,
        "num-descriptors": page.num_descriptors,
        "namespace-granularity-list": page.entry.slice(0, page.num_descriptors + 1).map((each) => ({
          "namespace-size-granularity": each.nszegran,
          "namespace-capacity-granularity": each.ncapgran,
        })),
      },
    };
  },
});
