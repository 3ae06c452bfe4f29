/** Namespace Management and Namespace Attachment. */
import { checkInteger, checkKeys, checkList, checkU32, checkU64, show } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { type AdminTarget, adminWrite, requireCommands } from "../command/admin-target.js";
import type { CommandOptions } from "../command/command-options.js";
import { CONTROLLER_LIST_ENTRIES, controllerList } from "../spec/identify-lists.js";
import { namespaceToCreate } from "../spec/namespace-to-create.js";
import { AdminOpcode, BROADCAST_NSID, CommandSet } from "../spec/opcodes.js";

/** Options of {@link NvmeNamespaceManagement.create}. */
export interface CreateNamespaceOptions {
  /** Size, in blocks (NSZE). */
  readonly sizeBlocks: bigint;
  /** Most blocks that may be allocated at a time (NCAP); the size by default. */
  readonly capacityBlocks?: bigint | undefined;
  /** Index of the LBA format, 0 to 63; 0 by default. */
  readonly lbaFormat?: number | undefined;
  /** Metadata is interleaved with the data. */
  readonly metadataExtended?: boolean | undefined;
  /** Type of protection information; 0 (default): none. */
  readonly protection?: 0 | 1 | 2 | 3 | undefined;
  /** Protection information is in the first bytes of the metadata. */
  readonly protectionFirst?: boolean | undefined;
  /** The namespace may be attached to several controllers (NMIC). */
  readonly shared?: boolean | undefined;
  /** ANA group; 0 (default): the controller chooses. */
  readonly anaGroupId?: number | undefined;
  /** NVM set; 0 (default): the controller chooses. */
  readonly nvmSetId?: number | undefined;
  /** Endurance group; 0 (default): the controller chooses. */
  readonly enduranceGroupId?: number | undefined;
  /** Logical Block Storage Tag Mask (LBSTM). */
  readonly storageTagMask?: bigint | undefined;
  /** Reclaim unit handles of its placement handles, if Flexible Data Placement is enabled. */
  readonly placementHandles?: readonly number[] | undefined;
  /** Command Set Identifier; NVM by default. */
  readonly csi?: number | undefined;
}

const createOptions: readonly (keyof CreateNamespaceOptions)[] = [
  "sizeBlocks",
  "capacityBlocks",
  "lbaFormat",
  "metadataExtended",
  "protection",
  "protectionFirst",
  "shared",
  "anaGroupId",
  "nvmSetId",
  "enduranceGroupId",
  "storageTagMask",
  "placementHandles",
  "csi",
];

/** Time limit of creating and deleting. The specification defines none. */
const TIMEOUT_MS = 120_000;
const Select = { create: 0, delete: 1 } as const;
const Attachment = { attach: 0, detach: 1 } as const;
const SHARED = 1;
const METADATA_EXTENDED = 1 << 4;
const PROTECTION_FIRST = 1 << 3;
const MOST_PLACEMENT_HANDLES = 128;

/** Creates and deletes namespaces, and attaches them to controllers. See {@link NvmeController.namespaceManagement}. */
export class NvmeNamespaceManagement {
  constructor(private readonly target: AdminTarget) {}

  /**
   * Creates a namespace. It isn't attached to a controller.
   * @returns its namespace id
   * @throws UnsupportedError, ArgumentError, NvmeError (Namespace Insufficient Capacity, Invalid Format, ...),
   *   TimeoutError, DeviceGoneError, ClosedError
   */
  async create(options: CreateNamespaceOptions, limits: CommandOptions = {}): Promise<number> {
    checkKeys("options", options, createOptions);
    checkKeys("limits", limits, ["timeoutMs", "signal"]);
    requireCommands(this.target, "namespaceManagement");
    const { csi = CommandSet.nvm } = options;
    checkInteger("csi", csi, 0, 0xff);
    const { dw0 } = await adminWrite(
      this.target,
      {
        name: "Namespace Management (create)",
        opcode: AdminOpcode.namespaceManagement,
        cdw10: Select.create,
        cdw11: (csi << 24) >>> 0,
      },
      encode(options),
      { timeoutMs: TIMEOUT_MS, ...limits },
    );
    return dw0;
  }

