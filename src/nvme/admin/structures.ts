/** The data structures and lists of Identify. */

import { checkInteger, checkKeys, checkU32 } from "../../core/check.js";
import { UnsupportedError } from "../../core/errors.js";
import type { AdminTarget } from "../command/admin-target.js";
import { NvmeError, NvmeProtocolError } from "../command/error.js";
import { type IdentifyOptions, readIdentify, trusted, trustedController } from "../command/identify.js";
import { assertNoQuirk } from "../quirks/quirks.js";
import { uuidText } from "../spec/identifiers.js";
import {
  type IdentifyController,
  type IdentifyIndependentNamespace,
  type IdentifyNamespace,
  type IdentifyNvmController,
  type IdentifyNvmNamespace,
  identifyController,
  identifyIndependentNamespace,
  identifyNamespace,
  identifyNvmController,
  identifyNvmNamespace,
} from "../spec/identify.js";
import {
  commandSetCombinations,
  controllerList,
  type Domain,
  domainList,
  enduranceGroupList,
  type NamespaceGranularity,
  type NvmSet,
  namespaceGranularityList,
  namespaceList,
  nvmSetList,
  uuidList,
} from "../spec/identify-lists.js";
import { type IdentifyKeyValueNamespace, identifyKeyValueNamespace } from "../spec/key-value.js";
import { decodeNamespaceDescriptors, type NamespaceIdentifiers } from "../spec/namespace-descriptors.js";
import { BROADCAST_NSID, CommandSet, IdentifyCns } from "../spec/opcodes.js";
import { NvmeStatus } from "../spec/status.js";
import {
  type PrimaryControllerCapabilities,
  primaryControllerCapabilities,
  type SecondaryController,
  secondaryControllerList,
} from "../spec/virtualization.js";
import {
  type IdentifyZonedController,
  type IdentifyZonedNamespace,
  identifyZonedController,
  identifyZonedNamespace,
} from "../spec/zoned.js";

/** Data structures of Identify (NVMe Base 2.x, section "Identify command"). See {@link NvmeController.structures}. */
export class NvmeStructures {
  constructor(private readonly target: AdminTarget) {}

  /**
   * Reads any Identify data structure as 4096 bytes.
   * @param cns Controller or Namespace Structure
   * @throws ArgumentError, NvmeError (the structure or the namespace doesn't exist), NvmeProtocolError (a list whose ids don't
   *   ascend), TimeoutError, DeviceGoneError, ClosedError
   */
  async read(cns: number, options: IdentifyOptions = {}): Promise<Uint8Array> {
    checkKeys("options", options, ["nsid", "cntid", "cnssid", "csi", "uuidIndex"]);
    checkInteger("cns", cns, 0, 0xff);
    if (cns > IdentifyCns.controller) assertNoQuirk(this.target, "cns-0-and-1", `Identify of CNS ${cns}`);
    if (cns === IdentifyCns.namespaceDescriptors) {
      assertNoQuirk(this.target, "no-namespace-descriptors", `Identify of CNS ${cns}`);
    }
    const { nsid = 0, cntid = 0, cnssid = 0, csi = 0, uuidIndex = 0 } = options;
    checkU32("nsid", nsid);
    checkInteger("cntid", cntid, 0, 0xffff);
    checkInteger("cnssid", cnssid, 0, 0xffff);
    checkInteger("csi", csi, 0, 0xff);
    checkInteger("uuidIndex", uuidIndex, 0, 0x7f);
    return await readIdentify(this.target, cns, options);
  }

  /** Identify Controller (CNS 01h), read again. @throws as read() */
  async controller(): Promise<IdentifyController> {
    return trustedController(this.target, identifyController.decode(await this.read(IdentifyCns.controller)));
  }

  /** Identify Namespace (CNS 00h); zeros for an inactive namespace. @param nsid FFFFFFFFh: what all namespaces have in common @throws as read() */
  async namespace(nsid: number): Promise<IdentifyNamespace> {
    return trusted(this.target, identifyNamespace.decode(await this.read(IdentifyCns.namespace, { nsid })));
  }

  /** Namespace Identification Descriptors (CNS 03h). @throws as read() */
  async namespaceIdentifiers(nsid: number): Promise<NamespaceIdentifiers> {
    if (this.target.hasQuirk("no-namespace-descriptors") || this.target.hasQuirk("cns-0-and-1")) {
      return identifiersOf(await this.namespace(nsid));
    }
    const found = decodeNamespaceDescriptors(await this.read(IdentifyCns.namespaceDescriptors, { nsid }));
    if (!this.target.hasQuirk("bogus-identifiers")) return found;
    return found.csi === undefined ? {} : { csi: found.csi };
  }

