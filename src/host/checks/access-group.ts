/** The group that advice gives nodes to, and how each distribution makes it and adds a user. */
import type { Distribution } from "../facts/distribution.js";
import { ofSystem } from "../names/spelling.js";
import type { CommandStep } from "./check.js";
import { command } from "./fixes.js";

export const ACCESS_GROUP = "iova";
/** How files name it while it is yet to be made. */
export const MADE_GROUP = ofSystem("group", ACCESS_GROUP);

/** Makes the group. */
export function makeGroup({ family }: Distribution): CommandStep {
  return family === "alpine"
    ? command(["addgroup", "-S", ACCESS_GROUP], ["delgroup", ACCESS_GROUP])
    : command(["groupadd", "--system", ACCESS_GROUP], ["groupdel", ACCESS_GROUP]);
}

/** Adds a user to the group. usermod(8) takes no users of a directory on some distributions. */
export function joinGroup({ family }: Distribution, user: string): CommandStep {
  return family === "alpine"
    ? command(["addgroup", user, ACCESS_GROUP], ["delgroup", user, ACCESS_GROUP])
    : command(["gpasswd", "--add", user, ACCESS_GROUP], ["gpasswd", "--delete", user, ACCESS_GROUP]);
}
