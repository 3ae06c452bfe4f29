import { checkInteger } from "../../core/check.js";
import { ArgumentError, UnsupportedError } from "../../core/errors.js";
import { IoOpcode } from "../spec/opcodes.js";
import { reclaimUnitHandle, reclaimUnitHeader } from "../spec/placement.js";
import type { CommandTarget } from "./command-target.js";

/** CTRATT: flexible data placement. */
const CTRATT_FDP = 1 << 19;
/** Management operation (MO) of I/O Management Receive and Send: status, and update, of reclaim unit handles. */
const RECLAIM_UNIT_HANDLES = 1;
const MAX_IDENTIFIERS = 65_536;

/** Where writes with one placement identifier go. */
export interface ReclaimUnitHandle {
  /** What a write's `placement` option takes. */
  readonly placement: number;
  readonly handle: number;
  /** Estimated time the reclaim unit stays active, in seconds; 0 where the controller doesn't say. */
  readonly activeSeconds: number;
  /** Blocks that still fit the reclaim unit. */
  readonly availableBlocks: bigint;
}

/**
 * Flexible data placement (NVMe Base 2.1, section "Flexible Data Placement"): writes that name the same placement lie
 * together on the medium. All methods throw UnsupportedError where the controller has none, and NvmeError, TimeoutError,
 * DeviceGoneError, ClosedError.
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
      const buffer = this.controller.dma.alloc(sizeBytes);
      try {
        await this.controller.submitIo({
          name: "I/O management receive (reclaim unit handle status)",
          opcode: IoOpcode.ioManagementReceive,
          nsid: this.nsid,
          cdw10: RECLAIM_UNIT_HANDLES,
          cdw11: sizeBytes / 4 - 1,
          data: { buffer },
        });
        const { bytes } = buffer;
        const { nruhsd } = reclaimUnitHeader.decode(bytes);
        if (nruhsd > room) continue;
        return Array.from({ length: nruhsd }, (_, i) => {
          const at = reclaimUnitHeader.sizeBytes + i * reclaimUnitHandle.sizeBytes;
          const { pid, ruhid, earutr, ruamw } = reclaimUnitHandle.decode(bytes.subarray(at));
          return { placement: pid, handle: ruhid, activeSeconds: earutr, availableBlocks: ruamw };
        });
      } finally {
        buffer.close();
      }
    }
  }

  /**
   * Lets the handles go on to an empty reclaim unit (I/O Management Send).
   * @param placements 1 to 65536 of them
   * @throws ArgumentError
   */
  async update(placements: readonly number[]): Promise<void> {
    this.assertSupported();
    checkInteger("placements.length", placements.length, 1, MAX_IDENTIFIERS);
    const bytes = new Uint8Array(placements.length * 2);
    const view = new DataView(bytes.buffer);
    for (const [i, one] of placements.entries()) {
      view.setUint16(2 * i, checkInteger("placement", one, 0, 0xffff), true);
    }
    if (bytes.length > this.controller.maxTransferBytes) {
      throw new ArgumentError(`${placements.length} placements are more than one command can carry here`);
    }
    const buffer = this.controller.dma.alloc(bytes.length);
    try {
      buffer.bytes.set(bytes);
      await this.controller.submitIo({
        name: "I/O management send (reclaim unit handle update)",
        opcode: IoOpcode.ioManagementSend,
        nsid: this.nsid,
        cdw10: (RECLAIM_UNIT_HANDLES | ((placements.length - 1) << 16)) >>> 0,
        data: { buffer },
      });
    } finally {
      buffer.close();
    }
  }

  private assertSupported(): void {
    const { bdf, identify } = this.controller;
    if ((identify.ctratt & CTRATT_FDP) === 0) {
      throw new UnsupportedError(`the controller ${bdf} has no flexible data placement (CTRATT)`);
    }
  }
}
