/** A zoned namespace: zone reports, zone management and appends. */
import { checkInteger, checkKeys, lookUp } from "../../core/check.js";
import { ArgumentError, UnsupportedError } from "../../core/errors.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { CommandData } from "../command/data-ranges.js";
import { NvmeError, NvmeProtocolError } from "../command/error.js";
import { readIdentify } from "../command/identify.js";
import { assertNoQuirk } from "../quirks/quirks.js";
import { CommandSet, IdentifyCns, IoOpcode, ZoneAction, ZoneReceiveAction } from "../spec/opcodes.js";
import { CommandSetSupport } from "../spec/registers.js";
import {
  identifyZonedController,
  identifyZonedNamespace,
  NO_WRITE_POINTER,
  ZONE_DESCRIPTOR_BYTES,
  ZONE_PARTIAL_REPORT,
  ZONE_REPORT_HEADER_BYTES,
  ZONE_SELECT_ALL,
  ZoneState,
  zoneDescriptor,
  zoneReportHeader,
} from "../spec/zoned.js";
import { type CommandTarget, ioRead, ioWrite } from "./command-target.js";
import { commandSetOf, type IdentifiedBlocks, identifyBlocks, lbaFormatIndex } from "./identify-blocks.js";
import { type IoOptions, ioOptions } from "./io-options.js";
import { checkLba, lbaDwords } from "./lba.js";
import { NvmeNamespace } from "./namespace.js";
import { type BlockData, commandParts, isPlainBytes, throughBounce } from "./plain-bytes.js";
import type { WriteStreamOptions } from "./streams.js";
import type { RangeOptions } from "./transfers.js";

/** Zone states under the specification's names. */
export type ZoneStateName = keyof typeof ZoneState;

/** One zone, as a report describes it. */
export interface Zone {
  /** First logical block (ZSLBA). */
  readonly lba: bigint;
  /** Zone State (ZS). */
  readonly state: ZoneStateName;
  /** Number of blocks that can be written, from the first block on (ZCAP). */
  readonly capacityBlocks: bigint;
  /** Block of the next write (WP); undefined if the zone accepts no writes. */
  readonly writePointer: bigint | undefined;
  /** Zone Attributes (ZA). */
  readonly attributes: number;
  /** Zone Attributes Information (ZAI). */
  readonly attributesInformation: number;
  /** Zone Descriptor Extension, if it was requested and the zone has one. */
  readonly extension: Uint8Array | undefined;
}

/** Options of {@link ZonedNamespace.zones}. */
export interface ZoneReportOptions {
  /** Starts at the zone with this block; at the first zone by default. */
  readonly from?: bigint | number | undefined;
  /** Zones in this state only. */
  readonly state?: ZoneStateName | undefined;
  /** Also reports the descriptor extensions. */
  readonly extensions?: boolean | undefined;
  /** Zones per command; by default as many as fit 8 KiB. */
  readonly zonesPerReport?: number | undefined;
}

/** A zone, by its first block; or all zones to which the action applies. */
export type ZoneChoice = bigint | number | "all";

/** Zone Append, CDW12: with protection type 1, the controller inserts the reference tag of the final LBA. */
const PIREMAP = 1 << 25;
/** ZA: the extension is valid. */
const ZA_EXTENSION_VALID = 1 << 7;
const UNLIMITED = 0xffff_ffff;
const DEFAULT_REPORT_BYTES = 8192;

/** Filters of a report by zone state (ZRASF). */
const reportFilters: Readonly<Record<ZoneStateName, number>> = {
  empty: 1,
  implicitlyOpened: 2,
  explicitlyOpened: 3,
  closed: 4,
  full: 5,
  readOnly: 6,
  offline: 7,
};

/** @throws ArgumentError if there is no such state */
function filterFor(state: ZoneStateName | undefined): number {
  return state === undefined ? 0 : lookUp("state", state, reportFilters);
}

const stateNames = new Map<number, ZoneStateName>(
  (Object.keys(ZoneState) as ZoneStateName[]).map((name) => [ZoneState[name], name]),
);

/** The zone properties that Identify reports. */
interface ZonedShape {
  readonly zoneSizeBlocks: bigint;
  readonly extensionBytes: number;
  readonly maxOpenZones: number | undefined;
  readonly maxActiveZones: number | undefined;
  readonly appendLimitBytes: number;
  readonly crossesZones: boolean;
}