  /** Identify Namespace of the NVM Command Set (CNS 05h). @throws as read() */
  async nvmNamespace(nsid: number): Promise<IdentifyNvmNamespace> {
    const page = await this.read(IdentifyCns.namespaceForCommandSet, { nsid, csi: CommandSet.nvm });
    return identifyNvmNamespace.decode(page);
  }

  /** Identify Namespace of the Key Value Command Set (CNS 05h). @throws as read() */
  async keyValueNamespace(nsid: number): Promise<IdentifyKeyValueNamespace> {
    const page = await this.read(IdentifyCns.namespaceForCommandSet, { nsid, csi: CommandSet.keyValue });
    return identifyKeyValueNamespace.decode(page);
  }

  /** Identify Namespace of the Zoned Namespace Command Set (CNS 05h). @throws as read() */
  async zonedNamespace(nsid: number): Promise<IdentifyZonedNamespace> {
    const page = await this.read(IdentifyCns.namespaceForCommandSet, { nsid, csi: CommandSet.zoned });
    return identifyZonedNamespace.decode(page);
  }

  /** Identify Controller of the NVM Command Set (CNS 06h). @throws as read() */
  async nvmController(): Promise<IdentifyNvmController> {
    const page = await this.read(IdentifyCns.controllerForCommandSet, { csi: CommandSet.nvm });
    return identifyNvmController.decode(page);
  }

  /** Identify Controller of the Zoned Namespace Command Set (CNS 06h). @throws as read() */
  async zonedController(): Promise<IdentifyZonedController> {
    const page = await this.read(IdentifyCns.controllerForCommandSet, { csi: CommandSet.zoned });
    return identifyZonedController.decode(page);
  }

  /** Identify Namespace independent of the command set (CNS 08h). @throws as read() */
  async independentNamespace(nsid: number): Promise<IdentifyIndependentNamespace> {
    return identifyIndependentNamespace.decode(await this.read(IdentifyCns.namespaceIndependent, { nsid }));
  }

  /** Identify Namespace for an LBA format index (CNS 09h). @throws as read() */
  async namespaceOfFormat(format: number): Promise<IdentifyNamespace> {
    const page = await this.read(IdentifyCns.namespaceOfFormat, { cnssid: format });
    return identifyNamespace.decode(page);
  }

  /** Identify Namespace of the NVM Command Set for an LBA format index (CNS 0Ah). @throws as read() */
  async nvmNamespaceOfFormat(format: number): Promise<IdentifyNvmNamespace> {
    const page = await this.read(IdentifyCns.namespaceOfFormatForCommandSet, { cnssid: format });
    return identifyNvmNamespace.decode(page);
  }

  /** Identify Namespace of an allocated namespace, attached or not (CNS 11h); zeros if it isn't allocated. @throws as read() */
  async allocatedNamespace(nsid: number): Promise<IdentifyNamespace> {
    return trusted(
      this.target,
      identifyNamespace.decode(await this.read(IdentifyCns.allocatedNamespace, { nsid })),
    );
  }

  /** Identify Namespace of the NVM Command Set for an allocated namespace (CNS 1Bh). @throws as read() */
  async allocatedNvmNamespace(nsid: number): Promise<IdentifyNvmNamespace> {
    return identifyNvmNamespace.decode(
      await this.read(IdentifyCns.allocatedNamespaceForCommandSet, { nsid, csi: CommandSet.nvm }),
    );
  }

  /** Identify Namespace of the Zoned Namespace Command Set for an allocated namespace (CNS 1Bh). @throws as read() */
  async allocatedZonedNamespace(nsid: number): Promise<IdentifyZonedNamespace> {
    return identifyZonedNamespace.decode(
      await this.read(IdentifyCns.allocatedNamespaceForCommandSet, { nsid, csi: CommandSet.zoned }),
    );
  }

  /** Identify Namespace independent of the command set for an allocated namespace (CNS 1Fh). @throws as read() */
  async allocatedIndependentNamespace(nsid: number): Promise<IdentifyIndependentNamespace> {
    return identifyIndependentNamespace.decode(
      await this.read(IdentifyCns.allocatedNamespaceIndependent, { nsid }),
    );
  }

