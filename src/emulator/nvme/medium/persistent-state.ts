/** The persistent state: what survives power-off, besides namespaces. It is a part of the record on the medium. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { integer } from "../../../core/options.js";
import { firmwareResets, revisionPattern } from "./firmware-image.js";
import { opalState } from "./opal-locks.js";
import { powerTable } from "./state-schema.js";

/** Results of the Device Self-test log. */
export const SELF_TEST_RESULTS = 20;
/** Slots of firmware; the first holds the original firmware. */
export const FIRMWARE_SLOTS = 3;
/** Revision of the original firmware. */
const FIRST_REVISION = "1.0";

export const persistentStateSchema = lazily(() => {
  const u8 = integer(0, 0xff);
  const u32 = integer(0, 0xffff_ffff);
  const pairs = z.array(z.tuple([u32, u32])).check(z.maxLength(4096));
  return z.strictObject({
    /** Entries of the Device Self-test log, latest first. */
    selfTests: z
      .array(z.string().check(z.regex(/^([0-9a-f]{2}){28}$/)))
      .check(z.maxLength(SELF_TEST_RESULTS)),
    sanitize: z.strictObject({
      /** A value of SanitizeStatus. */
      status: integer(0, 4),
      cdw10: u32,
      pattern: u32,
      /** Overwrite passes that were completed. */
      passes: integer(0, 16),
      /** The operation failed, and commands are refused. */
      isLocked: z.boolean(),
    }),
    /** Persistent values of features, by id, sensor, vector and namespace. */
    features: z.strictObject({
      ...{ values: pairs, thresholds: pairs, vectors: pairs, errorRecovery: pairs },
      powerTransitions: z.optional(powerTable()),
    }),
    /** Generations of the telemetry logs. */
    telemetry: z.strictObject({ host: u8, controller: u8 }),
    firmware: z.strictObject({
      active: integer(1, FIRMWARE_SLOTS),
      /** The slot that runs after a reset; 0 if that doesn't change. */
      next: integer(0, FIRMWARE_SLOTS),
      slots: z
        .array(
          z.strictObject({
            slot: integer(1, FIRMWARE_SLOTS),
            revision: z.string().check(z.regex(revisionPattern)),
            needs: z.enum(firmwareResets),
          }),
        )
        .check(z.maxLength(FIRMWARE_SLOTS)),
    }),
    /** TCG Opal; absent until it was used. */
    opal: z.optional(opalState()),
  });
});

export type PersistentState = z.output<ReturnType<typeof persistentStateSchema>>;

/** The persistent state of a new controller. */
export const initialState: PersistentState = {
  selfTests: [],
  sanitize: { status: 0, cdw10: 0, pattern: 0, passes: 0, isLocked: false },
  features: { values: [], thresholds: [], vectors: [], errorRecovery: [] },
  telemetry: { host: 0, controller: 0 },
  firmware: { active: 1, next: 0, slots: [{ slot: 1, revision: FIRST_REVISION, needs: "none" }] },
};

/** Stores the persistent state. Another emulator's state can replace it at any time. */
export interface PersistentStore {
  readonly persistent: PersistentState;
  /** Changes parts of it. @returns false if the medium failed */
  persist(changes: Partial<PersistentState>): boolean;
}
