/** What a controller remembers without power, besides its namespaces: a part of the record on the medium. */
import { z } from "zod";
import { lazily } from "../../sys/lazy.js";

/** Results of the Device Self-test log. */
export const SELF_TEST_RESULTS = 20;

export const keptStateSchema = lazily(() =>
  z.strictObject({
    /** Entries of the Device Self-test log, latest first. */
    selfTests: z
      .array(z.string().regex(/^([0-9a-f]{2}){28}$/))
      .max(SELF_TEST_RESULTS)
      .default([]),
  }),
);

export type KeptState = z.output<ReturnType<typeof keptStateSchema>>;

/** Where it is kept. It may be replaced at any time, by the state of another emulator. */
export interface KeptStore {
  readonly kept: KeptState;
  /** Replaces some of it. @returns false where the medium failed */
  keep(changes: Partial<KeptState>): boolean;
}
