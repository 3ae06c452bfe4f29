/** Users and groups of a host, and who the process is. */
import { show } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { type GroupEntry, isIdNumber, type PasswdEntry, parseGroup, parsePasswd } from "../names/files.js";
import { NameService } from "../names/service.js";
import { parseSystemIds, type Spelling, type SystemIds, spelling } from "../names/spelling.js";
import type { HostRoot } from "./root.js";

/** Rights of root that the library's work depends on (capabilities(7), linux/capability.h). */
const bits = {
  CAP_DAC_OVERRIDE: 1,
  CAP_IPC_LOCK: 14,
  CAP_SYS_MODULE: 16,
  CAP_SYS_RAWIO: 17,
  CAP_SYS_ADMIN: 21,
  CAP_SYS_RESOURCE: 24,
} as const;

/** A right of root that the library's work depends on. */
export type Capability = keyof typeof bits;

const rights = Object.keys(bits) as readonly Capability[];

/** Which of them a mask has, as /proc/self/status prints it. Never throws. @param hex up to 16 digits */
export function parseCapabilities(hex: string): Capability[] {
  if (!/^[0-9a-f]{1,16}$/i.test(hex)) return [];
  const mask = BigInt(`0x${hex}`);
  return rights.filter((name) => ((mask >> BigInt(bits[name])) & 1n) === 1n);
}

/** A user whom the report is for. */
export interface HostUser {
  /** The number as text if no name is known. */
  readonly name: string;
  /** How files name the user. */
  readonly spelling: Spelling;
  readonly uid: number;
  /** The main group, then all others. */
  readonly gids: readonly number[];
  /** Names of {@link gids}, where known. */
  readonly groupNames: readonly string[];
  /** Rights of root that the user's processes have. */
  readonly capabilities: ReadonlySet<Capability>;
  /** Whether this process runs as that user, so that its own limits are the user's. */
  readonly isThisProcess: boolean;
}

/** A group that the host knows. */
export interface HostGroup extends GroupEntry {
  /** How files name it. */
  readonly spelling: Spelling;
}

/** Users and groups that the host knows: those of its files, and on this host those of a directory. */
export class HostNames {
  private constructor(
    private readonly passwd: readonly PasswdEntry[],
    private readonly groups: readonly GroupEntry[],
    private readonly systemIds: SystemIds,
    private readonly service: NameService | undefined,
  ) {}

  /** @param service what is asked beyond the files; by default this host's, or nothing for the files of another host */
  static read(root: HostRoot, service = root.isLive ? new NameService() : undefined): HostNames {
    return new HostNames(
      parsePasswd(root.text("/etc/passwd") ?? ""),
      parseGroup(root.text("/etc/group") ?? ""),
      parseSystemIds(root.text("/etc/login.defs") ?? root.text("/usr/etc/login.defs") ?? ""),
      service,
    );
  }

  /** A user's name; the number as text if none is known. */
  user(uid: number): string {
    const known = this.passwd.find((each) => each.uid === uid) ?? this.service?.user(String(uid));
    return known?.name ?? String(uid);
  }

  /** A group's name; the number as text if none is known. */
  groupName(gid: number): string {
    const known = this.groups.find((each) => each.gid === gid) ?? this.service?.group(String(gid));
    return known?.name ?? String(gid);
  }

  /** A group by its name; undefined if there is none. */
  group(name: string): HostGroup | undefined {
    const local = this.groups.find((each) => each.name === name);
    const known = local ?? this.service?.group(name);
    // A number finds one, too.
    if (known?.name !== name) return undefined;
    return { ...known, spelling: spelling("group", known.gid, local?.name, this.systemIds) };
  }

  private userSpelling(uid: number): Spelling {
    return spelling("user", uid, this.passwd.find((each) => each.uid === uid)?.name, this.systemIds);
  }

  /** What to throw for a name that isn't known. */
  unknown(kind: "user" | "group", name: string, advice: string): Error {
    if (this.service?.failure !== undefined) return this.service.failure;
    const file = kind === "user" ? "/etc/passwd" : "/etc/group";
    const places = this.service === undefined ? `in ${file}` : `in ${file} or known to getent`;
    return new ArgumentError(`there is no ${kind} ${show(name)} ${places}: ${advice}`);
  }

  /**
   * A user by name or number.
   * @throws ArgumentError: neither the host nor the text itself gives a number; TimeoutError: the host's directory doesn't answer
   */
  find(nameOrUid: string): HostUser {
    const local = this.passwd.find(({ name, uid }) => name === nameOrUid || String(uid) === nameOrUid);
    const entry = local ?? this.service?.user(nameOrUid);
    if (entry === undefined && !isIdNumber(nameOrUid))
      throw this.unknown("user", nameOrUid, "give the name of one, or a number");
    const { name, uid, gid } = entry ?? { name: nameOrUid, uid: Number(nameOrUid), gid: undefined };
    const others = this.groups.filter((each) => each.members.includes(name)).map((each) => each.gid);
    const known = entry === undefined ? undefined : this.service?.groupIds(name);
    const gids = [...new Set([...(gid === undefined ? [] : [gid]), ...(known ?? others)])];
    return {
      name,
      spelling: this.userSpelling(uid),
      uid,
      gids,
      groupNames: gids.map((each) => this.groupName(each)),
      capabilities: uid === 0 ? new Set(parseCapabilities(ALL_RIGHTS)) : new Set(),
      isThisProcess: false,
    };
  }

  /** The user of this process, by its /proc/self/status. */
  ofStatus(status: string): HostUser {
    const numbers = (name: string): number[] =>
      (new RegExp(`^${name}:\\s*(.*)$`, "m").exec(status)?.[1] ?? "")
        .split(/\s+/)
        .filter(isIdNumber)
        .map(Number);
    // Real, effective, saved, file system.
    const [, uid = 0] = numbers("Uid");
    const [, gid = 0] = numbers("Gid");
    const gids = [...new Set([gid, ...numbers("Groups")])];
    const [, capabilities = "0"] = /^CapEff:\s*([0-9a-f]{1,16})$/m.exec(status) ?? [];
    return {
      name: this.user(uid),
      spelling: this.userSpelling(uid),
      uid,
      gids,
      groupNames: gids.map((each) => this.groupName(each)),
      capabilities: new Set(parseCapabilities(capabilities)),
      isThisProcess: true,
    };
  }
}

const ALL_RIGHTS = "ffffffffffffffff";

/** The user whom a report is for. @param wanted name or number; undefined: who runs this process. @throws as find() */
export function readUser(root: HostRoot, names: HostNames, wanted?: string): HostUser {
  const own = names.ofStatus(root.text("/proc/self/status") ?? "");
  if (wanted === undefined || wanted === own.name || wanted === String(own.uid)) return own;
  return names.find(wanted);
}
