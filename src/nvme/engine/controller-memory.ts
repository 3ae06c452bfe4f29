/** The memory on a controller, CMB and PMR: enabled at first use, and again after each reset. */
import type { PciDevice } from "../../pci/device.js";
import type { DeviceAddresses } from "../command/device-addresses.js";
import { ControllerMemoryBuffer } from "../memory/cmb.js";
import { PersistentMemoryRegion } from "../memory/pmr.js";
import type { Capabilities } from "../spec/registers.js";

/** CMB and PMR of one controller. */
export class ControllerMemory {
  private cmb: ControllerMemoryBuffer | undefined;
  private pmr: PersistentMemoryRegion | undefined;
  private pmrEnabling: Promise<PersistentMemoryRegion> | undefined;

  constructor(
    private readonly device: PciDevice,
    private readonly capabilities: Capabilities,
    private readonly addresses: DeviceAddresses,
  ) {}

  /** @throws as NvmeController.controllerMemoryBuffer() */
  controllerMemoryBuffer(): ControllerMemoryBuffer {
    this.cmb ??= ControllerMemoryBuffer.enable(this.device, this.capabilities.cmbs, this.addresses);
    return this.cmb;
  }

  /** @throws as NvmeController.persistentMemoryRegion() */
  async persistentMemoryRegion(): Promise<PersistentMemoryRegion> {
    if (this.pmr !== undefined) return this.pmr;
    this.pmrEnabling ??= PersistentMemoryRegion.enable(
      this.device,
      this.capabilities.pmrs,
      this.addresses,
    ).finally(() => {
      this.pmrEnabling = undefined;
    });
    this.pmr = await this.pmrEnabling;
    return this.pmr;
  }

  /** Enables again what was enabled before a reset. The reset may have disabled it. */
  async restore(): Promise<void> {
    this.cmb?.apply();
    await this.pmr?.apply();
  }
}
