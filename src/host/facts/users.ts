/** Users and groups of a host, and who the process is. */
import { ArgumentError } from "../../core/errors.js";
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

/** A line of /etc/passwd. */
export interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** A line of /etc/group. */
export interface GroupEntry {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

const NUMBER = /^\d{1,10}$/;

/** Parses /etc/passwd. Lines of another form are skipped. Never throws. */
export function parsePasswd(text: string): PasswdEntry[] {
  return text.split("\n").flatMap((line) => {
    const [name = "", , uid = "", gid = ""] = line.split(":");
    return name !== "" && NUMBER.test(uid) && NUMBER.test(gid)
      ? [{ name, uid: Number(uid), gid: Number(gid) }]
      : [];
  });
}

/** Parses /etc/group. Lines of another form are skipped. Never throws. */
export function parseGroup(text: string): GroupEntry[] {
  return text.split("\n").flatMap((line) => {
    const [name = "", , gid = "", members = ""] = line.split(":");
    if (name === "" || !NUMBER.test(gid)) return [];
    return [
      {
        name,
        gid: Number(gid),
        members: members
          .split(",")
          .map((each) => each.trim())
          .filter(Boolean),
      },
    ];
  });
}

/** Users and groups that the host's files name. */
export class HostNames {
  private constructor(
    private readonly passwd: readonly PasswdEntry[],
    private readonly groups: readonly GroupEntry[],
  ) {}

  static read(root: HostRoot): HostNames {
    return new HostNames(
      parsePasswd(root.text("/etc/passwd") ?? ""),
      parseGroup(root.text("/etc/group") ?? ""),
    );
  }

  /** A user's name; the number as text if none is known. */
  user(uid: number): string {
    return this.passwd.find((each) => each.uid === uid)?.name ?? String(uid);
  }

  /** A group's name; the number as text if none is known. */
  groupName(gid: number): string {
    return this.groups.find((each) => each.gid === gid)?.name ?? String(gid);
  }

  /** A group by its name; undefined if /etc/group lacks it. */
  group(name: string): GroupEntry | undefined {
    return this.groups.find((each) => each.name === name);
  }

  /** A user by name or number. @throws ArgumentError: neither /etc/passwd nor the text itself gives a number */
  find(nameOrUid: string): HostUser {
    const entry = this.passwd.find(({ name, uid }) => name === nameOrUid || String(uid) === nameOrUid);
    if (entry === undefined && !NUMBER.test(nameOrUid)) {
      throw new ArgumentError(
        `there is no user ${JSON.stringify(nameOrUid)} in /etc/passwd: give a name from there, or a number`,
      );
    }
    const { name, uid, gid } = entry ?? { name: nameOrUid, uid: Number(nameOrUid), gid: undefined };
    const others = this.groups.filter((each) => each.members.includes(name)).map((each) => each.gid);
    const gids = [...new Set([...(gid === undefined ? [] : [gid]), ...others])];
    return {
      name,
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
        .filter((each) => NUMBER.test(each))
        .map(Number);
    // Real, effective, saved, file system.
    const [, uid = 0] = numbers("Uid");
    const [, gid = 0] = numbers("Gid");
    const gids = [...new Set([gid, ...numbers("Groups")])];
    const [, capabilities = "0"] = /^CapEff:\s*([0-9a-f]{1,16})$/m.exec(status) ?? [];
    return {
      name: this.user(uid),
      uid,
      gids,
      groupNames: gids.map((each) => this.groupName(each)),
      capabilities: new Set(parseCapabilities(capabilities)),
      isThisProcess: true,
    };
  }
}

const ALL_RIGHTS = "ffffffffffffffff";

/** The user whom a report is for. @param wanted name or number; undefined: who runs this process. @throws ArgumentError */
export function readUser(root: HostRoot, names: HostNames, wanted?: string): HostUser {
  const own = names.ofStatus(root.text("/proc/self/status") ?? "");
  if (wanted === undefined || wanted === own.name || wanted === String(own.uid)) return own;
  return names.find(wanted);
}
