/**
 * The memlock limit (RLIMIT_MEMLOCK). It restricts the pinned memory of processes without CAP_IPC_LOCK. The kernel only
 * reports ENOMEM, after it has pinned up to the limit; so mappings are checked against the limit before.
 *
 * Linux 6.6 to 7.3 has two accounts. type1 charges the process (VmLck), which includes mlock. iommufd charges the user: all
 * processes share the account, which can't be read (VmPin is this process's part). In RLIMIT_MODE 1 iommufd charges the
 * process like type1.
 */
import { IovaError } from "../core/errors.js";
import { type MemlockState, memlockState } from "../sys/limits.js";

/** The account that a backend charges. */
export type MemlockAccount = "user" | "process";

/** The part of a mapper that names its account. */
interface Charging {
  readonly extensions?: { memlockAccount?(): MemlockAccount };
}

/** A mapping would exceed, or exceeds, the memlock limit of an unprivileged process. */
export class MemlockError extends IovaError {
  constructor(
    /** Bytes to be mapped. */
    readonly sizeBytes: number,
    /** The limit in bytes. */
    readonly limitBytes: number,
    /** Bytes that this process has charged against it. */
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

/** Bytes mapped since the last check with the kernel, and their limit before the next check. */
let sinceAsked = 0;
let budget = 0;

function used(state: MemlockState, account: MemlockAccount): number {
  return account === "user" ? state.pinnedBytes : state.lockedBytes;
}

/**
 * Checks the limit before a mapping. It asks the kernel only near the limit: most calls are an addition and a comparison.
 * @throws MemlockError
 */
export function assertMemlock(sizeBytes: number, mapper: Charging): void {
  sinceAsked += sizeBytes;
  if (sinceAsked <= budget) return;
  const state = memlockState();
  sinceAsked = sizeBytes;
  if (state.exempt || state.limitBytes === Number.POSITIVE_INFINITY) {
    // Limits and rights can change, but too seldom to check them at every mapping.
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

/** The error for a mapping's ENOMEM if the limit can be the reason; otherwise undefined. */
export function memlockErrorOf(
  cause: unknown,
  sizeBytes: number,
  mapper: Charging,
): MemlockError | undefined {
  const state = memlockState();
  if (state.exempt) return undefined;
  const whose = mapper.extensions?.memlockAccount?.() ?? "process";
  // Only this process's part of a user's account is known; other processes may have used the rest.
  const over = used(state, whose) + sizeBytes > state.limitBytes || whose === "user";
  if (!over || state.limitBytes === Number.POSITIVE_INFINITY) return undefined;
  return new MemlockError(sizeBytes, state.limitBytes, used(state, whose), whose, { cause });
}
