/** What TCG Opal keeps on the medium: passwords and locking ranges; and which blocks they lock. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { OPAL_PIN_BYTES } from "../../../nvme/spec/opal/numbers.js";
import { count } from "./state-schema.js";

/** Ranges, with the global one. */
export const OPAL_RANGES = 9;

export const opalState = lazily(() => {
  const pin = z.string().check(z.regex(new RegExp(`^([0-9a-f]{2}){0,${OPAL_PIN_BYTES}}$`)));
  return z.strictObject({
    /** Password of the owner in hexadecimal; null: the first one. */
    sid: z.nullable(pin),
    /** Password of administrator 1 of the Locking SP; null: it isn't active. */
    admin: z.nullable(pin),
    /** By number; the global one is the first. */
    ranges: z
      .array(
        z.strictObject({
          start: count(),
          blocks: count(),
          readLockEnabled: z.boolean(),
          writeLockEnabled: z.boolean(),
          readLocked: z.boolean(),
          writeLocked: z.boolean(),
        }),
      )
      .check(z.length(OPAL_RANGES)),
  });
});
export type OpalState = z.output<ReturnType<typeof opalState>>;
export type OpalRangeState = OpalState["ranges"][number];

/** As it leaves the factory. */
export const factoryOpalState: OpalState = {
  sid: null,
  admin: null,
  ranges: Array.from({ length: OPAL_RANGES }, () => ({
    start: 0,
    blocks: 0,
    readLockEnabled: false,
    writeLockEnabled: false,
    readLocked: false,
    writeLocked: false,
  })),
};

/** Where the state is; the record on the medium has it. */
export interface OpalStore {
  readonly persistent: { readonly opal?: OpalState | undefined };
  /** @returns false if the medium failed */
  persist(changes: { readonly opal: OpalState }): boolean;
}

/** Ranges besides the global one are of this namespace. */
const RANGED_NSID = 1;

const isLocked = (range: OpalRangeState, writes: boolean): boolean =>
  writes ? range.writeLockEnabled && range.writeLocked : range.readLockEnabled && range.readLocked;

/** The locks, as commands meet them. */
export class OpalLocks {
  constructor(private readonly store: OpalStore) {}

  get state(): OpalState {
    return this.store.persistent.opal ?? factoryOpalState;
  }

  /** @returns false if the medium failed */
  change(changes: Partial<OpalState>): boolean {
    return this.store.persist({ opal: { ...this.state, ...changes } });
  }

  /** Whether anything is locked. */
  get hasLocked(): boolean {
    const { admin, ranges } = this.state;
    return admin !== null && ranges.some((range) => isLocked(range, false) || isLocked(range, true));
  }

  /** Whether any of these blocks is locked. */
  refuses(nsid: number, lba: number, blocks: number, writes: boolean): boolean {
    const { admin, ranges } = this.state;
    const [all, ...others] = ranges;
    if (admin === null || all === undefined) return false;
    let free = blocks;
    if (nsid === RANGED_NSID) {
      for (const range of others) {
        const shared = Math.min(lba + blocks, range.start + range.blocks) - Math.max(lba, range.start);
        if (shared <= 0) continue;
        if (isLocked(range, writes)) return true;
        free -= shared;
      }
    }
    return free > 0 && isLocked(all, writes);
  }

  /** The power came: what can be locked, is. */
  powerOn(): void {
    const { admin, ranges } = this.state;
    if (admin === null) return;
    const locked = ranges.map((range) => ({
      ...range,
      readLocked: range.readLockEnabled,
      writeLocked: range.writeLockEnabled,
    }));
    this.change({ ranges: locked });
  }
}