  /** Deletes a namespace with all its data. @param nsid FFFFFFFFh: all namespaces @throws as create() */
  async delete(nsid: number, limits: CommandOptions = {}): Promise<void> {
    checkKeys("limits", limits, ["timeoutMs", "signal"]);
    requireCommands(this.target, "namespaceManagement");
    checkInteger("nsid", nsid, 1, BROADCAST_NSID);
    const command = {
      name: `Namespace Management (delete nsid ${nsid})`,
      opcode: AdminOpcode.namespaceManagement,
      nsid,
      cdw10: Select.delete,
    };
    await this.target.admin(command, { timeoutMs: TIMEOUT_MS, ...limits });
  }

  /**
   * Attaches a namespace to controllers.
   * @param controllers controller identifiers (CNTLID); this controller by default
   * @throws UnsupportedError, ArgumentError, NvmeError (Namespace Already Attached, Namespace Is Private, Controller List
   *   Invalid, ...), TimeoutError, DeviceGoneError, ClosedError
   */
  async attach(nsid: number, controllers: readonly number[] = [this.target.identify.cntlid]): Promise<void> {
    await this.attachment("attach", nsid, controllers);
  }

  /** Detaches a namespace from controllers. @throws as attach() */
  async detach(nsid: number, controllers: readonly number[] = [this.target.identify.cntlid]): Promise<void> {
    await this.attachment("detach", nsid, controllers);
  }

  private async attachment(
    what: keyof typeof Attachment,
    nsid: number,
    controllers: readonly number[],
  ): Promise<void> {
    requireCommands(this.target, "namespaceManagement");
    checkInteger("nsid", nsid, 1, BROADCAST_NSID);
    checkList("controllers", controllers, 1, CONTROLLER_LIST_ENTRIES);
    for (const id of controllers) checkInteger("controller", id, 0, 0xffff);
    // The specification requires ascending identifiers.
    const identifier = [...new Set(controllers)].sort((a, b) => a - b);
    await adminWrite(
      this.target,
      {
        name: `Namespace Attachment (${what} nsid ${nsid})`,
        opcode: AdminOpcode.namespaceAttachment,
        nsid,
        cdw10: Attachment[what],
      },
      controllerList.encode({ num: identifier.length, identifier }),
    );
  }
}

/** @throws ArgumentError */
function encode(options: CreateNamespaceOptions): Uint8Array {
  const { sizeBlocks, capacityBlocks = sizeBlocks, lbaFormat = 0, protection = 0 } = options;
  const { anaGroupId = 0, nvmSetId = 0, enduranceGroupId = 0, storageTagMask = 0n } = options;
  const { placementHandles = [] } = options;
  checkU64("sizeBlocks", sizeBlocks);
  checkU64("capacityBlocks", capacityBlocks);
  if (sizeBlocks === 0n || capacityBlocks > sizeBlocks) {
    throw new ArgumentError(
      `capacityBlocks must be at most sizeBlocks, and sizeBlocks not 0: got ${show(capacityBlocks)} and ${show(sizeBlocks)}`,
    );
  }
  checkInteger("lbaFormat", lbaFormat, 0, 63);
  checkInteger("protection", protection, 0, 3);
  checkU32("anaGroupId", anaGroupId);
  checkInteger("nvmSetId", nvmSetId, 0, 0xffff);
  checkInteger("enduranceGroupId", enduranceGroupId, 0, 0xffff);
  checkU64("storageTagMask", storageTagMask);
  checkList("placementHandles", placementHandles, 0, MOST_PLACEMENT_HANDLES);
  for (const handle of placementHandles) checkInteger("placement handle", handle, 0, 0xffff);
  return namespaceToCreate.encode({
    nsze: sizeBlocks,
    ncap: capacityBlocks,
    flbas:
      (lbaFormat & 0xf) |
      (options.metadataExtended === true ? METADATA_EXTENDED : 0) |
      ((lbaFormat >>> 4) << 5),
    dps: protection | (options.protectionFirst === true ? PROTECTION_FIRST : 0),
    nmic: options.shared === true ? SHARED : 0,
    anagrpid: anaGroupId,
    nvmsetid: nvmSetId,
    endgid: enduranceGroupId,
    lbstm: storageTagMask,
    nphndls: placementHandles.length,
    phndl: [...placementHandles],
  });
}
