import { checkInteger, checkLength, checkU32 } from "../sys/check.js";
import { ArgumentError, UnsupportedError } from "../sys/errors.js";
import { type AdminTarget, adminRead } from "./admin-target.js";
import {
  commandEffectsLog,
  type ErrorLogEntry,
  errorLogEntry,
  firmwareSlotLog,
  type SmartLog,
  smartLog,
} from "./spec/log-pages.js";
import { AdminOpcode, BROADCAST_NSID, CommandSet, LogPageId } from "./spec/opcodes.js";

/** Identify Controller, LPA bit 2: offsets and lengths beyond 16 bits. */
const LPA_EXTENDED_DATA = 1 << 2;
/** Without that, NUMD has 12 bits of dwords. */
const MOST_BYTES_PLAIN = 4096 * 4;
const MOST_CHANGED_NAMESPACES = 1024;

/** Options of {@link NvmeLogs.read}, under the specification's names. */
export interface LogPageOptions {
  /** Namespace the page is about; all (FFFFFFFFh) by default. */
  readonly nsid?: number | undefined;
  /** Log Specific Parameter, 7 bits. */
  readonly lsp?: number | undefined;
  /** Log Specific Identifier, 16 bits. */
  readonly lsi?: number | undefined;
  /** Retain Asynchronous Event: reading does not clear the event that told of the page. */
  readonly rae?: boolean | undefined;
  /** Command Set Identifier. */
  readonly csi?: number | undefined;
  /** First byte, multiple of 4. */
  readonly offset?: number | undefined;
}

/** Log pages of a controller (NVMe Base 2.x, section "Get Log Page command"). See {@link NvmeController.logs}. */
export class NvmeLogs {
  constructor(private readonly target: AdminTarget) {}

  /**
   * Any log page, as bytes; in several commands where one can't carry it.
   * @param sizeBytes multiple of 4
   * @throws ArgumentError, UnsupportedError (longer than this controller can tell), NvmeError (no such page), TimeoutError,
   *   DeviceGoneError, ClosedError
   */
  async read(lid: number, sizeBytes: number, options: LogPageOptions = {}): Promise<Uint8Array> {
    checkInteger("lid", lid, 0, 0xff);
    checkLength("sizeBytes", sizeBytes, 2 ** 32);
    const { nsid = BROADCAST_NSID, lsp = 0, lsi = 0, rae = false, csi = 0, offset = 0 } = options;
    checkU32("nsid", nsid);
    checkInteger("lsp", lsp, 0, 0x7f);
    checkInteger("lsi", lsi, 0, 0xffff);
    checkInteger("csi", csi, 0, 0xff);
    checkInteger("offset", offset, 0, Number.MAX_SAFE_INTEGER - sizeBytes);
    if (sizeBytes % 4 !== 0 || offset % 4 !== 0) {
      throw new ArgumentError(`log pages are read in dwords: size ${sizeBytes}, offset ${offset}`);
    }
    const { target } = this;
    const hasOffsets = (target.identify.lpa & LPA_EXTENDED_DATA) !== 0;
    const most = hasOffsets ? target.maxTransferBytes : Math.min(MOST_BYTES_PLAIN, target.maxTransferBytes);
    if (!hasOffsets && (offset > 0 || sizeBytes > most)) {
      throw new UnsupportedError(
        `${target.bdf} reads log pages from their start and up to ${most} bytes only`,
      );
    }
    const page = new Uint8Array(sizeBytes);
    for (let done = 0; done < sizeBytes; ) {
      const length = Math.min(most, sizeBytes - done);
      const dwords = length / 4 - 1; // zero-based
      const at = offset + done;
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
          cdw14: (csi << 24) >>> 0,
        },
        length,
      );
      page.set(bytes, done);
      done += length;
    }
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
    const page = await this.read(LogPageId.changedNamespaces, MOST_CHANGED_NAMESPACES * 4);
    const list = new Uint32Array(page.buffer, page.byteOffset, MOST_CHANGED_NAMESPACES);
    if (list[0] === BROADCAST_NSID) return "many";
    const end = list.indexOf(0);
    return [...list.subarray(0, end < 0 ? list.length : end)];
  }
}
