/** Power states of a PCI function (PCI Power Management 1.2), and VFIO's low power. */
import { show } from "../core/check.js";
import { ArgumentError, UnsupportedError } from "../core/errors.js";
import { VfioDevice } from "../vfio/device.js";
import type { DeviceIo } from "../vfio/device-io.js";
import { enterLowPower, exitLowPower } from "../vfio/low-power.js";
import { VFIO_PCI_CONFIG_REGION_INDEX } from "../vfio/uapi.js";
import { sleepOf } from "./bar-sleep.js";
import type { ConfigSpace } from "./config-space.js";

/** A power state; the function works in D0 only. */
export type PowerState = "D0" | "D1" | "D2" | "D3hot";

/** By the values of PowerState in the control register. */
const states: readonly PowerState[] = ["D0", "D1", "D2", "D3hot"];
const CAPABILITY_POWER = 0x01;
const CAPABILITIES = 2;
const CONTROL = 4;
const STATE_MASK = 3;
const D1_SUPPORT = 1 << 9;
const D2_SUPPORT = 1 << 10;

/**
 * The power of a PCI function. While it sleeps its BARs are unmapped, and accesses throw a StateError; its configuration space
 * still works. They are mapped again at the first access after it woke. A function that left D3hot may have lost its state, as by
 * a reset.
 */
export class DevicePower {
  /** Offset of the capability; null if there is none, undefined before it was looked for. */
  private at: number | null | undefined;

  /** @internal */
  constructor(
    private readonly io: DeviceIo,
    private readonly config: ConfigSpace,
  ) {}

  /** The states that the function has. @throws ClosedError, SysError */
  get supported(): PowerState[] {
    const at = this.capability();
    if (at === null) return ["D0"];
    const capabilities = this.config.read16(at + CAPABILITIES);
    const lacks = {
      D0: false,
      D1: (capabilities & D1_SUPPORT) === 0,
      D2: (capabilities & D2_SUPPORT) === 0,
      D3hot: false,
    };
    return states.filter((state) => !lacks[state]);
  }

  /** The present state. @throws ClosedError, SysError */
  get state(): PowerState {
    const at = this.capability();
    return (at === null ? undefined : states[this.config.read8(at + CONTROL) & STATE_MASK]) ?? "D0";
  }

  /**
   * Changes the state. Stop what the device does, and close mappings that `bar.map()` made, before it sleeps.
   * @throws ArgumentError, UnsupportedError (the function or its host doesn't take it), StateError (something is mapped),
   *   ClosedError, SysError
   */
  set state(wanted: PowerState) {
    if (!states.includes(wanted))
      throw new ArgumentError(`state must be one of ${states.join(", ")}, got ${show(wanted)}`);
    const { io, supported } = this;
    if (!supported.includes(wanted))
      throw new UnsupportedError(`${io.lease.label} has no ${wanted}, only ${supported.join(", ")}`);
    const at = this.capability();
    if (at === null) return;
    if (wanted !== "D0") this.unmap(`entering ${wanted}`);
    const control = this.config.read8(at + CONTROL);
    // By one byte: the next one has bits that a 1 clears. ConfigSpace refuses sleep, which it can't make safe.
    const next = Uint8Array.of((control & ~STATE_MASK) | states.indexOf(wanted));
    io.writeRegion(VFIO_PCI_CONFIG_REGION_INDEX, at + CONTROL, next);
    const now = this.state;
    sleepOf(io).state = now === "D0" ? undefined : now;
    if (now !== wanted) throw new UnsupportedError(`${io.lease.label} stays in ${now} when ${wanted} is set`);
  }

  /** Whether {@link enterLowPower} is in effect. */
  get isLowPower(): boolean {
    return sleepOf(this.io).isLowPower;
  }

  /**
   * Lets the host put the device into its lowest power (Linux 6.1). Accesses to configuration space wake it for a moment.
   * @throws UnsupportedError, StateError (something is mapped), SysError: EINVAL if it is in low power already
   */
  enterLowPower(): void {
    const { io } = this;
    const device = this.lowPowerDevice();
    this.unmap("entering low power");
    enterLowPower(device);
    sleepOf(io).isLowPower = true;
  }

  /** Wakes the device and keeps it awake. Does nothing if it is awake. @throws UnsupportedError, SysError */
  exitLowPower(): void {
    exitLowPower(this.lowPowerDevice());
    sleepOf(this.io).isLowPower = false;
  }

  /**
   * After a reset, which wakes a function.
   * @internal
   */
  settle(): void {
    const sleep = sleepOf(this.io);
    if (sleep.state === undefined) return;
    const { state } = this;
    sleep.state = state === "D0" ? undefined : state;
  }

  private unmap(doing: string): void {
    const { io } = this;
    sleepOf(io).unmapAll();
    if (io instanceof VfioDevice) io.assertNothingMapped(doing);
  }

  private lowPowerDevice(): VfioDevice {
    const { io } = this;
    io.lease.assertOpen();
    if (io instanceof VfioDevice) return io;
    throw new UnsupportedError(
      `${io.lease.label} has no low power: only devices of the kernel's VFIO have it`,
    );
  }

  private capability(): number | null {
    this.at ??= this.config.capabilities().find(({ id }) => id === CAPABILITY_POWER)?.offset ?? null;
    return this.at;
  }
}