/** A namespace of zones, which are written sequentially (Zoned Namespace Command Set 1.x). */
export class ZonedNamespace extends NvmeNamespace {
  /** Blocks from the start of a zone to the start of the next zone. */
  readonly zoneSizeBlocks: bigint;
  /** Number of zones. */
  readonly zoneCount: number;
  /** Most open zones (MOR); undefined: no limit. */
  readonly maxOpenZones: number | undefined;
  /** Most active zones, open or closed (MAR); undefined: no limit. */
  readonly maxActiveZones: number | undefined;
  /** Most bytes of an append (ZASL). */
  readonly appendLimitBytes: number;
  /** Bytes of a zone descriptor extension; 0: none. */
  readonly extensionBytes: number;
  /** Whether a read may cross the end of a zone. */
  readonly readsCrossZones: boolean;

  private constructor(controller: CommandTarget, nsid: number, known: IdentifiedBlocks, shape: ZonedShape) {
    super(controller, nsid, known);
    this.zoneSizeBlocks = shape.zoneSizeBlocks;
    this.zoneCount = Number(this.sizeBlocks / shape.zoneSizeBlocks);
    this.maxOpenZones = shape.maxOpenZones;
    this.maxActiveZones = shape.maxActiveZones;
    this.appendLimitBytes = shape.appendLimitBytes;
    this.extensionBytes = shape.extensionBytes;
    this.readsCrossZones = shape.crossesZones;
  }

  /** @internal Use {@link NvmeController.zonedNamespace}. */
  static override async open(controller: CommandTarget, nsid: number): Promise<ZonedNamespace> {
    const known = await identifyBlocks(controller, nsid);
    for (const quirk of ["cns-0-and-1", "no-namespace-descriptors"] as const) {
      assertNoQuirk(controller, quirk, "Identify of CNS 3, which tells zoned namespaces");
    }
    if ((await commandSetOf(controller, nsid)) !== CommandSet.zoned) {
      throw new UnsupportedError(`namespace ${nsid} is not zoned`);
    }
    const page = await readIdentify(controller, IdentifyCns.namespaceForCommandSet, {
      nsid,
      csi: CommandSet.zoned,
    });
    const { mar, mor, ozcs, lbafe } = identifyZonedNamespace.decode(page);
    const format = lbafe[lbaFormatIndex(known.identify)];
    if (format === undefined || format.zoneSizeBlocks === 0n) {
      throw new UnsupportedError(`namespace ${nsid} reports a zone size of 0 (LBAFE)`);
    }
    const controllerPage = await readIdentify(controller, IdentifyCns.controllerForCommandSet, {
      csi: CommandSet.zoned,
    });
    const { zasl } = identifyZonedController.decode(controllerPage);
    const { maxTransferBytes, capabilities } = controller;
    return new ZonedNamespace(controller, nsid, known, {
      zoneSizeBlocks: format.zoneSizeBlocks,
      extensionBytes: format.extensionBytes,
      maxOpenZones: mor === UNLIMITED ? undefined : mor + 1,
      maxActiveZones: mar === UNLIMITED ? undefined : mar + 1,
      appendLimitBytes:
        zasl === 0 ? maxTransferBytes : Math.min(maxTransferBytes, 2 ** zasl * capabilities.minPageBytes),
      crossesZones: (ozcs & 1) !== 0,
    });
  }

  /**
   * Yields the zones in ascending order. Each zone has the state that it had when its command reported it.
   * @throws ArgumentError, NvmeError, TimeoutError, DeviceGoneError, ClosedError
   */
  zones(options: ZoneReportOptions = {}): AsyncGenerator<Zone, void, void> {
    checkKeys("options", options, ["from", "state", "extensions", "zonesPerReport"]);
    const { from = 0n, state, extensions = false, zonesPerReport } = options;
    checkLba("from", from);
    if (from >= this.sizeBlocks) {
      throw new ArgumentError(
        `from ${from} is past the end of namespace ${this.nsid} (${this.sizeBlocks} blocks)`,
      );
    }
    const filter = filterFor(state);
    const each = ZONE_DESCRIPTOR_BYTES + (extensions ? this.extensionBytes : 0);
    const most = Math.floor((this.controller.maxTransferBytes - ZONE_REPORT_HEADER_BYTES) / each);
    const usual = Math.max(1, Math.floor((DEFAULT_REPORT_BYTES - ZONE_REPORT_HEADER_BYTES) / each));
    const room = checkInteger("zonesPerReport", zonesPerReport ?? Math.min(usual, most), 1, most);
    return this.report(BigInt(from), filter, extensions && this.extensionBytes > 0, room, each);
  }

