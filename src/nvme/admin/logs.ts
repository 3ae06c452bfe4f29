import { checkInteger, checkLength, checkU32 } from "../../core/check.js";
import { ArgumentError, UnsupportedError } from "../../core/errors.js";
import { type AdminTarget, adminRead } from "../command/admin-target.js";
import { type Bits, type BitTable, decodeBits, Lpa } from "../spec/capabilities.js";
import {
  changedZonesLog,
  commandEffectsLog,
  type EnduranceGroupLog,
  type ErrorLogEntry,
  enduranceGroupLog,
  errorLogEntry,
  FeatureEffect,
  firmwareSlotLog,
  identifierTable,
  LogPageSupport,
  lockdownLog,
  type PredictableLatencyLog,
  predictableLatencyLog,
  type ReservationLog,
  type RotationalMediaLog,
  reservationLog,
  rotationalMediaLog,
  type SanitizeLog,
  type SelfTestEntry,
  SelfTestResult,
  type SmartLog,
  sanitizeLog,
  selfTestLog,
  smartLog,
} from "../spec/log-pages.js";
import { AdminOpcode, BROADCAST_NSID, CommandSet, LogPageId } from "../spec/opcodes.js";
import { NvmeFdpLogs } from "./fdp-logs.js";
import { NvmeLogLists } from "./log-lists.js";
import type { LogPageOptions, LogSource, WholePageOptions } from "./log-source.js";
import { NvmeTelemetry } from "./telemetry.js";

/** Without LPA's extended data, NUMD has 12 bits of dwords. */
const MOST_BYTES_PLAIN = 4096 * 4;
const MOST_CHANGED_NAMESPACES = 1024;
/** CDW14, OT: the offset counts entries. */
const OFFSET_IS_INDEX = 1 << 23;
/** More zones changed than the list holds. */
const TOO_MANY_ZONES = 0xffff;

/** Log pages of a controller (NVMe Base 2.x, section "Get Log Page command"). See {@link NvmeController.logs}. */
export class NvmeLogs implements LogSource {
  constructor(private readonly target: AdminTarget) {}

  /**
   * Any log page, as bytes; in several commands where one can't carry it.
   * @param sizeBytes multiple of 4
   * @throws ArgumentError, UnsupportedError (longer than this controller can tell; no index into this page),
   *   NvmeError (no such page), TimeoutError,
   *   DeviceGoneError, ClosedError
   */
  async read(lid: number, sizeBytes: number, options: LogPageOptions = {}): Promise<Uint8Array> {
    checkInteger("lid", lid, 0, 0xff);
    checkLength("sizeBytes", sizeBytes, 2 ** 32);
    const {
      nsid = BROADCAST_NSID,
      lsp = 0,
      lsi = 0,
      rae = false,
      csi = 0,
      uuidIndex = 0,
      offset = 0,
    } = options;
    checkU32("nsid", nsid);
    checkInteger("lsp", lsp, 0, 0x7f);
    checkInteger("lsi", lsi, 0, 0xffff);
    checkInteger("csi", csi, 0, 0xff);
    checkInteger("uuidIndex", uuidIndex, 0, 0x7f);
    checkInteger("offset", offset, 0, Number.MAX_SAFE_INTEGER - sizeBytes);
    const { index } = options;
    if (index !== undefined) {
      checkInteger("index", index, 0, Number.MAX_SAFE_INTEGER);
      if (options.offset !== undefined) {
        throw new ArgumentError("a log page is read from an offset or from an index, not both");
      }
    }
    if (sizeBytes % 4 !== 0 || offset % 4 !== 0) {
      throw new ArgumentError(`log pages are read in dwords: size ${sizeBytes}, offset ${offset}`);
    }
    const { target } = this;
    const hasOffsets = decodeBits(target.identify.lpa, Lpa).extendedData;
    const most = hasOffsets ? target.maxTransferBytes : Math.min(MOST_BYTES_PLAIN, target.maxTransferBytes);
    if (!hasOffsets && (offset > 0 || sizeBytes > most)) {
      throw new UnsupportedError(
        `${target.bdf} reads log pages from their start and up to ${most} bytes only`,
      );
    }
    if (index !== undefined) {
      if (sizeBytes > most) {
        throw new ArgumentError(`what follows an index is read by one command, up to ${most} bytes here`);
      }
      await this.requireIndex(lid);
    }
    const page = new Uint8Array(sizeBytes);
    for (let done = 0; done < sizeBytes; ) {
      const length = Math.min(most, sizeBytes - done);
      const dwords = length / 4 - 1; // zero-based
      const at = index ?? offset + done;
      const { bytes } = await adminRead(
        target,
        {
          name: `Get Log Page (LID 0x${lid.toString(16).padStart(2, "0")})`,
          opcode: AdminOpcode.getLogPage,
          nsid,
          // Parts of one page: the event must not be cleared before the last of them.
          cdw10:
            (lid |
              (lsp << 8) |
              (rae || done + length < sizeBytes ? 1 << 15 : 0) |
              ((dwords & 0xffff) << 16)) >>>
            0,
          cdw11: ((dwords >>> 16) | (lsi << 16)) >>> 0,
          cdw12: at >>> 0,
          cdw13: Math.floor(at / 2 ** 32),
          cdw14: ((csi << 24) | (index === undefined ? 0 : OFFSET_IS_INDEX) | uuidIndex) >>> 0,
        },
        length,
      );
      page.set(bytes, done);
      done += length;
    }
    return page;
  }

