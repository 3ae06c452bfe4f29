/** Log pages that are lists of entries. */
import { checkInteger, checkKeys } from "../../core/check.js";
import { NvmeProtocolError } from "../command/error.js";
import { decodeLbaStatusLog, type LbaStatusLog } from "../command/lba-status.js";
import {
  anaGroup,
  anaHeader,
  eventAggregateHeader,
  type MediaUnit,
  mediaUnit,
  mediaUnitHeader,
  persistentEventEntry,
  persistentEventHeader,
} from "../spec/log-pages.js";
import { LogPageId } from "../spec/opcodes.js";
import {
  type CapacityConfiguration,
  capacityBytes,
  capacityConfigurations,
} from "./capacity-configurations.js";
import type { LogSource } from "./log-source.js";

/** An ANA group: namespaces that this controller reaches in the same way. */
export interface AnaGroup {
  /** ANA group identifier. */
  readonly groupId: number;
  /** Change count of the log at the last change of this group. */
  readonly changeCount: bigint;
  /** State of the group: a value of AnaState. */
  readonly state: number;
  /** Namespace ids in the group. */
  readonly namespaces: readonly number[];
}

/** An event in the Persistent Event log. */
export interface PersistentEvent {
  /** Type of the event: a value of PersistentEventType. */
  readonly type: number;
  /** Revision of the layout of `data`. */
  readonly revision: number;
  /** Controller that recorded the event. */
  readonly cntlid: number;
  /** Time of the event by the controller's Timestamp feature, which may count from the last reset. */
  readonly time: Date;
  /** Port of the controller. */
  readonly portId: number;
  /** Vendor-specific information. */
  readonly vendorInfo: Uint8Array;
  /** The event's data, in the layout that the specification defines for the type. */
  readonly data: Uint8Array;
}

/** Header of the Persistent Event log (LID 0Dh), decoded. */
export type PersistentEventHeader = ReturnType<typeof persistentEventHeader.decode>;

/** Largest list that is read; a larger one is treated as malformed. */
const MOST_BYTES = 64 * 1024 * 1024;
/** LSP of the ANA log: groups without their namespaces. */
const GROUPS_ONLY = 1;
/** LSP of the Persistent Event log. */
const Context = { read: 0, establish: 1, release: 2 } as const;
const FIRST_BYTES = 4096;

/** Log pages that are lists of entries. See {@link NvmeLogs.lists}. */
export class NvmeLogLists {
  constructor(private readonly logs: LogSource) {}

  /**
   * Asymmetric Namespace Access (LID 0Ch).
   * @param options groupsOnly: leaves out the ids of the namespaces
   * @throws as NvmeLogs.read(); NvmeProtocolError if the log is malformed
   */
  async asymmetricNamespaceAccess(options: { readonly groupsOnly?: boolean } = {}): Promise<{
    /** Counts changes of the log. */
    readonly changeCount: bigint;
    /** All groups of this controller. */
    readonly groups: readonly AnaGroup[];
  }> {
    checkKeys("options", options, ["groupsOnly"]);
    const lsp = options.groupsOnly === true ? GROUPS_ONLY : 0;
    const page = await this.logs.readGrowing(
      LogPageId.asymmetricNamespaceAccess,
      FIRST_BYTES,
      (read) => walkAna(read, () => undefined),
      { lsp },
    );
    const groups: AnaGroup[] = [];
    walkAna(page, (group) => groups.push(group));
    return { changeCount: anaHeader.decode(page).changeCount, groups };
  }

  /** NVM sets with predictable latency events (LID 0Bh). @throws as asymmetricNamespaceAccess() */
  async predictableLatencyEvents(): Promise<readonly number[]> {
    return await this.ids(LogPageId.predictableLatencyEvents);
  }

  /** Endurance groups with events (LID 0Fh). @throws as asymmetricNamespaceAccess() */
  async enduranceGroupEvents(): Promise<readonly number[]> {
    return await this.ids(LogPageId.enduranceGroupEvents);
  }

  /** Media Unit Status (LID 10h). @param domain 0: all domains @throws as asymmetricNamespaceAccess() */
  async mediaUnits(domain = 0): Promise<readonly MediaUnit[]> {
    checkInteger("domain", domain, 0, 0xffff);
    const bytes = (page: Uint8Array): number => {
      const { units } = mediaUnitHeader.decode(page);
      return mediaUnitHeader.sizeBytes + units * mediaUnit.sizeBytes;
    };
    const page = await this.logs.readGrowing(LogPageId.mediaUnitStatus, FIRST_BYTES, bytes, { lsi: domain });
    const { units } = mediaUnitHeader.decode(page);
    return Array.from({ length: units }, (_, i) =>
      mediaUnit.decode(page.subarray(mediaUnitHeader.sizeBytes + i * mediaUnit.sizeBytes)),
    );
  }

