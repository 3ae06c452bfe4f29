/** Log pages that say how namespaces, NVM subsystems and managers reach each other (LIDs 17h, 18h, 1Ah and 1Bh). */
import { checkKeys, checkU32 } from "../../core/check.js";
import { NvmeProtocolError } from "../command/error.js";
import {
  dispersedNamespaceHeader,
  ManagementAddressType,
  managementAddress,
  NQN_BYTES,
  reachabilityDescriptor,
  reachabilityHeader,
} from "../spec/log-pages.js";
import { LogPageId } from "../spec/opcodes.js";
import type { LogSource } from "./log-source.js";

/** Where something is managed. */
export interface ManagementAddress {
  /** A value of ManagementAddressType. */
  readonly type: number;
  /** URI of the manager. */
  readonly uri: string;
}

/** Namespaces that reach each other, for instance for a Copy. */
export interface ReachabilityGroup {
  /** Reachability group identifier. */
  readonly groupId: number;
  /** Change count of the log when the group changed last. */
  readonly changeCount: bigint;
  /** Namespace ids in the group. */
  readonly namespaces: readonly number[];
}

/** Reachability groups whose namespaces reach each other. */
export interface ReachabilityAssociation {
  /** Reachability association identifier. */
  readonly associationId: number;
  /** Change count of the log when the association changed last. */
  readonly changeCount: bigint;
  /** Characteristics (RAC), a bit each. */
  readonly characteristics: number;
  /** Identifiers of its reachability groups. */
  readonly groups: readonly number[];
}

interface Described {
  readonly id: number;
  readonly changeCount: bigint;
  readonly characteristics: number;
  readonly members: readonly number[];
}

/** Largest log that is read; a larger one is treated as malformed. */
const MOST_BYTES = 16 * 1024 * 1024;
const ADDRESSES = 8;
const FIRST_BYTES = 4096;
/** LSP: descriptors without their members. */
const DESCRIPTORS_ONLY = 1;

/** See {@link NvmeLogs.topology}. */
export class NvmeTopologyLogs {
  constructor(private readonly logs: LogSource) {}

  /**
   * Dispersed Namespace Participating NVM Subsystems (LID 17h): where a namespace can be reached.
   * @throws as NvmeLogs.read(); NvmeProtocolError if the log is malformed
   */
  async dispersedNamespace(nsid: number): Promise<{
    /** Counts changes of the log. */
    readonly generation: bigint;
    /** NVMe Qualified Names of the NVM subsystems. */
    readonly subsystems: readonly string[];
  }> {
    checkU32("nsid", nsid);
    const bytes = (page: Uint8Array): number => {
      const { subsystems } = dispersedNamespaceHeader.decode(page);
      const names = Number(subsystems);
      return checkSize("17h", dispersedNamespaceHeader.sizeBytes + NQN_BYTES * names);
    };
    const page = await this.logs.readGrowing(LogPageId.dispersedNamespaces, FIRST_BYTES, bytes, { nsid });
    const { generation, subsystems } = dispersedNamespaceHeader.decode(page);
    const names = Array.from({ length: Number(subsystems) }, (_, i) => {
      const start = dispersedNamespaceHeader.sizeBytes + i * NQN_BYTES;
      return textOf(page.subarray(start, start + NQN_BYTES));
    });
    return { generation, subsystems: names };
  }

  /** Management Address List (LID 18h). @throws as dispersedNamespace() */
  async managementAddresses(): Promise<readonly ManagementAddress[]> {
    const size = managementAddress.sizeBytes;
    const page = await this.logs.read(LogPageId.managementAddresses, ADDRESSES * size);
    const all = Array.from({ length: ADDRESSES }, (_, i) =>
      managementAddress.decode(page.subarray(i * size)),
    );
    const end = all.findIndex(({ type }) => type === ManagementAddressType.end);
    return all
      .slice(0, end < 0 ? ADDRESSES : end)
      .filter(({ type }) => type !== 0)
      .map(({ type, uri }) => ({ type, uri: textOf(uri) }));
  }

  /**
   * Reachability Groups (LID 1Ah).
   * @param options groupsOnly: leaves out the ids of the namespaces
   * @throws as dispersedNamespace()
   */
  async reachabilityGroups(options: { readonly groupsOnly?: boolean } = {}): Promise<{
    /** Counts changes of the log. */
    readonly changeCount: bigint;
    /** All groups. */
    readonly groups: readonly ReachabilityGroup[];
  }> {
    checkKeys("options", options, ["groupsOnly"]);
    const log = await this.reachability(LogPageId.reachabilityGroups, options.groupsOnly === true);
    return {
      changeCount: log.changeCount,
      groups: log.descriptors.map(({ id, changeCount, members }) => ({
        groupId: id,
        changeCount,
        namespaces: members,
      })),
    };
  }

  /**
   * Reachability Associations (LID 1Bh).
   * @param options associationsOnly: leaves out the identifiers of the groups
   * @throws as dispersedNamespace()
   */
  async reachabilityAssociations(options: { readonly associationsOnly?: boolean } = {}): Promise<{
    /** Counts changes of the log. */
    readonly changeCount: bigint;
    /** All associations. */
    readonly associations: readonly ReachabilityAssociation[];
  }> {
    checkKeys("options", options, ["associationsOnly"]);
    const log = await this.reachability(
      LogPageId.reachabilityAssociations,
      options.associationsOnly === true,
    );
    return {
      changeCount: log.changeCount,
      associations: log.descriptors.map(({ id, changeCount, characteristics, members }) => ({
        associationId: id,
        changeCount,
        characteristics,
        groups: members,
      })),
    };
  }

  private async reachability(
    lid: number,
    withoutMembers: boolean,
  ): Promise<{ changeCount: bigint; descriptors: readonly Described[] }> {
    const lsp = withoutMembers ? DESCRIPTORS_ONLY : 0;
    const needed = (page: Uint8Array): number => walk(lid, page, withoutMembers, () => undefined);
    const page = await this.logs.readGrowing(lid, FIRST_BYTES, needed, { lsp });
    const descriptors: Described[] = [];
    walk(lid, page, withoutMembers, (one) => descriptors.push(one));
    return { changeCount: reachabilityHeader.decode(page).changeCount, descriptors };
  }
}

/** Visits the descriptors that are complete in `page`. @returns the bytes needed to continue, or the size of the log */
function walk(
  lid: number,
  page: Uint8Array,
  withoutMembers: boolean,
  found: (one: Described) => void,
): number {
  const { descriptors } = reachabilityHeader.decode(page);
  let start = reachabilityHeader.sizeBytes;
  for (let i = 0; i < descriptors; i++) {
    const membersAt = start + reachabilityDescriptor.sizeBytes;
    if (membersAt > page.length) return membersAt;
    const { members: count, ...one } = reachabilityDescriptor.decode(page.subarray(start));
    const listed = withoutMembers ? 0 : count;
    const end = checkSize(`${lid.toString(16)}h`, membersAt + 4 * listed);
    if (end > page.length) return end;
    const view = new DataView(page.buffer, page.byteOffset + membersAt);
    found({ ...one, members: Array.from({ length: listed }, (_, n) => view.getUint32(4 * n, true)) });
    start = end;
  }
  return start;
}

function checkSize(name: string, bytes: number): number {
  if (bytes <= MOST_BYTES) return bytes;
  throw new NvmeProtocolError(`log page ${name} claims ${bytes} bytes, more than ${MOST_BYTES}`);
}

/** Text up to its first zero. */
function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return Buffer.from(bytes.subarray(0, end < 0 ? bytes.length : end))
    .toString("utf8")
    .trimEnd();
}
