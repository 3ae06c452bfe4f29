/**
 * The memlock limit (RLIMIT_MEMLOCK), which the kernel holds against pinned memory of processes without CAP_IPC_LOCK. It
 * says no more than ENOMEM, and after it has pinned all; so mappings are counted against the limit before.
 *
 * Who counts what (Linux 6.6 to 7.3): type1 counts against the process (VmLck), together with mlock. iommufd counts against
 * the user, all of whose processes share one account that can't be read (this process's part is VmPin); or, in
 * RLIMIT_MODE 1, against the process like type1.
 */
import { IovaError } from "../core/errors.js";
import { type MemlockState, memlockState } from "../sys/limits.js";

/** Whose account a backend charges. */
export type MemlockAccount = "user" | "process";

/** A mapper, as far as memlock accounts concern it. */
interface Charging {
  readonly extensions?: { memlockAccount?(): MemlockAccount };
}

/** A mapping would exceed, or exceeds, the memlock limit of an unprivileged process. */
export class MemlockError extends IovaError {
  constructor(
    /** Bytes that were to be mapped. */
    readonly sizeBytes: number,
    /** The limit in bytes. */
    readonly limitBytes: number,
    /** What this process has against it. */
    readonly usedBytes: number,
    account: MemlockAccount,
    options?: ErrorOptions,
  ) {
    const others = account === "user" ? "; all processes of this user share the limit" : "";
    super(
      "ERR_IOVA_MEMLOCK",
      `${sizeBytes} bytes can't be pinned: the memlock limit is ${limitBytes} bytes, of which this process uses ` +
        `${usedBytes}${others}. Raise it: ulimit -l (as root, or within the hard limit), "memlock" in ` +
        "/etc/security/limits.conf, LimitMEMLOCK= of a systemd unit; or give the process CAP_IPC_LOCK",
      options,
    );
  }
}

/** Bytes mapped since the kernel was last asked, and how many may be until it has to be asked again. */
let sinceAsked = 0;
let budget = 0;

function used(state: MemlockState, account: MemlockAccount): number {
  return account === "user" ? state.pinnedBytes : state.lockedBytes;
}

/**
 * Before mapping. Asks the kernel only as the limit comes near: most calls are an addition and a comparison.
 * @throws MemlockError
 */
export function assertMemlock(sizeBytes: number, mapper: Charging): void {
  sinceAsked += sizeBytes;
  if (sinceAsked <= budget) return;
  const state = memlockState();
  sinceAsked = sizeBytes;
  if (state.exempt || state.limitBytes === Number.POSITIVE_INFINITY) {
    // Limits and rights can change, but not so often that every mapping has to look.
    budget = Math.max(sizeBytes, UNLIMITED_BUDGET);
    return;
  }
  const whose = mapper.extensions?.memlockAccount?.() ?? "process";
  const left = state.limitBytes - used(state, whose);
  budget = left / 2;
  if (sizeBytes > left) {
    sinceAsked = 0;
    throw new MemlockError(sizeBytes, state.limitBytes, used(state, whose), whose);
  }
}

const UNLIMITED_BUDGET = 1024 * 1024 * 1024;

/** Explains ENOMEM of a mapping if the limit is the reason; otherwise undefined. */
export function memlockErrorOf(
  cause: unknown,
  sizeBytes: number,
  mapper: Charging,
): MemlockError | undefined {
  const state = memlockState();
  if (state.exempt) return undefined;
  const whose = mapper.extensions?.memlockAccount?.() ?? "process";
  // Of a user's account only this process's part is known; the rest may well have filled it.
  const over = used(state, whose) + sizeBytes > state.limitBytes || whose === "user";
  if (!over || state.limitBytes === Number.POSITIVE_INFINITY) return undefined;
  return new MemlockError(sizeBytes, state.limitBytes, used(state, whose), whose, { cause });
}
