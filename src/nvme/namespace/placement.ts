/** Flexible Data Placement of a namespace: its reclaim unit handles. */
import { checkInteger, checkList } from "../../core/check.js";
import { ArgumentError, UnsupportedError } from "../../core/errors.js";
import { IoOpcode } from "../spec/opcodes.js";
import { RECLAIM_UNIT_HANDLES, reclaimUnitHandle, reclaimUnitHeader } from "../spec/placement.js";
import { type CommandTarget, ioRead, ioWrite } from "./command-target.js";

/** CTRATT: flexible data placement. */
const CTRATT_FDP = 1 << 19;
const MAX_IDENTIFIERS = 65_536;

/** A reclaim unit handle: the destination of writes with one placement identifier. */
export interface ReclaimUnitHandle {
  /** Placement identifier: the value of a write's `placement` option. */
  readonly placement: number;
  /** Reclaim unit handle identifier. */
  readonly handle: number;
  /** Estimated time for which the reclaim unit stays active, in seconds; 0: not reported. */
  readonly activeSeconds: number;
  /** Number of blocks that can still be written to the reclaim unit. */
  readonly availableBlocks: bigint;
}

/**
 * Flexible data placement (NVMe Base 2.1, section "Flexible Data Placement"): writes with the same placement identifier are
 * stored together on the medium. All methods throw UnsupportedError if the controller lacks it, and NvmeError,
 * TimeoutError, DeviceGoneError, ClosedError.
 */
export class NvmePlacement {
  constructor(
    private readonly controller: CommandTarget,
    private readonly nsid: number,
  ) {}

  /** The namespace's reclaim unit handles (I/O Management Receive). */
  async handles(): Promise<ReclaimUnitHandle[]> {
    this.assertSupported();
    for (let room = 16; ; room *= 4) {
      const sizeBytes = reclaimUnitHeader.sizeBytes + room * reclaimUnitHandle.sizeBytes;
      const command = {
        name: "I/O management receive (reclaim unit handle status)",
        opcode: IoOpcode.ioManagementReceive,
        nsid: this.nsid,
        cdw10: RECLAIM_UNIT_HANDLES,
        cdw11: sizeBytes / 4 - 1,
      };
      const bytes = await ioRead(this.controller, command, sizeBytes);
      const { nruhsd } = reclaimUnitHeader.decode(bytes);
      if (nruhsd > room) continue;
      return Array.from({ length: nruhsd }, (_, i) => {
        const at = reclaimUnitHeader.sizeBytes + i * reclaimUnitHandle.sizeBytes;
        const { pid, ruhid, earutr, ruamw } = reclaimUnitHandle.decode(bytes.subarray(at));
        return { placement: pid, handle: ruhid, activeSeconds: earutr, availableBlocks: ruamw };
      });
    }
  }

  /**
   * Moves each handle to an empty reclaim unit (I/O Management Send).
   * @param placements placement identifiers, 1 to 65536
   * @throws ArgumentError if `placements` is empty, too long for one command, or has an invalid identifier
   */
  async update(placements: readonly number[]): Promise<void> {
    this.assertSupported();
    checkList("placements", placements, 1, MAX_IDENTIFIERS);
    const bytes = new Uint8Array(placements.length * 2);
    const view = new DataView(bytes.buffer);
    for (const [i, one] of placements.entries()) {
      view.setUint16(2 * i, checkInteger("placement", one, 0, 0xffff), true);
    }
    if (bytes.length > this.controller.maxTransferBytes) {
      throw new ArgumentError(
        `placements.length ${placements.length} is too large: one command transfers at most ${this.controller.maxTransferBytes} bytes`,
      );
    }
    const command = {
      name: "I/O management send (reclaim unit handle update)",
      opcode: IoOpcode.ioManagementSend,
      nsid: this.nsid,
      cdw10: (RECLAIM_UNIT_HANDLES | ((placements.length - 1) << 16)) >>> 0,
    };
    await ioWrite(this.controller, command, bytes);
  }

  private assertSupported(): void {
    const { bdf, identify } = this.controller;
    if ((identify.ctratt & CTRATT_FDP) === 0) {
      throw new UnsupportedError(`${bdf} doesn't support Flexible Data Placement (CTRATT)`);
    }
  }
}
