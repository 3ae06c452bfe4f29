/** The two boot partitions: their contents, and which is active. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { BOOT_PARTITION_UNIT_BYTES } from "../../../nvme/spec/registers.js";
import type { RpmbTarget } from "./rpmb-target.js";
import { u1 } from "./state-schema.js";

const ACTIVE = 1 << 31;

/** The part of a migration state that holds the boot partitions. */
export const bootPartitionsState = lazily(() =>
  // Contents without the zeros at their ends, base64.
  z.strictObject({ active: u1(), contents: z.array(z.base64()).check(z.maxLength(2)) }),
);
type BootPartitionsState = z.output<ReturnType<typeof bootPartitionsState>>;

/** Boot partitions. They last as long as the emulator, and move with it. RPMB target 0 can lock them. */
export class BootPartitions {
  active = 0;
  private readonly contents: readonly Uint8Array[];

  /** @param sizeBytes of each */
  constructor(
    readonly sizeBytes: number,
    private readonly rpmb: RpmbTarget | undefined,
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

  /** Replaces the contents of one, whose rest becomes zeros. */
  replace(id: number, image: Uint8Array): void {
    this.contents[id]?.fill(0).set(image);
  }

  whole(id: number): Uint8Array {
    return this.contents[id] ?? new Uint8Array(0);
  }

  save(): BootPartitionsState {
    const contents = this.contents.map((bytes) =>
      Buffer.from(bytes.subarray(0, bytes.findLastIndex((byte) => byte !== 0) + 1)).toString("base64"),
    );
    return { active: this.active, contents };
  }

  load({ active, contents }: BootPartitionsState): void {
    this.active = active;
    for (const [id, text] of contents.entries())
      this.replace(id, Buffer.from(text, "base64").subarray(0, this.sizeBytes));
  }
}
