/** While a device sleeps an access to a mapped BAR would fault: its BARs are unmapped, and accesses throw. */
import { StateError } from "../core/errors.js";
import type { DeviceIo } from "../vfio/device-io.js";

const sleeps = new WeakMap<DeviceIo, BarSleep>();

/** The sleep of a device, the same for all its BARs. */
export function sleepOf(io: DeviceIo): BarSleep {
  let sleep = sleeps.get(io);
  if (sleep === undefined) {
    sleep = new BarSleep();
    sleeps.set(io, sleep);
  }
  return sleep;
}

/** Only {@link sleepOf} makes one. */
class BarSleep {
  /** The BARs that are mapped, to unmap them. */
  readonly mapped = new Set<{ unmap(): void }>();
  /** D1, D2 or D3hot; undefined in D0. */
  state: string | undefined;
  isLowPower = false;

  /** Unmaps all BARs. They are mapped again at their next access. */
  unmapAll(): void {
    for (const bar of this.mapped) bar.unmap();
    this.mapped.clear();
  }

  get isAsleep(): boolean {
    return this.isLowPower || this.state !== undefined;
  }

  /** @throws StateError while the device sleeps */
  assertAwake(what: string): void {
    if (this.isLowPower)
      throw new StateError(`${what}: the device is in low power; wake it by power.exitLowPower()`);
    if (this.state !== undefined)
      throw new StateError(`${what}: the device is in ${this.state}; wake it by power.state = "D0"`);
  }
}