  /**
   * Counts the zones from a block on.
   * @param state zones in this state only; all by default
   * @throws as zones()
   */
  async countZones(state?: ZoneStateName, from: bigint | number = 0n): Promise<number> {
    checkLba("from", from);
    const filter = filterFor(state);
    const bytes = await this.receive(
      from,
      ZoneReceiveAction.report | (filter << 8),
      ZONE_REPORT_HEADER_BYTES,
    );
    return Number(zoneReportHeader.decode(bytes).zones);
  }

  /** Reads the zone that contains a block. @throws as zones() */
  async zone(lba: bigint | number): Promise<Zone> {
    for await (const zone of this.zones({ from: lba, extensions: true, zonesPerReport: 1 })) return zone;
    throw new ArgumentError(`there is no zone at block ${lba}`);
  }

  /**
   * Writes blocks to a zone. The controller chooses the place.
   * @param zone first block of the zone
   * @returns first block that was written
   * @throws as write(); ArgumentError if the data is longer than `appendLimitBytes`
   */
  async append(zone: bigint | number, source: BlockData, options: IoOptions = {}): Promise<bigint> {
    checkKeys("options", options, ioOptions);
    this.checkZone(zone);
    const { protection } = this;
    const remap = protection?.format.type === 1 ? PIREMAP : 0;
    const limit = this.appendLimitBytes;
    const append = async (data: DmaBuffer | CommandData, given: IoOptions): Promise<bigint> => {
      const command = this.commands.transfer(IoOpcode.zoneAppend, zone, data, given, remap, limit);
      const { dw0, dw1 } = await this.controller.submitIo(command, given);
      return (BigInt(dw1) << 32n) | BigInt(dw0);
    };
    if (!isPlainBytes(source)) return await append(source, options);
    const parts = commandParts(source, options, limit);
    return await throughBounce(this.controller.bounce, parts, false, ([data, metadata]) =>
      append(data ?? [], { ...options, metadata }),
    );
  }

  /** Writes with one outstanding command at a time, because zones are written in order. @throws as readRange() */
  override async writeRange(
    lba: bigint | number,
    source: BlockData,
    options: RangeOptions = {},
  ): Promise<void> {
    await super.writeRange(lba, source, { ...options, depth: 1 });
  }

  /** A stream with one outstanding command at a time, because zones are written in order. */
  override createWriteStream(
    options: WriteStreamOptions = {},
  ): ReturnType<NvmeNamespace["createWriteStream"]> {
    return super.createWriteStream({ ...options, depth: 1 });
  }

  /** @throws UnsupportedError always: a file is written in any order, and zones are not */
  override openFile(): never {
    throw new UnsupportedError(
      `namespace ${this.nsid} is zoned, so it can't be written like a file: use createWriteStream()`,
    );
  }

  /** Opens a zone, or all closed zones. @throws as zones() */
  async openZone(zone: ZoneChoice): Promise<void> {
    await this.act("open", ZoneAction.open, zone);
  }

  /** Closes a zone, or all open zones. @throws as zones() */
  async closeZone(zone: ZoneChoice): Promise<void> {
    await this.act("close", ZoneAction.close, zone);
  }

  /** Makes a zone full, or all open and closed zones. @throws as zones() */
  async finishZone(zone: ZoneChoice): Promise<void> {
    await this.act("finish", ZoneAction.finish, zone);
  }

  /** Empties a zone, or all open, closed and full zones. @throws as zones() */
  async resetZone(zone: ZoneChoice): Promise<void> {
    await this.act("reset", ZoneAction.reset, zone);
  }

  /** Takes a read-only zone, or all read-only zones, offline. @throws as zones() */
  async offlineZone(zone: ZoneChoice): Promise<void> {
    await this.act("offline", ZoneAction.offline, zone);
  }