  /**
   * Ids of the active namespaces (CNS 02h). NVMe 1.0 has no such list: this method then checks each id up to NN.
   * @param csi only those of this command set (CNS 07h)
   * @throws as read()
   */
  async activeNamespaces(csi?: number): Promise<number[]> {
    if (csi !== undefined) return await this.namespaceIds(IdentifyCns.activeNamespacesForCommandSet, csi);
    if (this.target.hasQuirk("cns-0-and-1")) return await this.namespacesOneByOne();
    try {
      return await this.namespaceIds(IdentifyCns.activeNamespaces);
    } catch (error) {
      // CNS has one bit in NVMe 1.0, so a controller may read 02h as 00h. VER is 0 up to NVMe 1.1.
      const isKnown = error instanceof NvmeError && refusalsOfList.has(error.statusCode);
      if (!isKnown || this.target.identify.ver >= VERSION_1_2) throw error;
      return await this.namespacesOneByOne();
    }
  }

  /** Ids of the allocated namespaces (CNS 10h). @param csi only those of this command set (CNS 1Ah) @throws as read() */
  async allocatedNamespaces(csi?: number): Promise<number[]> {
    return csi === undefined
      ? await this.namespaceIds(IdentifyCns.allocatedNamespaces)
      : await this.namespaceIds(IdentifyCns.allocatedNamespacesForCommandSet, csi);
  }

  /** Identifiers of all controllers of the subsystem (CNS 13h). @throws as read() */
  async controllers(): Promise<number[]> {
    return await this.ids((cntid) => this.read(IdentifyCns.controllers, { cntid }));
  }

  /** Identifiers of the controllers that a namespace is attached to (CNS 12h). @throws as read() */
  async controllersOf(nsid: number): Promise<number[]> {
    return await this.ids((cntid) => this.read(IdentifyCns.controllersOfNamespace, { nsid, cntid }));
  }

  /** Primary Controller Capabilities (CNS 14h): its flexible queues and interrupt vectors. @throws as read() */
  async primaryController(): Promise<PrimaryControllerCapabilities> {
    return primaryControllerCapabilities.decode(await this.read(IdentifyCns.primaryController));
  }

  /** Secondary Controller List (CNS 15h). @throws as read() */
  async secondaryControllers(): Promise<SecondaryController[]> {
    const read = async (cntid: number) => {
      const page = await this.read(IdentifyCns.secondaryControllers, { cntid });
      const { num, sc_entry } = secondaryControllerList.decode(page);
      return { entries: sc_entry.slice(0, num), isFull: num >= sc_entry.length };
    };
    return await readPages("Secondary Controller List", read, ({ scid }) => scid, 0, MAX_ID);
  }

  /** Namespace Granularity List (CNS 16h): one descriptor for all LBA formats, or one for each. @throws as read() */
  async namespaceGranularity(): Promise<NamespaceGranularity[]> {
    const page = await this.read(IdentifyCns.namespaceGranularity);
    const { num_descriptors, entry } = namespaceGranularityList.decode(page);
    return entry.slice(0, num_descriptors + 1);
  }

  /** NVM Set List (CNS 04h). @throws as read() */
  async nvmSets(): Promise<NvmSet[]> {
    const read = async (cnssid: number) => {
      const { nid, ent } = nvmSetList.decode(await this.read(IdentifyCns.nvmSets, { cnssid }));
      return { entries: ent.slice(0, nid), isFull: nid >= ent.length };
    };
    return await readPages("NVM Set List", read, ({ nvmsetid }) => nvmsetid, 0, MAX_ID);
  }

  /** UUID List (CNS 17h), in the order of the UUID index, which starts at 1. @throws as read() */
  async uuids(): Promise<
    {
      /** The UUID, as 8-4-4-4-12 hexadecimal digits. */
      readonly uuid: string;
      /** 0 none, 1 the PCI vendor, 2 the PCI subsystem vendor. */
      readonly association: number;
    }[]
  > {
    const { entry } = uuidList.decode(await this.read(IdentifyCns.uuids));
    const end = entry.findIndex(({ uuid }) => uuid.every((byte) => byte === 0));
    return entry
      .slice(0, end < 0 ? entry.length : end)
      .map(({ uuid, association }) => ({ uuid: uuidText(uuid), association }));
  }

  /** Domain List (CNS 18h). @throws as read() */
  async domains(): Promise<Domain[]> {
    const read = async (cnssid: number) => {
      const { num, domain_attr } = domainList.decode(await this.read(IdentifyCns.domains, { cnssid }));
      return { entries: domain_attr.slice(0, num), isFull: num >= domain_attr.length };
    };
    return await readPages("Domain List", read, ({ dom_id }) => dom_id, 0, MAX_ID);
  }

