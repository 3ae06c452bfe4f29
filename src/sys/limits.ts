/** How much memory this process may lock or pin, and how much it has (getrlimit(2), RLIMIT_MEMLOCK; proc(5)). */
import { readFileSync } from "node:fs";

const CAP_IPC_LOCK = 14n;

/** The limit and the current use, as the kernel reports them. */
export interface MemlockState {
  /** Soft limit in bytes; infinity if there is none. */
  readonly limitBytes: number;
  /** Counted per process: mlock, type1, and iommufd in `process` mode (VmLck). */
  readonly lockedBytes: number;
  /** Pinned through iommufd by this process (VmPin). Other processes of the same user aren't visible. */
  readonly pinnedBytes: number;
  /** CAP_IPC_LOCK: the limit doesn't apply. */
  readonly exempt: boolean;
}

export function memlockState(): MemlockState {
  const status = readFileSync("/proc/self/status", "utf8");
  const kib = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? 0);
  const [, capabilities = "0"] = /^CapEff:\s+([0-9a-f]+)$/m.exec(status) ?? [];
  const limits = readFileSync("/proc/self/limits", "utf8");
  const [, limit = "unlimited"] = /^Max locked memory +(\S+)/m.exec(limits) ?? [];
  return {
    limitBytes: limit === "unlimited" ? Number.POSITIVE_INFINITY : Number(limit),
    lockedBytes: kib("VmLck") * 1024,
    pinnedBytes: kib("VmPin") * 1024,
    exempt: ((BigInt(`0x${capabilities}`) >> CAP_IPC_LOCK) & 1n) === 1n,
  };
}
