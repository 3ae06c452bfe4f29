/** QEMU's educational PCI device `edu` in software. */
import * as z from "zod/mini";
import { checkBytes, checkOffset } from "../../core/check.js";
import { GivenOptions, integer } from "../../core/options.js";
import type {
  DeviceHost,
  DeviceMigration,
  DeviceVectors,
  EmulatedBar,
  EmulatedDevice,
} from "../../vfio-user/server/emulated-device.js";
import type { InjectedFault } from "../faults/counter.js";
import { DeviceFaults } from "../faults/device-faults.js";
import type { DeviceFault } from "../faults/options.js";
import { EduFunction } from "./function.js";
import { eduRegisters } from "./registers.js";

/** A fault of {@link EmulatedEdu}, whose registers have the names of QEMU's documentation, such as `interruptStatus`. */
export type EduFault = DeviceFault<typeof eduRegisters.registers>;

/** Options of {@link EmulatedEdu}. */
export interface EduOptions {
  /** Address bits of its DMA engine: 28 by default, as QEMU's. */
  readonly dmaBits?: number | undefined;
  /** Faults that are injected from the start. */
  readonly faults?: readonly EduFault[] | undefined;
}

/**
 * QEMU's educational device, for tutorials and tests without QEMU: registers, a factorial that takes a while, interrupts,
 * and a DMA engine with a buffer of its own.
 */
export class EmulatedEdu implements EmulatedDevice {
  readonly name: string;
  readonly configSpace: Uint8Array;
  readonly vectors: DeviceVectors;
  readonly bars: readonly (EmulatedBar | undefined)[];
  readonly migration?: DeviceMigration;
  private readonly faults = new DeviceFaults(eduRegisters);
  private readonly device: EmulatedDevice;

  /** @throws ConfigError */
  constructor(options: EduOptions = {}) {
    const given = new GivenOptions("edu options", options);
    const dmaBits = given.get("dmaBits", () => integer(12, 52)) ?? 28;
    given.get("faults", () => z.array(z.unknown()));
    given.end();
    this.device = this.faults.device(new EduFunction(dmaBits));
    this.name = this.device.name;
    this.configSpace = this.device.configSpace;
    this.vectors = this.device.vectors;
    this.bars = this.device.bars;
    if (this.device.migration !== undefined) this.migration = this.device.migration;
    for (const fault of options.faults ?? []) this.inject(fault);
  }

  /** Injects a fault, from now on. What it returns counts and removes it. @throws ConfigError */
  inject(fault: EduFault): InjectedFault {
    return this.faults.inject(fault);
  }

  /** Removes all faults, and plugs an unplugged device in again. */
  clearFaults(): void {
    this.faults.clearFaults();
  }

  readConfig(offset: number, target: Uint8Array): void {
    checkOffset("offset", offset);
    checkBytes("target", target);
    this.device.readConfig?.(offset, target);
  }

  connect(host: DeviceHost): void {
    this.device.connect(host);
  }

  disconnect(): void {
    this.device.disconnect();
  }

  reset(): void {
    this.device.reset();
  }

  /** Ends the device. */
  close(): void {
    this.device.close();
  }
}
