/** Telemetry log pages. */

import { checkInteger, checkKeys } from "../../core/check.js";
import { ArgumentError, StateError, UnsupportedError } from "../../core/errors.js";
import { largestOf } from "../../core/lists.js";
import type { AdminTarget } from "../command/admin-target.js";
import { decodeBits, Lpa } from "../spec/capabilities.js";
import { TELEMETRY_BLOCK_BYTES, type TelemetryHeader, telemetryHeader } from "../spec/log-pages.js";
import { LogPageId } from "../spec/opcodes.js";
import type { LogSource } from "./log-source.js";

/** LSP of the host-initiated log: create the data now. */
const CREATE = 1;
/** Most reads of a log that changes during each of them. */
const ATTEMPTS = 3;
/** Blocks per read. */
const PIECE_BLOCKS = 128;

/** Options of {@link NvmeTelemetry}'s methods. */
export interface TelemetryOptions {
  /** Last data area to read, from area 1 on; 3 by default because area 4 can be very large. */
  readonly areas?: 1 | 2 | 3 | 4 | undefined;
}

/** A telemetry log. Its content is vendor specific. */
export interface Telemetry {
  /** Header of the log. */
  readonly header: TelemetryHeader;
  /** Data areas 1 to the last requested one, without the header. */
  readonly data: Uint8Array;
}

/** Telemetry logs (NVMe Base 2.x, LID 07h and 08h). See {@link NvmeLogs.telemetry}. */
export class NvmeTelemetry {
  constructor(
    private readonly logs: LogSource,
    private readonly target: AdminTarget,
  ) {}

  /**
   * Makes the controller create host-initiated telemetry data, and reads it.
   * @throws UnsupportedError (the controller doesn't have telemetry), StateError (the data changed during each of three
   *   reads), and as NvmeLogs.read()
   */
  async host(options: TelemetryOptions = {}): Promise<Telemetry> {
    return await this.whole(LogPageId.telemetryHost, options, CREATE);
  }

  /** Reads the existing host-initiated telemetry data, without creating new data. @throws as host() */
  async lastHost(options: TelemetryOptions = {}): Promise<Telemetry> {
    return await this.whole(LogPageId.telemetryHost, options, 0);
  }

  /**
   * Reads the controller-initiated telemetry data.
   * @param options rae: retains the event that reported it; cleared by default
   * @throws as host()
   */
  async controller(options: TelemetryOptions & { readonly rae?: boolean } = {}): Promise<Telemetry> {
    const telemetry = await this.whole(LogPageId.telemetryController, options, 0);
    if (options.rae !== true) await this.logs.read(LogPageId.telemetryController, TELEMETRY_BLOCK_BYTES);
    return telemetry;
  }

  private async whole(lid: number, options: TelemetryOptions, lsp: number): Promise<Telemetry> {
    checkKeys("options", options, ["areas", "rae"]);
    const { areas = 3 } = options;
    checkInteger("areas", areas, 1, 4);
    const lpa = decodeBits(this.target.identify.lpa, Lpa);
    if (!lpa.telemetry) throw new UnsupportedError(`${this.target.bdf} doesn't have telemetry logs (LPA)`);
    if (areas === 4 && !lpa.telemetryDataArea4) {
      throw new ArgumentError(
        `${this.target.bdf} doesn't have telemetry data area 4 (LPA): use areas up to 3`,
      );
    }
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      const header = await this.header(lid, attempt === 1 ? lsp : 0);
      const data = await this.data(lid, lastBlock(header, areas));
      const after = await this.header(lid, 0);
      if (generation(lid, after) === generation(lid, header)) return { header, data };
    }
    throw new StateError(`the telemetry of ${this.target.bdf} changed ${ATTEMPTS} times while it was read`);
  }

  private async header(lid: number, lsp: number): Promise<TelemetryHeader> {
    const page = await this.logs.read(lid, TELEMETRY_BLOCK_BYTES, { lsp, rae: true });
    return telemetryHeader.decode(page);
  }

  /** Blocks 1 to `last`: block 0 is the header. */
  private async data(lid: number, last: number): Promise<Uint8Array> {
    const data = new Uint8Array(last * TELEMETRY_BLOCK_BYTES);
    for (let block = 0; block < last; block += PIECE_BLOCKS) {
      const blocks = Math.min(PIECE_BLOCKS, last - block);
      const offset = (1 + block) * TELEMETRY_BLOCK_BYTES;
      const piece = await this.logs.read(lid, blocks * TELEMETRY_BLOCK_BYTES, { offset, rae: true });
      data.set(piece, block * TELEMETRY_BLOCK_BYTES);
    }
    return data;
  }
}

function lastBlock(header: TelemetryHeader, areas: number): number {
  const ends = [header.lastBlock1, header.lastBlock2, header.lastBlock3, header.lastBlock4];
  // The last block of an empty area is that of the area before it, or 0.
  return largestOf(ends.slice(0, areas));
}

function generation(lid: number, header: TelemetryHeader): number {
  return lid === LogPageId.telemetryHost ? header.hostGeneration : header.controllerGeneration;
}
