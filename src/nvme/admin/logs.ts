/** Get Log Page, and the log pages decoded. */
import { checkFunction, checkInteger, checkKeys, checkLength, checkU32, show } from "../../core/check.js";
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
import { type PowerMeasurement, readPowerMeasurement } from "./power-measurement.js";
import { NvmeTelemetry } from "./telemetry.js";
import { NvmeTopologyLogs } from "./topology-logs.js";

/** Without extended data (LPA), NUMD has 12 bits and counts dwords. */
const MOST_BYTES_PLAIN = 4096 * 4;
const MOST_CHANGED_NAMESPACES = 1024;
/** CDW14, OT: the offset counts entries. */
const OFFSET_IS_INDEX = 1 << 23;
/** Count of a list that can't hold all changed zones. */
const TOO_MANY_ZONES = 0xffff;

const logPageOptions: readonly (keyof LogPageOptions)[] = [
  "nsid",
  "lsp",
  "lsi",
  "rae",
  "csi",
  "uuidIndex",
  "offset",
  "index",
];

const wholePageOptions = logPageOptions.filter((name) => name !== "offset" && name !== "index");

/** Log pages of a controller (NVMe Base 2.x, section "Get Log Page command"). See {@link NvmeController.logs}. */
export class NvmeLogs implements LogSource {
  constructor(private readonly target: AdminTarget) {}

