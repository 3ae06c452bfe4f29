/** How files of a host name a user or a group. */

/** How files of a host name a user or a group. */
export interface Spelling {
  /** What gives it a node in a rule of udev. */
  readonly inRules: string;
}

/** Largest numbers of users and groups of the system. */
export interface SystemIds {
  readonly user: number;
  readonly group: number;
}

/** What systemd is built with, where a distribution doesn't say less. */
const USUAL_MAX = 999;

/** Parses login.defs(5), by which a distribution builds systemd. Never throws. */
export function parseSystemIds(text: string): SystemIds {
  const max = (name: string): number => {
    const [, digits] = new RegExp(`^\\s*${name}\\s+(\\d{1,10})\\s*$`, "m").exec(text) ?? [];
    return Math.min(Number(digits ?? USUAL_MAX), USUAL_MAX);
  };
  return { user: max("SYS_UID_MAX"), group: max("SYS_GID_MAX") };
}

/**
 * How to name a user or a group. systemd 258 ignores a whole rule of udev whose OWNER or GROUP isn't of the system, and later versions
 * warn that they will, so such a rule runs a program. udev starts before a directory can be asked, so numbers stand for its names.
 * @param name undefined if /etc/passwd or /etc/group lacks it
 */
export function spelling(
  kind: "user" | "group",
  id: number,
  name: string | undefined,
  largest: SystemIds,
): Spelling {
  if (id <= largest[kind]) return ofSystem(kind, name ?? String(id));
  return { inRules: `RUN+="/bin/chown ${kind === "user" ? "" : ":"}${id} $devnode"` };
}

/** A user or a group of the system. */
export function ofSystem(kind: "user" | "group", word: string): Spelling {
  return { inRules: `${kind === "user" ? "OWNER" : "GROUP"}="${word}"` };
}