  /**
   * LBA Status Information (LID 0Eh): where {@link NvmeNamespace.lbaStatus} would find something.
   * @throws as asymmetricNamespaceAccess()
   */
  async lbaStatus(options: { readonly rae?: boolean } = {}): Promise<LbaStatusLog> {
    checkKeys("options", options, ["rae"]);
    const bytes = (page: Uint8Array): number => {
      const { sizeBytes } = decodeLbaStatusLog(page);
      if (sizeBytes > MOST_BYTES)
        throw new NvmeProtocolError(`the LBA Status Information log claims ${sizeBytes} bytes`);
      return sizeBytes;
    };
    return decodeLbaStatusLog(await this.logs.readGrowing(LogPageId.lbaStatus, 16, bytes, options));
  }

  /**
   * Supported Capacity Configuration List (LID 11h): what Capacity Management can select.
   * @param domain 0: all domains
   * @throws as asymmetricNamespaceAccess()
   */
  async capacityConfigurations(domain = 0): Promise<readonly CapacityConfiguration[]> {
    checkInteger("domain", domain, 0, 0xffff);
    const lid = LogPageId.capacityConfigurations;
    return capacityConfigurations(
      await this.logs.readGrowing(lid, FIRST_BYTES, capacityBytes, { lsi: domain }),
    );
  }

  /**
   * Reads the whole Persistent Event log (LID 0Dh). Establishes a reporting context and releases it again.
   * @throws as asymmetricNamespaceAccess()
   */
  async persistentEvents(): Promise<{
    /** Header of the log. */
    readonly header: PersistentEventHeader;
    /** Events in the order of the log. */
    readonly events: readonly PersistentEvent[];
  }> {
    const lid = LogPageId.persistentEvents;
    const first = await this.logs.read(lid, persistentEventHeader.sizeBytes, { lsp: Context.establish });
    try {
      const header = persistentEventHeader.decode(first);
      const bytes = Number(header.totalBytes);
      if (bytes > MOST_BYTES) throw new NvmeProtocolError(`the Persistent Event log claims ${bytes} bytes`);
      const size = Math.max(persistentEventHeader.sizeBytes, Math.ceil(bytes / 4) * 4);
      const page = await this.logs.read(lid, size, { lsp: Context.read });
      return { header, events: persistentEvents(page.subarray(0, bytes), header.events) };
    } finally {
      await this.logs.read(lid, persistentEventHeader.sizeBytes, { lsp: Context.release });
    }
  }

  private async ids(lid: number): Promise<readonly number[]> {
    const header = eventAggregateHeader.sizeBytes;
    const count = (page: Uint8Array): number => {
      const { entries } = eventAggregateHeader.decode(page);
      if (entries > 0xffffn) throw new NvmeProtocolError(`log page ${lid} claims ${entries} entries`);
      return Number(entries);
    };
    const page = await this.logs.readGrowing(lid, 512, (read) => header + 2 * count(read));
    const view = new DataView(page.buffer, page.byteOffset);
    return Array.from({ length: count(page) }, (_, i) => view.getUint16(header + 2 * i, true));
  }
}

/** Visits the groups that are complete in `page`. @returns the bytes needed to continue, or the size of the log */
function walkAna(page: Uint8Array, found: (group: AnaGroup) => void): number {
  const { groups } = anaHeader.decode(page);
  let at = anaHeader.sizeBytes;
  for (let i = 0; i < groups; i++) {
    if (at + anaGroup.sizeBytes > page.length) return at + anaGroup.sizeBytes;
    const { groupId, namespaces, changeCount, state } = anaGroup.decode(page.subarray(at));
    const end = at + anaGroup.sizeBytes + 4 * namespaces;
    if (end > MOST_BYTES) throw new NvmeProtocolError(`ANA group ${groupId} claims ${namespaces} namespaces`);
    if (end > page.length) return end;
    const view = new DataView(page.buffer, page.byteOffset + at + anaGroup.sizeBytes);
    const ids = Array.from({ length: namespaces }, (_, n) => view.getUint32(4 * n, true));
    found({ groupId, changeCount, state, namespaces: ids });
    at = end;
  }
  return at;
}

function persistentEvents(page: Uint8Array, count: number): PersistentEvent[] {
  const events: PersistentEvent[] = [];
  for (let at = persistentEventHeader.sizeBytes; events.length < count; ) {
    const fixed = page.subarray(at);
    if (fixed.length < persistentEventEntry.sizeBytes) {
      throw new NvmeProtocolError(`the Persistent Event log ends after ${events.length} of ${count} events`);
    }
    const entry = persistentEventEntry.decode(fixed);
    const dataAt = at + 3 + entry.headerLength;
    const end = dataAt + entry.dataBytes;
    if (end > page.length || entry.vendorBytes > entry.dataBytes) {
      throw new NvmeProtocolError(
        `event ${events.length} of the Persistent Event log extends past the end of the log`,
      );
    }
    events.push({
      type: entry.type,
      revision: entry.revision,
      cntlid: entry.cntlid,
      time: new Date(Number(entry.timestamp & 0xffff_ffff_ffffn)),
      portId: entry.portId,
      vendorInfo: page.slice(dataAt, dataAt + entry.vendorBytes),
      data: page.slice(dataAt + entry.vendorBytes, end),
    });
    at = end;
  }
  return events;
}