  /**
   * Reads any log page as bytes, with several commands if one can't transfer it.
   * @param sizeBytes a multiple of 4
   * @throws ArgumentError, UnsupportedError (the controller can't read that much; the page has no index), NvmeError (the
   *   page doesn't exist), TimeoutError, DeviceGoneError, ClosedError
   */
  async read(lid: number, sizeBytes: number, options: LogPageOptions = {}): Promise<Uint8Array> {
    checkInteger("lid", lid, 0, 0xff);
    checkLength("sizeBytes", sizeBytes, 2 ** 32);
    checkKeys("options", options, logPageOptions);
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
        throw new ArgumentError("options.offset and options.index can't be combined");
      }
    }
    if (sizeBytes % 4 !== 0 || offset % 4 !== 0) {
      throw new ArgumentError(
        `sizeBytes and offset must be multiples of 4, got ${show(sizeBytes)} and ${show(offset)}`,
      );
    }
    const { target } = this;
    const hasOffsets = decodeBits(target.identify.lpa, Lpa).extendedData;
    const most = hasOffsets ? target.maxTransferBytes : Math.min(MOST_BYTES_PLAIN, target.maxTransferBytes);
    if (!hasOffsets && (offset > 0 || sizeBytes > most)) {
      throw new UnsupportedError(
        `${target.bdf} can read only the first ${most} bytes of a log page (LPA: no extended data)`,
      );
    }
    if (index !== undefined) {
      if (sizeBytes > most) {
        throw new ArgumentError(
          `sizeBytes must be at most ${most} with an index, got ${show(sizeBytes)}: one command reads it`,
        );
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
          // Only the last command for the page may clear its event.
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
   * Reads a log page whose length is in its content. Only the last command clears its event.
   * @param firstBytes size of the first read, a multiple of 4
   * @param needed returns the number of bytes needed, by those read so far; reading ends when they suffice
   * @returns at least as many bytes as `needed` returned
   * @throws as read()
   */
  async readGrowing(
    lid: number,
    firstBytes: number,
    needed: (page: Uint8Array) => number,
    options: WholePageOptions = {},
  ): Promise<Uint8Array> {
    checkKeys("options", options, wholePageOptions);
    checkFunction("needed", needed);
    const hasOffsets = decodeBits(this.target.identify.lpa, Lpa).extendedData;
    let page = await this.read(lid, firstBytes, { ...options, rae: true });
    for (;;) {
      const bytes = checkInteger("what needed() returns", needed(page), 0, 2 ** 32);
      const target = Math.ceil(bytes / 4) * 4;
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

  /** SMART / Health Information of the controller, or of one namespace if LPA allows that. @throws as read() */
  async smart(nsid: number = BROADCAST_NSID): Promise<SmartLog> {
    return smartLog.decode(await this.read(LogPageId.smart, smartLog.sizeBytes, { nsid }));
  }

  /** Error Information: the used entries, latest first. @throws as read() */
  async errors(): Promise<ErrorLogEntry[]> {
    const count = this.target.identify.elpe + 1;
    const page = await this.read(LogPageId.errorInformation, count * errorLogEntry.sizeBytes);
    const entries = Array.from({ length: count }, (_, i) =>
      errorLogEntry.decode(page.subarray(i * errorLogEntry.sizeBytes)),
    );
    return entries.filter(({ errorCount }) => errorCount !== 0n);
  }

  /** Firmware Slot Information. @throws as read() */
  async firmwareSlots(): Promise<{
    /** Slot whose firmware runs. */
    readonly active: number;
    /** Slot whose firmware runs after the next reset; 0: not reported. */
    readonly next: number;
    /** Revisions in slots 1 to 7; an empty string for an empty slot. */
    readonly revisions: readonly string[];
  }> {
    const { afi, frs } = firmwareSlotLog.decode(
      await this.read(LogPageId.firmwareSlot, firmwareSlotLog.sizeBytes),
    );
    return { active: afi & 7, next: (afi >>> 4) & 7, revisions: frs };
  }

  /** Commands Supported and Effects: a word for each opcode; see CommandEffect. @throws as read() */
  async commandEffects(csi: number = CommandSet.nvm): Promise<{
    /** Words of the admin commands, by opcode. */
    readonly admin: readonly number[];
    /** Words of the I/O commands, by opcode. */
    readonly io: readonly number[];
  }> {
    const page = await this.read(LogPageId.commandsSupported, commandEffectsLog.sizeBytes, { csi });
    const { acs, iocs } = commandEffectsLog.decode(page);
    return { admin: acs, io: iocs };
  }

  /**
   * Changed Attached Namespace List: namespaces that changed since the last read.
   * @returns their ids; "many" if the page can't hold all
   * @throws as read()
   */
  async changedNamespaces(): Promise<readonly number[] | "many"> {
    return changedList(await this.read(LogPageId.changedNamespaces, MOST_CHANGED_NAMESPACES * 4));
  }

  /** Changed Allocated Namespace List: namespaces of the subsystem that changed since the last read. @throws as read() */
  async changedAllocatedNamespaces(): Promise<readonly number[] | "many"> {
    return changedList(await this.read(LogPageId.changedAllocatedNamespaces, MOST_CHANGED_NAMESPACES * 4));
  }

  /** Supported Log Pages, by identifier. @throws as read() */
  async supportedLogPages(): Promise<ReadonlyMap<number, Bits<typeof LogPageSupport>>> {
    return tableOf(await this.read(LogPageId.supportedLogPages, identifierTable.sizeBytes), LogPageSupport);
  }

  /** Feature Identifiers Supported and Effects, by identifier. @throws as read() */
  async featureEffects(
    csi: number = CommandSet.nvm,
  ): Promise<ReadonlyMap<number, Bits<typeof FeatureEffect>>> {
    const page = await this.read(LogPageId.featuresSupported, identifierTable.sizeBytes, { csi });
    return tableOf(page, FeatureEffect);
  }

  /** Device Self-test: the test that runs, and the results, latest first. @throws as read() */
  async selfTest(): Promise<{
    /** The test that runs, a value of SelfTestCode; 0: none. */
    readonly currentOperation: number;
    /** Progress of the test that runs, in percent. */
    readonly completionPercent: number;
    /** Results, latest first. */
    readonly results: readonly SelfTestEntry[];
  }> {
    const page = await this.read(LogPageId.deviceSelfTest, selfTestLog.sizeBytes);
    const { currentOperation, completionPercent, results } = selfTestLog.decode(page);
    const used = results.filter(({ result }) => result !== SelfTestResult.unused);
    return { currentOperation, completionPercent, results: used };
  }

  /** Endurance Group Information. @param endgid endurance group @throws as read() */
  async enduranceGroup(endgid: number): Promise<EnduranceGroupLog> {
    const page = await this.read(LogPageId.enduranceGroup, enduranceGroupLog.sizeBytes, { lsi: endgid });
    return enduranceGroupLog.decode(page);
  }

  /** Predictable Latency Per NVM Set. @param nvmsetid NVM set @throws as read() */
  async predictableLatency(nvmsetid: number): Promise<PredictableLatencyLog> {
    const options = { lsi: nvmsetid };
    const page = await this.read(LogPageId.predictableLatency, predictableLatencyLog.sizeBytes, options);
    return predictableLatencyLog.decode(page);
  }

  /** Rotational Media Information of an endurance group. @throws as read() */
  async rotationalMedia(endgid: number): Promise<RotationalMediaLog> {
    const options = { lsi: endgid };
    const page = await this.read(LogPageId.rotationalMedia, rotationalMediaLog.sizeBytes, options);
    return rotationalMediaLog.decode(page);
  }

  /**
   * Command and Feature Lockdown: opcodes or feature identifiers that are prohibited or can be.
   * @param scope a value of LockdownScope
   * @param contents 0: can be prohibited; 1: prohibited on the admin queue; 2: prohibited out of band
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

  /** The oldest reservation notification; undefined if there is none. @throws as read() */
  async reservationNotification(): Promise<ReservationLog | undefined> {
    const page = await this.read(LogPageId.reservationNotification, reservationLog.sizeBytes);
    const log = reservationLog.decode(page);
    return log.type === 0 ? undefined : log;
  }

  /** Sanitize Status: the operation that runs, or the last one. @throws as read() */
  async sanitize(): Promise<SanitizeLog> {
    return sanitizeLog.decode(await this.read(LogPageId.sanitizeStatus, sanitizeLog.sizeBytes));
  }

  /**
   * Changed Zone List.
   * @returns first blocks of the zones that the controller changed; "many" if the page can't hold all
   * @throws as read()
   */
  async changedZones(nsid: number): Promise<readonly bigint[] | "many"> {
    const page = await this.read(LogPageId.changedZones, changedZonesLog.sizeBytes, { nsid });
    const { count, zslba } = changedZonesLog.decode(page);
    return count === TOO_MANY_ZONES ? "many" : zslba.slice(0, count);
  }

  /** Telemetry logs, host-initiated and controller-initiated. */
  get telemetry(): NvmeTelemetry {
    return new NvmeTelemetry(this, this.target);
  }

  /** Logs that are lists: ANA, persistent events, event aggregates, media units. */
  get lists(): NvmeLogLists {
    return new NvmeLogLists(this);
  }

  /** A controller without index support would use the index as a byte offset. @throws UnsupportedError, and as read() */
  private async requireIndex(lid: number): Promise<void> {
    const { bdf, identify } = this.target;
    const pages = decodeBits(identify.lpa, Lpa).supportedLogPages
      ? await this.supportedLogPages()
      : undefined;
    if (pages?.get(lid)?.indexOffset !== true) {
      const name = `log page 0x${lid.toString(16).padStart(2, "0")}`;
      throw new UnsupportedError(`${bdf} doesn't support an index for ${name} (Supported Log Pages, IOS)`);
    }
  }

  /** Where namespaces, NVM subsystems and managers are reached. */
  get topology(): NvmeTopologyLogs {
    return new NvmeTopologyLogs(this);
  }

  /** Power Measurement (LID 25h). The feature of this name starts one. @throws as read(); NvmeProtocolError */
  async powerMeasurement(): Promise<PowerMeasurement> {
    return await readPowerMeasurement(this);
  }

  /** Log pages of Flexible Data Placement. */
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

/** Decodes the words of all supported identifiers. Bit 0 of a word: supported. */
function tableOf<T extends BitTable>(page: Uint8Array, table: T): ReadonlyMap<number, Bits<T>> {
  const { words } = identifierTable.decode(page);
  return new Map(
    words.flatMap((word, id): [number, Bits<T>][] =>
      (word & 1) === 0 ? [] : [[id, decodeBits(word, table)]],
    ),
  );
}