  /** Endurance Group List (CNS 19h): identifiers. @throws as read() */
  async enduranceGroups(): Promise<number[]> {
    return await this.ids(
      (cnssid) => this.read(IdentifyCns.enduranceGroups, { cnssid }),
      enduranceGroupList.decode,
    );
  }

  /**
   * I/O Command Set combinations (CNS 1Ch): command sets that can be used together (bit 0 NVM, bit 1 KV, bit 2 zoned).
   * @param cntid controller identifier; FFFFh (default): this controller
   * @throws as read()
   */
  async commandSets(cntid = 0xffff): Promise<bigint[]> {
    const { iocsc } = commandSetCombinations.decode(await this.read(IdentifyCns.commandSets, { cntid }));
    const end = iocsc.indexOf(0n);
    return end < 0 ? iocsc : iocsc.slice(0, end);
  }

  private async namespacesOneByOne(): Promise<number[]> {
    const { nn } = this.target.identify;
    if (nn > MOST_CHECKED_IDS) {
      throw new UnsupportedError(
        `${this.target.bdf} has no list of active namespaces, and ${nn} namespace ids; only up to ${MOST_CHECKED_IDS} are checked one by one`,
      );
    }
    const ids: number[] = [];
    for (let nsid = 1; nsid <= nn; nsid++) {
      try {
        if ((await this.namespace(nsid)).nsze > 0n) ids.push(nsid);
      } catch (error) {
        // Some controllers reject an id that isn't active.
        if (!(error instanceof NvmeError)) throw error;
      }
    }
    return ids;
  }

  private async namespaceIds(cns: number, csi = 0): Promise<number[]> {
    const read = async (from: number) => {
      // The list has the ids above NSID.
      const { ids } = namespaceList.decode(await this.read(cns, { nsid: from - 1, csi }));
      const end = ids.indexOf(0);
      return { entries: end < 0 ? ids : ids.slice(0, end), isFull: end < 0 };
    };
    return await readPages("Namespace List", read, (id) => id, 1, BROADCAST_NSID - 1);
  }

  private async ids(
    readPage: (from: number) => Promise<Uint8Array>,
    decode: typeof controllerList.decode = controllerList.decode,
  ): Promise<number[]> {
    const read = async (from: number) => {
      const { num, identifier } = decode(await readPage(from));
      return { entries: identifier.slice(0, num), isFull: num >= identifier.length };
    };
    return await readPages("identifier list", read, (id) => id, 0, MAX_ID);
  }
}

/** The identifiers in Identify Namespace: zeros are none. */
function identifiersOf({ eui64, nguid }: IdentifyNamespace): NamespaceIdentifiers {
  const hex = (bytes: Uint8Array): string | undefined =>
    bytes.some((byte) => byte !== 0) ? Buffer.from(bytes).toString("hex") : undefined;
  const found = { eui64: hex(eui64), nguid: hex(nguid) };
  return {
    ...(found.eui64 === undefined ? {} : { eui64: found.eui64 }),
    ...(found.nguid === undefined ? {} : { nguid: found.nguid }),
  };
}

/** VER of NVMe 1.2, the first version with that field. */
const VERSION_1_2 = 0x0001_0200;
const refusalsOfList: ReadonlySet<number> = new Set([NvmeStatus.invalidField, NvmeStatus.invalidNamespace]);
/** Most namespace ids that are checked one by one. */
const MOST_CHECKED_IDS = 1024;
/** Highest identifier of the lists whose identifiers have 16 bits. */
const MAX_ID = 0xffff;

/**
 * Reads a list of several pages. After a full page there may be another one, which starts above the last id.
 * @param what name of the list, for the error
 * @param first lowest id, `last` highest id
 * @throws NvmeProtocolError if the ids don't ascend: reading such a list might never end
 */
async function readPages<Entry>(
  what: string,
  read: (from: number) => Promise<{ readonly entries: readonly Entry[]; readonly isFull: boolean }>,
  idOf: (entry: Entry) => number,
  first: number,
  last: number,
): Promise<Entry[]> {
  const all: Entry[] = [];
  for (let from = first, isFull = true; isFull && from <= last; ) {
    const page = await read(from);
    for (const entry of page.entries) {
      const id = idOf(entry);
      if (id < from) {
        throw new NvmeProtocolError(
          `the ids in the ${what} don't ascend: the controller returned ${id} where ids start at ${from}`,
        );
      }
      all.push(entry);
      from = id + 1;
    }
    isFull = page.isFull;
  }
  return all;
}
