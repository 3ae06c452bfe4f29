/** Statistics of the 82576 (82576 datasheet, section 8.19). */
import type { PciDevice } from "iova";
import type { RegistersOf } from "iova/pci";
import { igbCounters } from "./registers.js";

/** Counts since the start of the driver. Bytes include the four of each frame's CRC. */
export type Statistics = Readonly<Record<keyof typeof igbCounters.registers, number>>;

/** Sums up the device's counters, which reading clears and which stop at their highest value. */
export class Counters {
  private readonly counters: RegistersOf<typeof igbCounters.registers>;
  private readonly names: readonly (keyof Statistics)[];
  private readonly sums = new Map<keyof Statistics, number>();

  constructor(device: PciDevice) {
    this.counters = igbCounters.on(device.bar(0));
    // Object.keys() gives the names that were declared.
    this.names = Object.keys(igbCounters.registers) as (keyof Statistics)[];
  }

  /** Forgets what was counted until now. */
  clear(): void {
    this.read();
    this.sums.clear();
  }

  /** @throws as register accesses */
  read(): Statistics {
    const { sums } = this;
    for (const name of this.names) sums.set(name, (sums.get(name) ?? 0) + Number(this.counters[name].read()));
    // The map has a number for each of the names.
    return Object.fromEntries(sums) as Statistics;
  }
}
