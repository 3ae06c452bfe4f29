/** The two boot partitions: their contents, and which is active. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { BOOT_PARTITION_UNIT_BYTES } from "../../../nvme/spec/registers.js";
import type { RpmbTarget } from "./rpmb-target.js";
import { u1 } from "./state-schema.js";

const ACTIVE = 1 << 31;

/** The boot partitions in a migration state, and in a file beside the medium. */
export const bootPartitionsState = lazily(() =>
  // Contents without the zeros at their ends, base64.
  z.strictObject({ active: u1(), contents: z.array(z.base64()).check(z.maxLength(2)) }),
);
type BootPartitionsState = z.output<ReturnType<typeof bootPartitionsState>>;

/** Boot partitions. They move with the emulator. RPMB target 0 can lock them. */
export class BootPartitions {
  private active = 0;
  private contents: readonly Uint8Array[];

  /**
   * @param sizeBytes of each
   * @param keep makes a state outlive the emulator; false if that failed
   */
  constructor(
    readonly sizeBytes: number,
    private readonly rpmb: RpmbTarget | undefined,
    private readonly keep: (state: BootPartitionsState) => boolean,
  ) {
    this.contents = [new Uint8Array(sizeBytes), new Uint8Array(sizeBytes)];
  }

  /** BPINFO without the state of a read: size in 128 KiB, and the active one. */
  get info(): number {
    return (this.sizeBytes / BOOT_PARTITION_UNIT_BYTES) | (this.active === 1 ? ACTIVE : 0);
  }

  isLocked(id: number): boolean {
    return this.rpmb?.lockedBootPartitions?.[id] === true;
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
    return stateOf(this.active, this.contents);
  }

  /** Whether there is room for saved contents. */
  fits({ contents }: BootPartitionsState): boolean {
    return contents.every((text) => Buffer.byteLength(text, "base64") <= this.sizeBytes);
  }

  load({ active, contents }: BootPartitionsState): void {
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

const stateOf = (active: number, contents: readonly Uint8Array[]): BootPartitionsState => ({
  active,
  contents: contents.map((bytes) =>
    Buffer.from(bytes.subarray(0, bytes.findLastIndex((byte) => byte !== 0) + 1)).toString("base64"),
  ),
});
