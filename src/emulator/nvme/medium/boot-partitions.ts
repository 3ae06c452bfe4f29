/** The two boot partitions: their contents, and which is active. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { integer } from "../../../core/options.js";
import { BootPartitionProtection } from "../../../nvme/spec/features.js";
import { BOOT_PARTITION_UNIT_BYTES } from "../../../nvme/spec/registers.js";
import type { RpmbTarget } from "./rpmb-target.js";
import { u1 } from "./state-schema.js";

const ACTIVE = 1 << 31;

const keptFields = () => ({
  active: u1(),
  /** Without the zeros at their ends, base64. */
  contents: z.array(z.base64()).check(z.maxLength(2)),
});
/** The boot partitions in a file beside the medium. */
export const keptBootPartitions = lazily(() => z.strictObject(keptFields()));
type KeptBootPartitions = z.output<ReturnType<typeof keptBootPartitions>>;

const protection = () => integer(BootPartitionProtection.unlocked, BootPartitionProtection.untilPowerCycle);
/** The boot partitions in a migration state. */
export const bootPartitionsState = lazily(() =>
  z.strictObject({ ...keptFields(), protections: z.tuple([protection(), protection()]) }),
);
type BootPartitionsState = z.output<ReturnType<typeof bootPartitionsState>>;

/** Values of BootPartitionProtection, by number of the partition. */
export type Protections = readonly [number, number];
/** After the power was off. */
export const protectedAtPowerUp: Protections = [
  BootPartitionProtection.locked,
  BootPartitionProtection.locked,
];

/** Boot partitions. They move with the emulator. RPMB target 0 locks them where it is there, and else Set Features. */
export class BootPartitions {
  private active = 0;
  private states = protectedAtPowerUp;
  private contents: readonly Uint8Array[];

  /**
   * @param sizeBytes of each
   * @param keep makes a state outlive the emulator; false if that failed
   */
  constructor(
    readonly sizeBytes: number,
    private readonly rpmb: RpmbTarget | undefined,
    private readonly keep: (state: KeptBootPartitions) => boolean,
  ) {
    this.contents = [new Uint8Array(sizeBytes), new Uint8Array(sizeBytes)];
  }

  /** BPINFO without the state of a read: size in 128 KiB, and the active one. */
  get info(): number {
    return (this.sizeBytes / BOOT_PARTITION_UNIT_BYTES) | (this.active === 1 ? ACTIVE : 0);
  }

  isLocked(id: number): boolean {
    if (this.rpmb !== undefined) return this.rpmb.lockedBootPartitions?.[id] === true;
    return this.states[id] !== BootPartitionProtection.unlocked;
  }

  /** Whether RPMB protects the boot partitions. */
  get hasRpmb(): boolean {
    return this.rpmb !== undefined;
  }

  /** What Set Features has set. */
  get protections(): Protections {
    return this.states;
  }

  /** Sets what is asked, unless it is `unchanged`. @returns false if a state lasts until the next power cycle: nothing changed */
  protect([first, second]: Protections): boolean {
    const { unchanged, untilPowerCycle } = BootPartitionProtection;
    const [now, other] = this.states;
    const isPossible = (from: number, to: number): boolean =>
      from !== untilPowerCycle || to === untilPowerCycle || to === unchanged;
    if (!isPossible(now, first) || !isPossible(other, second)) return false;
    this.states = [first === unchanged ? now : first, second === unchanged ? other : second];
    return true;
  }

  /** Replaces the contents of one, whose rest becomes zeros. @returns false if it can't be kept: nothing changed */
  replace(id: number, image: Uint8Array): boolean {
    const contents = this.contents.map((bytes, i) => (i === id ? this.padded(image) : bytes));
    if (!this.keep(stateOf(this.active, contents))) return false;
    this.contents = contents;
    return true;
  }

  /** Makes one the active one. @returns false if it can't be kept: nothing changed */
  activate(id: number): boolean {
    if (!this.keep(stateOf(id, this.contents))) return false;
    this.active = id;
    return true;
  }

  whole(id: number): Uint8Array {
    return this.contents[id] ?? new Uint8Array(0);
  }

  save(): BootPartitionsState {
    const [first, second] = this.states;
    return { ...stateOf(this.active, this.contents), protections: [first, second] };
  }

  /** Whether there is room for saved contents. */
  fits({ contents }: KeptBootPartitions): boolean {
    return contents.every((text) => Buffer.byteLength(text, "base64") <= this.sizeBytes);
  }

  /** Loads a migration state. */
  load(state: BootPartitionsState): void {
    this.restore(state);
    this.states = state.protections;
  }

  /** Loads what a file kept. */
  restore({ active, contents }: KeptBootPartitions): void {
    this.active = active;
    this.contents = this.contents.map((_, id) =>
      this.padded(Buffer.from(contents[id] ?? "", "base64").subarray(0, this.sizeBytes)),
    );
  }

  private padded(image: Uint8Array): Uint8Array {
    const whole = new Uint8Array(this.sizeBytes);
    whole.set(image);
    return whole;
  }
}

const stateOf = (active: number, contents: readonly Uint8Array[]): KeptBootPartitions => ({
  active,
  contents: contents.map((bytes) =>
    Buffer.from(bytes.subarray(0, bytes.findLastIndex((byte) => byte !== 0) + 1)).toString("base64"),
  ),
});
