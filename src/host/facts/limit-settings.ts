/** Where the memlock limit is set: for logins (limits.conf(5)) and by systemd (systemd-system.conf(5)). */
import { linesOf } from "./lines.js";
import type { HostRoot } from "./root.js";
import type { HostUser } from "./users.js";

/** A line of a configuration file that sets the memlock limit. */
export interface LimitSetting {
  /** File and line. */
  readonly where: string;
  /** `login`: for sessions that PAM starts. `systemd`: for services and the user manager. */
  readonly by: "login" | "systemd";
  /** Whom a login's line is for: a user, `@group` or `*`. Empty for systemd. */
  readonly domain: string;
  readonly which: "soft" | "hard" | "both";
  /** In bytes; infinity for no limit. */
  readonly bytes: number;
}

/** Parses limits.conf: `domain type item value` lines; only memlock's. Never throws. */
export function parseLimitsConf(text: string, path: string): LimitSetting[] {
  return linesOf(text).flatMap((line, i) => {
    const [domain = "", type = "", item = "", value = ""] = line.replace(/#.*/, "").trim().split(/\s+/);
    const bytes = /^(?:unlimited|infinity|-1)$/.test(value)
      ? Number.POSITIVE_INFINITY
      : /^\d{1,15}$/.test(value)
        ? Number(value) * 1024
        : undefined;
    const which = type === "-" ? "both" : type === "soft" || type === "hard" ? type : undefined;
    if (item !== "memlock" || bytes === undefined || which === undefined) return [];
    return [{ where: `${path}:${i + 1}`, by: "login", domain, which, bytes }];
  });
}

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
  T: 2 ** 40,
  P: 2 ** 50,
};

/** A size as systemd writes it: `8M`, `infinity`, `64K:4G` for soft and hard. Never throws. */
export function parseSystemdSize(text: string): { readonly soft: number; readonly hard: number } | undefined {
  const sizes = text.split(":").map((part) => {
    if (part === "infinity") return Number.POSITIVE_INFINITY;
    const [, digits, unit = ""] = /^(\d{1,15})([KMGTP]?)$/.exec(part) ?? [];
    const factor = UNITS[unit];
    return digits === undefined || factor === undefined ? undefined : Number(digits) * factor;
  });
  const [soft, hard = soft] = sizes;
  if (soft === undefined || hard === undefined || sizes.length > 2) return undefined;
  return { soft, hard };
}

/** Parses a file of systemd: `DefaultLimitMEMLOCK=` and `LimitMEMLOCK=`. Never throws. */
export function parseSystemdConf(text: string, path: string): LimitSetting[] {
  return linesOf(text).flatMap((line, i): LimitSetting[] => {
    const [, value = ""] = /^\s*(?:Default)?LimitMEMLOCK\s*=\s*(\S+)$/.exec(line) ?? [];
    const size = parseSystemdSize(value);
    if (size === undefined) return [];
    const common = { where: `${path}:${i + 1}`, by: "systemd", domain: "" } as const;
    return size.soft === size.hard
      ? [{ ...common, which: "both", bytes: size.hard }]
      : [
          { ...common, which: "soft", bytes: size.soft },
          { ...common, which: "hard", bytes: size.hard },
        ];
  });
}

/** Files of systemd that set limits of services and of logins' user managers, with their drop-ins. */
const SYSTEMD_FILES = ["/etc/systemd/system.conf", "/etc/systemd/user.conf"];
const SYSTEMD_DROP_INS = [
  "/etc/systemd/system.conf.d",
  "/etc/systemd/user.conf.d",
  "/etc/systemd/system/user@.service.d",
];

/** All lines that set the memlock limit, in the order in which they are read. */
export function readLimitSettings(root: HostRoot): LimitSetting[] {
  const below = (folder: string): string[] =>
    root
      .names(folder)
      .filter((name) => name.endsWith(".conf"))
      .map((name) => `${folder}/${name}`);
  const login = ["/etc/security/limits.conf", ...below("/etc/security/limits.d")];
  const systemd = [...SYSTEMD_FILES, ...SYSTEMD_DROP_INS.flatMap(below)];
  return [
    ...login.flatMap((path) => parseLimitsConf(root.text(path) ?? "", path)),
    ...systemd.flatMap((path) => parseSystemdConf(root.text(path) ?? "", path)),
  ];
}

/** Whether a range of numbers has one: `1000:1999`, `1000:` for all above, `:1000` for that one. */
function isIn(range: string, ids: readonly number[]): boolean {
  const [, first = "", last = ""] = /^(\d{0,10}):(\d{0,10})$/.exec(range) ?? [];
  if (first === "" && last === "") return false;
  const [from, to] = [Number(first || last), last === "" ? Number.POSITIVE_INFINITY : Number(last)];
  return ids.some((id) => id >= from && id <= to);
}

/**
 * The line that decides a user's hard limit at login: one for the user before one for a group before one for all. Of equal
 * ones, the last.
 */
export function loginSetting(settings: readonly LimitSetting[], user: HostUser): LimitSetting | undefined {
  const fits = (domain: string): number => {
    if (domain === user.name || isIn(domain, [user.uid])) return 3;
    if (
      domain.startsWith("@") &&
      (user.groupNames.includes(domain.slice(1)) || isIn(domain.slice(1), user.gids))
    )
      return 2;
    // limits.conf(5): no line for all or for a group applies to root.
    return domain === "*" && user.uid !== 0 ? 1 : 0;
  };
  let best: LimitSetting | undefined;
  for (const setting of settings) {
    if (setting.by !== "login" || setting.which === "soft") continue;
    const rank = fits(setting.domain);
    if (rank > 0 && rank >= (best === undefined ? 0 : fits(best.domain))) best = setting;
  }
  return best;
}
