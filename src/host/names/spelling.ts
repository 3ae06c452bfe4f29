/** How files of a host name a user or a group. */

/** How files of a host name a user or a group. */
export interface Spelling {
  /** Its name if that means nothing else anywhere, or its number: a word for names of files. */
  readonly word: string;
  /** Who it is in limits.conf(5). */
  readonly inLimits: string;
  /** What gives it a node in a rule of udev. */
  readonly inRules: string;
}

/** Largest numbers of users and groups of the system. */
export interface SystemIds {
  readonly user: number;
  readonly group: number;
}

/** Names that can't end a word of a file, nor stand for something else in it. */
const PLAIN = /^[a-z_][a-z0-9_.-]{0,31}$/i;

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
 * warn that they will, so such a rule runs a program. udev starts before a directory can be asked, so numbers stand for its names, and for names with
 * characters that mean something in a file.
 * @param local its name, if /etc/passwd or /etc/group has it
 */
export function spelling(
  kind: "user" | "group",
  id: number,
  local: string | undefined,
  largest: SystemIds,
): Spelling {
  const name = local !== undefined && PLAIN.test(local) ? local : undefined;
  const inLimits = `${kind === "user" ? "" : "@"}${name ?? `:${id}`}`;
  const word = name ?? String(id);
  if (id <= largest[kind]) return { ...ofSystem(kind, word), inLimits };
  return { word, inLimits, inRules: `RUN+="/bin/chown ${kind === "user" ? "" : ":"}${id} $devnode"` };
}

/** A user or a group of the system. @param word a plain name, or a number */
export function ofSystem(kind: "user" | "group", word: string): Spelling {
  return kind === "user"
    ? { word, inLimits: word, inRules: `OWNER="${word}"` }
    : { word, inLimits: `@${word}`, inRules: `GROUP="${word}"` };
}
