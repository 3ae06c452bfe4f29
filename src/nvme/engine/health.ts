/** Reads a controller's registers to detect its failure or removal, and stops it. */
import { asError, DeviceGoneError } from "../../core/errors.js";
import type { PciDevice } from "../../pci/device.js";
import { NvmeProtocolError } from "../command/error.js";
import type { ControllerRegisters } from "../memory/registers.js";

/** Offset in configuration space. */
const REVISION_AND_CLASS = 0x08;

/** Detects a removed or failed controller long before its commands time out. */
export class Health {
  constructor(
    private readonly device: PciDevice,
    private readonly registers: ControllerRegisters,
    /** Whether the controller is supposed to be ready (CSTS.RDY). */
    private readonly isLive: () => boolean,
    private readonly onFailure: (error: Error) => void,
  ) {}

  /** Reads CSTS once, and reports a failure. */
  check(): void {
    if (this.registers.isQuiet) return;
    const { bdf } = this.device;
    try {
      const { fatal, ready } = this.registers.state();
      if (fatal) {
        this.onFailure(new NvmeProtocolError(`${bdf} reports a fatal status (CSTS.CFS)`));
      } else if (!ready && this.isLive()) {
        this.onFailure(
          this.isRemoved()
            ? new DeviceGoneError(bdf)
            : new NvmeProtocolError(`${bdf} stopped without a request (CSTS.RDY is 0)`),
        );
      }
    } catch (error) {
      this.onFailure(asError(error));
    }
  }

  /** Some machines read zeros from the BAR of a removed device. Configuration space reads ones on all of them. */
  private isRemoved(): boolean {
    try {
      // VFIO itself answers reads of the ids. Revision and class come from the device.
      return this.device.config.read32(REVISION_AND_CLASS) === 0xffff_ffff;
    } catch {
      return true;
    }
  }
}

/** Ends all DMA: by a reset of the controller or, if that fails, by clearing bus mastering. Never rejects. */
export async function stopController(
  device: PciDevice,
  registers: ControllerRegisters,
  timeoutMs: number,
): Promise<void> {
  try {
    await registers.disable(timeoutMs);
  } catch (error) {
    if (error instanceof DeviceGoneError) return;
    try {
      device.config.busMaster = false;
    } catch {
      // If configuration space doesn't answer either, nothing is left that could write to memory.
    }
  }
}
