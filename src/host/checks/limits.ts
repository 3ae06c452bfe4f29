/** Checks of limits and memory: memlock, open files, huge pages. */
import type { HostFacts } from "../facts/facts.js";
import { loginSetting } from "../facts/limit-settings.js";
import type { Finding, Fix } from "./check.js";
import { command, manual } from "./fixes.js";

const MIB = 2 ** 20;
/** A driver's queues and a few buffers fit. */
const LEAST_MEMLOCK = MIB;
/** Programs that move data want more. */
const FAIR_MEMLOCK = 64 * MIB;
const WANTED_MEMLOCK = 4096 * MIB;
/** What systemd and the kernel give to logins where nothing is set. */
const USUAL_MEMLOCK = 8 * MIB;
const LEAST_FILES = 256;

/** A size for people: 8 MiB. */
function size(bytes: number): string {
  if (bytes === Number.POSITIVE_INFINITY) return "unlimited";
  return bytes >= MIB ? `${Math.floor(bytes / MIB)} MiB` : `${Math.floor(bytes / 1024)} KiB`;
}

/** How much memory the user's processes may pin, in bytes, and who says so. */
export function memlockOf(facts: HostFacts): {
  readonly bytes: number;
  readonly found: string;
  readonly where: string;
} {
  const { user, limits, limitSettings } = facts;
  const where = "/proc/self/limits";
  if (user.capabilities.has("CAP_IPC_LOCK"))
    return { bytes: Number.POSITIVE_INFINITY, found: "no limit, by CAP_IPC_LOCK", where };
  const setting = loginSetting(limitSettings, user);
  const own = limits.get("Max locked memory");
  if (user.isThisProcess && own !== undefined) {
    const origin = setting === undefined ? "" : `; logins get ${size(setting.bytes)} by ${setting.where}`;
    return {
      bytes: own.soft,
      found: `${size(own.soft)}, can be raised to ${size(own.hard)}${origin}`,
      where,
    };
  }
  if (setting !== undefined)
    return { bytes: setting.bytes, found: `${size(setting.bytes)} at login`, where: setting.where };
  return {
    bytes: USUAL_MEMLOCK,
    found: `not set for ${user.name}: usually ${size(USUAL_MEMLOCK)}`,
    where: "/etc/security/limits.d",
  };
}

function memlockFix(facts: HostFacts): Fix {
  const { user, container } = facts;
  if (container !== undefined) {
    return manual(
      "start the container with a higher limit",
      "give the container's manager a higher limit, such as --ulimit memlock=-1",
    );
  }
  const line = `${user.spelling.inLimits} - memlock ${WANTED_MEMLOCK / 1024}`;
  return {
    summary: `let ${user.name} pin ${size(WANTED_MEMLOCK)}, from the next login on`,
    steps: [{ kind: "file", path: "/etc/security/limits.d/90-iova.conf", content: `${line}\n` }],
    effect: "login",
  };
}

export function memlock(facts: HostFacts): Finding {
  const { bytes, found, where } = memlockOf(facts);
  if (bytes >= FAIR_MEMLOCK) return { state: "ok", found, where };
  const own = facts.limits.get("Max locked memory");
  const fixes = [memlockFix(facts)];
  if (facts.user.isThisProcess && own !== undefined && own.hard > own.soft) {
    fixes.unshift(manual("raise it in this shell", "ulimit -S -l hard"));
  }
  return { state: isMemlockEnough(facts) ? "warning" : "problem", found, where, fixes };
}

/** Whether a driver can start. */
export function isMemlockEnough(facts: HostFacts): boolean {
  return memlockOf(facts).bytes >= LEAST_MEMLOCK;
}

export function openFiles({ limits, user }: HostFacts): Finding {
  const where = "/proc/self/limits";
  const own = limits.get("Max open files");
  if (!user.isThisProcess || own === undefined)
    return { state: "not-applicable", found: "known of this process only", where };
  const found = `${own.soft}, can be raised to ${own.hard}`;
  return own.soft >= LEAST_FILES
    ? { state: "ok", found, where }
    : { state: "warning", found, where, fixes: [manual("raise it in this shell", "ulimit -S -n hard")] };
}

/** Huge pages of 2 MiB that a driver with some queues and a few MiB of data takes without an IOMMU. */
const WITHOUT_IOMMU = 16;

export function hugePages({ hugePages: { pools, mounts, transparent }, switches }: HostFacts): Finding {
  const where = "/sys/kernel/mm/hugepages";
  const reserved = pools.map(({ pageBytes, total, free, nodes }) => {
    const byNode =
      nodes.length < 2 ? "" : ` (${nodes.map(({ node, total: on }) => `node ${node}: ${on}`).join(", ")})`;
    return `${free} of ${total} pages of ${size(pageBytes)} are free${byNode}`;
  });
  const found = [
    ...(reserved.length === 0 ? ["this kernel has none"] : reserved),
    ...(mounts.length === 0 ? [] : [`mounted on ${mounts.join(", ")}`]),
    `transparent: ${transparent ?? "none"}`,
  ].join("; ");
  if (switches.noiommu !== true || pools.some(({ free }) => free > 0)) return { state: "ok", found, where };
  const set = (count: number): string[] => ["npx", "iova", "hugepages", String(count), "--size", "2M"];
  const before = pools.find(({ pageBytes }) => pageBytes === 2 * MIB)?.total ?? 0;
  const total = before + WITHOUT_IOMMU;
  const steps = [command(set(total), set(before))];
  const fix: Fix = { summary: `reserve ${WITHOUT_IOMMU} more huge pages of 2 MiB`, steps, effect: "now" };
  return { state: "warning", found: `${found}; no-IOMMU mode takes buffers from them`, where, fixes: [fix] };
}
