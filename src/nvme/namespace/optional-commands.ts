/** What the controller of a namespace can do, and prefers: optional commands and stripes. */
import { UnsupportedError } from "../../core/errors.js";
import type { IdentifyNamespace } from "../spec/identify.js";
import type { CommandTarget } from "./command-target.js";

/** Optional NVM commands: bits of Identify Controller, ONCS. */
const optionalCommands = {
  Compare: 1 << 0,
  "Write Uncorrectable": 1 << 1,
  "Dataset Management": 1 << 2,
  "Write Zeroes": 1 << 3,
  Verify: 1 << 7,
  Copy: 1 << 8,
} as const;

/** In the vendor's part of Identify Controller, Intel: log2 of the stripe in pages of CAP.MPSMIN. */
const STRIPE_AT = 3;

/** @throws UnsupportedError if the controller lacks the command */
export function assertOptional({ bdf, identify }: CommandTarget, name: keyof typeof optionalCommands): void {
  if ((identify.oncs & optionalCommands[name]) === 0) {
    throw new UnsupportedError(`the controller ${bdf} has no ${name} command (ONCS)`);
  }
}

/** Whether a controller without Write Zeroes has the quirk `deallocate-zeroes`. */
export function deallocatesInstead(controller: CommandTarget): boolean {
  const hasCommand = (controller.identify.oncs & optionalCommands["Write Zeroes"]) !== 0;
  return !hasCommand && controller.hasQuirk("deallocate-zeroes");
}

/** Quirk `stripe`: blocks of a stripe, which no command of a longer transfer crosses; 0: none. */
export function stripeBlocks(
  controller: CommandTarget,
  { noiob }: IdentifyNamespace,
  blockSizeBytes: number,
): number {
  if (!controller.hasQuirk("stripe")) return 0;
  if (noiob > 0) return noiob;
  const exponent = controller.identify.vs[STRIPE_AT] ?? 0;
  return exponent === 0 ? 0 : (2 ** exponent * controller.capabilities.minPageBytes) / blockSizeBytes;
}
