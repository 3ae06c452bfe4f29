/** What a controller remembers without power, besides its namespaces: a part of the record on the medium. */
import { z } from "zod";
import { lazily } from "../../sys/lazy.js";
import { firmwareResets, revisionPattern } from "./firmware-image.js";

/** Results of the Device Self-test log. */
export const SELF_TEST_RESULTS = 20;

/** Slots of firmware; the first holds what the controller came with. */
export const FIRMWARE_SLOTS = 3;
/** What the controller came with. */
const FIRST_REVISION = "1.0";

const slotNumber = z.int().min(0).max(FIRMWARE_SLOTS);
const u8 = z.int().min(0).max(0xff);
const u32 = z.int().min(0).max(0xffff_ffff);
const pairs = z.array(z.tuple([u32, u32])).max(4096);

export const keptStateSchema = lazily(() =>
  z.strictObject({
    /** Entries of the Device Self-test log, latest first. */
    selfTests: z
      .array(z.string().regex(/^([0-9a-f]{2}){28}$/))
      .max(SELF_TEST_RESULTS)
      .default([]),
    sanitize: z
      .strictObject({
        /** A value of SanitizeStatus. */
        status: z.int().min(0).max(4),
        cdw10: u32,
        pattern: u32,
        /** Overwrite passes that were completed. */
        passes: z.int().min(0).max(16),
        /** It failed, and commands are refused. */
        isLocked: z.boolean(),
      })
      .default({ status: 0, cdw10: 0, pattern: 0, passes: 0, isLocked: false }),
    /** Features that were saved, by id, sensor, vector and namespace. */
    features: z
      .strictObject({ values: pairs, thresholds: pairs, vectors: pairs, errorRecovery: pairs })
      .default({ values: [], thresholds: [], vectors: [], errorRecovery: [] }),
    /** Generations of the telemetry logs. */
    telemetry: z.strictObject({ host: u8, controller: u8 }).default({ host: 0, controller: 0 }),
    firmware: z
      .strictObject({
        active: slotNumber.min(1),
        /** What runs after a reset; 0 for what runs now. */
        next: slotNumber,
        slots: z
          .array(
            z.strictObject({
              slot: slotNumber.min(1),
              revision: z.string().regex(revisionPattern),
              needs: z.enum(firmwareResets),
            }),
          )
          .max(FIRMWARE_SLOTS),
      })
      .default({ active: 1, next: 0, slots: [{ slot: 1, revision: FIRST_REVISION, needs: "none" }] }),
  }),
);

export type KeptState = z.output<ReturnType<typeof keptStateSchema>>;

/** Where it is kept. It may be replaced at any time, by the state of another emulator. */
export interface KeptStore {
  readonly kept: KeptState;
  /** Replaces some of it. @returns false where the medium failed */
  keep(changes: Partial<KeptState>): boolean;
}
