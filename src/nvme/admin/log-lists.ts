import { checkInteger } from "../../core/check.js";
import { NvmeProtocolError } from "../command/error.js";
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
import type { LogSource } from "./log-source.js";

/** Namespaces whose access is alike on this controller. */
export interface AnaGroup {
  readonly groupId: number;
  readonly changeCount: bigint;
  /** A value of AnaState. */
  readonly state: number;
  readonly namespaces: readonly number[];
}

/** Something that the controller remembers for good. */
export interface PersistentEvent {
  /** A value of PersistentEventType. */
  readonly type: number;
  readonly revision: number;
  readonly cntlid: number;
  /** When; by the Timestamp feature, so maybe since the last reset. */
  readonly time: Date;
  readonly portId: number;
  /** The vendor's part before the data. */
  readonly vendorInfo: Uint8Array;
  /** As the specification gives it for the type. */
  readonly data: Uint8Array;
}

/** What heads the Persistent Event log. */
export type PersistentEventHeader = ReturnType<typeof persistentEventHeader.decode>;

/** What is read at most of a list before it counts as broken. */
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
   * @param options groupsOnly: without the ids of the namespaces
   * @throws as NvmeLogs.read(); NvmeProtocolError where the log contradicts itself
   */
  async asymmetricNamespaceAccess(
    options: { readonly groupsOnly?: boolean } = {},
  ): Promise<{ readonly changeCount: bigint; readonly groups: readonly AnaGroup[] }> {
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

  /** Media Unit Status (LID 10h). @param domain 0 is all @throws as asymmetricNamespaceAccess() */
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
   * Persistent Event (LID 0Dh), all of it, in a reporting context that is released again.
   * @throws as asymmetricNamespaceAccess()
   */
  async persistentEvents(): Promise<{
    readonly header: PersistentEventHeader;
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

/** Goes through the groups as far as they are there. @returns the bytes needed to go on, or that there are in all */
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
        `event ${events.length} of the Persistent Event log reaches beyond its end`,
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