  /**
   * Writes the descriptor extension of an empty zone. The zone becomes closed.
   * @param extension `extensionBytes` bytes
   * @throws as zones(); UnsupportedError if zones have no extension
   */
  async setZoneExtension(zone: bigint | number, extension: Uint8Array): Promise<void> {
    this.checkZone(zone);
    if (this.extensionBytes === 0) {
      throw new UnsupportedError(`namespace ${this.nsid} has no zone descriptor extensions`);
    }
    if (extension.length !== this.extensionBytes) {
      throw new ArgumentError(`extension must have ${this.extensionBytes} bytes, got ${extension.length}`);
    }
    const command = {
      name: "set zone descriptor extension",
      opcode: IoOpcode.zoneManagementSend,
      nsid: this.nsid,
      ...lbaDwords(zone),
      cdw13: ZoneAction.setExtension,
    };
    await ioWrite(this.controller, command, extension);
  }

  private async *report(
    from: bigint,
    filter: number,
    extended: boolean,
    room: number,
    each: number,
  ): AsyncGenerator<Zone, void, void> {
    const action = extended ? ZoneReceiveAction.extendedReport : ZoneReceiveAction.report;
    for (let next = from; next < this.sizeBlocks; ) {
      const sizeBytes = ZONE_REPORT_HEADER_BYTES + room * each;
      const bytes = await this.receive(next, action | (filter << 8) | ZONE_PARTIAL_REPORT, sizeBytes);
      const count = Math.min(room, Number(zoneReportHeader.decode(bytes).zones));
      for (let i = 0; i < count; i++) {
        const at = ZONE_REPORT_HEADER_BYTES + i * each;
        const zone = this.decode(bytes.subarray(at, at + each), extended);
        // The first report starts with the zone that `from` is in.
        if (zone.lba + this.zoneSizeBlocks <= next) {
          throw new NvmeProtocolError(
            `the zones in a report don't ascend: the controller returned zone ${zone.lba} where zones start at ${next}`,
          );
        }
        next = zone.lba + this.zoneSizeBlocks;
        yield zone;
      }
      if (count < room) return;
    }
  }

  private decode(bytes: Uint8Array, extended: boolean): Zone {
    const { zs, za, zai, zcap, zslba, wp } = zoneDescriptor.decode(bytes);
    return {
      lba: zslba,
      // Unknown states of a later specification count as read-only, because writes may fail.
      state: stateNames.get(zs) ?? "readOnly",
      capacityBlocks: zcap,
      writePointer: wp === NO_WRITE_POINTER || zs === ZoneState.full ? undefined : wp,
      attributes: za,
      attributesInformation: zai,
      extension: extended && (za & ZA_EXTENSION_VALID) !== 0 ? bytes.slice(ZONE_DESCRIPTOR_BYTES) : undefined,
    };
  }

  /** Zone Management Receive. */
  private async receive(lba: bigint | number, cdw13: number, sizeBytes: number): Promise<Uint8Array> {
    const command = {
      name: "zone report",
      opcode: IoOpcode.zoneManagementReceive,
      nsid: this.nsid,
      ...lbaDwords(lba),
      cdw12: sizeBytes / 4 - 1,
      cdw13,
    };
    return await ioRead(this.controller, command, sizeBytes);
  }

  private async act(name: string, action: number, zone: ZoneChoice): Promise<void> {
    const lba = zone === "all" ? 0n : this.checkZone(zone);
    await this.controller.submitIo({
      name: `zone ${name}`,
      opcode: IoOpcode.zoneManagementSend,
      nsid: this.nsid,
      ...lbaDwords(lba),
      cdw13: action | (zone === "all" ? ZONE_SELECT_ALL : 0),
    });
  }

  /** @throws ArgumentError if no zone starts at this block */
  private checkZone(lba: bigint | number): bigint | number {
    checkLba("zone", lba);
    if (lba >= this.sizeBlocks || BigInt(lba) % this.zoneSizeBlocks !== 0n) {
      throw new ArgumentError(
        `no zone starts at block ${lba}: pass a multiple of the zone size, ${this.zoneSizeBlocks} blocks`,
      );
    }
    return lba;
  }
}

/**
 * Whether an active namespace has zones. False if the controller can't say.
 * @throws TimeoutError, DeviceGoneError, ClosedError
 */
export async function hasZones(
  controller: CommandTarget & { readonly capabilities: { readonly css: number } },
  nsid: number,
): Promise<boolean> {
  const isMute = controller.hasQuirk("cns-0-and-1") || controller.hasQuirk("no-namespace-descriptors");
  if (isMute || (controller.capabilities.css & CommandSetSupport.allSupported) === 0) return false;
  try {
    return (await commandSetOf(controller, nsid)) === CommandSet.zoned;
  } catch (error) {
    if (error instanceof NvmeError) return false;
    throw error;
  }
}