  /**
   * A log page that says itself how long it is. Its event is cleared once, by the last command.
   * @param firstBytes what is read first, multiple of 4
   * @param needed how many bytes are needed, seen what there is of them; what it asks for is read until it asks for no more
   * @returns at least as many bytes as were needed
   * @throws as read()
   */
  async readGrowing(
    lid: number,
    firstBytes: number,
    needed: (page: Uint8Array) => number,
    options: WholePageOptions = {},
  ): Promise<Uint8Array> {
    const hasOffsets = decodeBits(this.target.identify.lpa, Lpa).extendedData;
    let page = await this.read(lid, firstBytes, { ...options, rae: true });
    for (;;) {
      const target = Math.ceil(needed(page) / 4) * 4;
      if (target <= page.length) break;
      if (hasOffsets) {
        const offset = page.length;
        const rest = await this.read(lid, target - offset, { ...options, rae: true, offset });
        page = Buffer.concat([page, rest]);
      } else {
        page = await this.read(lid, target, { ...options, rae: true });
      }
    }
    if (options.rae !== true) await this.read(lid, firstBytes, options);
    return page;
  }

  /** SMART / Health Information of the controller, or of one namespace where the controller has that. @throws as read() */
  async smart(nsid: number = BROADCAST_NSID): Promise<SmartLog> {
    return smartLog.decode(await this.read(LogPageId.smart, smartLog.sizeBytes, { nsid }));
  }

  /** Errors that commands met, latest first; only entries that are in use. @throws as read() */
  async errors(): Promise<ErrorLogEntry[]> {
    const count = this.target.identify.elpe + 1;
    const page = await this.read(LogPageId.errorInformation, count * errorLogEntry.sizeBytes);
    const entries = Array.from({ length: count }, (_, i) =>
      errorLogEntry.decode(page.subarray(i * errorLogEntry.sizeBytes)),
    );
    return entries.filter(({ errorCount }) => errorCount !== 0n);
  }

  /** Firmware by slot: the active one, the one after the next reset, and the revisions. @throws as read() */
  async firmwareSlots(): Promise<{
    /** Slot whose firmware runs. */
    readonly active: number;
    /** Slot whose firmware runs after the next reset; 0 where that isn't settled. */
    readonly next: number;
    /** Revisions of slots 1 to 7; empty where there is none. */
    readonly revisions: readonly string[];
  }> {
    const { afi, frs } = firmwareSlotLog.decode(
      await this.read(LogPageId.firmwareSlot, firmwareSlotLog.sizeBytes),
    );
    return { active: afi & 7, next: (afi >>> 4) & 7, revisions: frs };
  }

  /** Which commands there are and what they change: one word per opcode. @throws as read() */
  async commandEffects(
    csi: number = CommandSet.nvm,
  ): Promise<{ readonly admin: readonly number[]; readonly io: readonly number[] }> {
    const page = await this.read(LogPageId.commandsSupported, commandEffectsLog.sizeBytes, { csi });
    const { acs, iocs } = commandEffectsLog.decode(page);
    return { admin: acs, io: iocs };
  }

  /**
   * Namespaces that changed since this was last read.
   * @returns their ids; "many" where there are more than the page can hold
   * @throws as read()
   */
  async changedNamespaces(): Promise<readonly number[] | "many"> {
    return changedList(await this.read(LogPageId.changedNamespaces, MOST_CHANGED_NAMESPACES * 4));
  }

  /** Namespaces allocated, freed or changed anywhere in the subsystem since this was last read. @throws as read() */
  async changedAllocatedNamespaces(): Promise<readonly number[] | "many"> {
    return changedList(await this.read(LogPageId.changedAllocatedNamespaces, MOST_CHANGED_NAMESPACES * 4));
  }

  /** Log pages there are: by identifier. @throws as read() */
  async supportedLogPages(): Promise<ReadonlyMap<number, Bits<typeof LogPageSupport>>> {
    return tableOf(await this.read(LogPageId.supportedLogPages, identifierTable.sizeBytes), LogPageSupport);
  }

  /** Features there are, and what setting them changes: by identifier. @throws as read() */
  async featureEffects(
    csi: number = CommandSet.nvm,
  ): Promise<ReadonlyMap<number, Bits<typeof FeatureEffect>>> {
    const page = await this.read(LogPageId.featuresSupported, identifierTable.sizeBytes, { csi });
    return tableOf(page, FeatureEffect);
  }

