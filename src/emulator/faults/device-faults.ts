/** Faults on order for devices in software with declared registers. */
import { checkArray, checkKeys, checkObject } from "../../core/check.js";
import { BusyError } from "../../core/errors.js";
import type { RegisterAccess } from "../../registers/access.js";
import type { RegisterBlock } from "../../registers/block.js";
import type { BlockSpec } from "../../registers/declaration.js";
import type { EmulatedDevice } from "../../vfio-user/server/emulated-device.js";
import type { InjectedFault } from "./counter.js";
import { FaultEngine } from "./engine.js";
import { FaultyAccess } from "./faulty-access.js";
import { FaultyDevice } from "./faulty-device.js";
import type { DeviceFault } from "./options.js";
import { BlockPlace } from "./registers.js";

/** Where a block of registers is in its device. */
export interface DeviceFaultsOptions {
  /** Index of the BAR: 0 by default. */
  readonly bar?: number | undefined;
  /** Where the block starts in the BAR, in bytes: 0 by default. */
  readonly offset?: number | undefined;
}

/**
 * The faults of one device in software. Serve `faults.device(device)` in place of the device, or give a driver in the same
 * process `faults.access(registers.access)`; {@link inject} then orders what goes wrong.
 */
export class DeviceFaults<const D extends BlockSpec> {
  private readonly engine: FaultEngine;
  private readonly bar: number;
  private hasDevice = false;

  /**
   * @param block the declaration that names the registers
   * @throws ArgumentError
   */
  constructor(block: RegisterBlock<D>, options: DeviceFaultsOptions = {}) {
    checkObject("block", block);
    checkObject("registers of the block", block.registers);
    checkKeys("options", options, ["bar", "offset"]);
    const { bar = 0, offset = 0 } = options;
    this.bar = bar;
    this.engine = new FaultEngine(new BlockPlace(block, bar, offset));
  }

  /**
   * Injects a fault, from now on. What it returns counts and removes it.
   * @throws ConfigError (also for a vector that the device lacks), ArgumentError (a field's value doesn't fit); nothing is injected then
   */
  inject(fault: DeviceFault<D>): InjectedFault {
    return this.engine.inject(fault);
  }

  /** Removes all faults, and plugs an unplugged device in again. */
  clearFaults(): void {
    this.engine.clear();
  }

  /**
   * The device with these faults, for `VfioUserServer`. Its BARs can't be mapped, so that faults see each access.
   * @throws ArgumentError (also for a fault of a vector that the device lacks), BusyError if these faults have a device already
   */
  device(device: EmulatedDevice): EmulatedDevice {
    checkObject("device", device);
    checkArray("BARs of the device", device.bars);
    checkObject("vectors of the device", device.vectors);
    if (this.hasDevice)
      throw new BusyError("these faults belong to another device: make a DeviceFaults for each");
    this.engine.belongTo(device.vectors);
    this.hasDevice = true;
    return new FaultyDevice(device, this.engine);
  }

  /** Registers with these faults, for a driver in this process: `block.on(faults.access(registers.access))`. */
  access(access: RegisterAccess): RegisterAccess {
    checkObject("access", access);
    return new FaultyAccess(access, this.engine, this.bar);
  }
}
