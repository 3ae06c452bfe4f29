/** /etc/passwd and /etc/group, whose lines getent(1) prints, too. */

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

/** Whether a text is a user's or group's number. */
export function isIdNumber(text: string): boolean {
  return NUMBER.test(text);
}

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