  /** Self-tests, the latest first, and the one that runs. @throws as read() */
  async selfTest(): Promise<{
    /** A value of SelfTestCode; 0 where none runs. */
    readonly currentOperation: number;
    readonly completionPercent: number;
    readonly results: readonly SelfTestEntry[];
  }> {
    const page = await this.read(LogPageId.deviceSelfTest, selfTestLog.sizeBytes);
    const { currentOperation, completionPercent, results } = selfTestLog.decode(page);
    const used = results.filter(({ result }) => result !== SelfTestResult.unused);
    return { currentOperation, completionPercent, results: used };
  }

  /** @param endgid endurance group @throws as read() */
  async enduranceGroup(endgid: number): Promise<EnduranceGroupLog> {
    const page = await this.read(LogPageId.enduranceGroup, enduranceGroupLog.sizeBytes, { lsi: endgid });
    return enduranceGroupLog.decode(page);
  }

  /** @param nvmsetid NVM set @throws as read() */
  async predictableLatency(nvmsetid: number): Promise<PredictableLatencyLog> {
    const options = { lsi: nvmsetid };
    const page = await this.read(LogPageId.predictableLatency, predictableLatencyLog.sizeBytes, options);
    return predictableLatencyLog.decode(page);
  }

  /** Spindle and actuators of an endurance group. @throws as read() */
  async rotationalMedia(endgid: number): Promise<RotationalMediaLog> {
    const options = { lsi: endgid };
    const page = await this.read(LogPageId.rotationalMedia, rotationalMediaLog.sizeBytes, options);
    return rotationalMediaLog.decode(page);
  }

  /**
   * Commands or features that are locked, or could be.
   * @param scope 0 admin opcodes, 2 features, 3 and 4 of the management interface
   * @param contents 0 what can be locked, 1 what is locked for the host's queue, 2 out of band
   * @throws as read()
   */
  async lockdown(scope: number, contents = 0): Promise<readonly number[]> {
    checkInteger("scope", scope, 0, 0xf);
    checkInteger("contents", contents, 0, 3);
    const options = { lsp: scope | (contents << 4) };
    const page = await this.read(LogPageId.lockdown, lockdownLog.sizeBytes, options);
    const { length, identifiers } = lockdownLog.decode(page);
    return [...identifiers.subarray(0, length)];
  }

  /** The oldest reservation notification that waits; undefined where there is none. @throws as read() */
  async reservationNotification(): Promise<ReservationLog | undefined> {
    const page = await this.read(LogPageId.reservationNotification, reservationLog.sizeBytes);
    const log = reservationLog.decode(page);
    return log.type === 0 ? undefined : log;
  }

  /** The sanitize operation that runs or was the last. @throws as read() */
  async sanitize(): Promise<SanitizeLog> {
    return sanitizeLog.decode(await this.read(LogPageId.sanitizeStatus, sanitizeLog.sizeBytes));
  }

  /** First blocks of the zones whose descriptors changed by themselves. @throws as read() */
  async changedZones(nsid: number): Promise<readonly bigint[] | "many"> {
    const page = await this.read(LogPageId.changedZones, changedZonesLog.sizeBytes, { nsid });
    const { count, zslba } = changedZonesLog.decode(page);
    return count === TOO_MANY_ZONES ? "many" : zslba.slice(0, count);
  }

  /** Telemetry: captured by the host's order, or kept by the controller. */
  get telemetry(): NvmeTelemetry {
    return new NvmeTelemetry(this, this.target);
  }

  /** Logs whose length is known only while they are read: ANA, persistent events, aggregates, media units. */
  get lists(): NvmeLogLists {
    return new NvmeLogLists(this);
  }

  /** Else the controller would take the index for a byte's, or refuse it. @throws UnsupportedError, and as read() */
  private async requireIndex(lid: number): Promise<void> {
    const { bdf, identify } = this.target;
    const pages = decodeBits(identify.lpa, Lpa).supportedLogPages
      ? await this.supportedLogPages()
      : undefined;
    if (pages?.get(lid)?.indexOffset !== true) {
      const name = `log page 0x${lid.toString(16).padStart(2, "0")}`;
      throw new UnsupportedError(`${bdf} has no index into ${name} (Supported Log Pages, IOS)`);
    }
  }

  /** Flexible Data Placement. */
  get fdp(): NvmeFdpLogs {
    return new NvmeFdpLogs(this);
  }
}

function changedList(page: Uint8Array): readonly number[] | "many" {
  const list = new Uint32Array(page.buffer, page.byteOffset, MOST_CHANGED_NAMESPACES);
  if (list[0] === BROADCAST_NSID) return "many";
  const end = list.indexOf(0);
  return [...list.subarray(0, end < 0 ? list.length : end)];
}

/** Words by identifier, those that are supported (bit 0). */
function tableOf<T extends BitTable>(page: Uint8Array, table: T): ReadonlyMap<number, Bits<T>> {
  const { words } = identifierTable.decode(page);
  return new Map(
    words.flatMap((word, id): [number, Bits<T>][] =>
      (word & 1) === 0 ? [] : [[id, decodeBits(word, table)]],
    ),
  );
}
