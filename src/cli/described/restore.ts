/** `iova restore`. */
import { json } from "./common.js";
import { describe, flag } from "./description.js";

export const restoreDescription = describe({
  name: "restore",
  operands: "[ID...]",
  summary: "take back what iova doctor --fix and others changed on this host",
  usage: ["[ID...] [--leave] [--dry-run] [--json]", "--list [--json]"],
  text: [
    "Takes recorded changes back, the newest first: files get their previous content, owner and permissions, or are removed; commands are " +
      "undone by others. Without ID, all changes. Needs root. A change that was interrupted, by a power cut for instance, is taken back, too. " +
      "The record is in /var/lib/iova.",
    "A file that somebody has changed since is left as it is, and named; the change stays in the list. --leave forgets it.",
  ],
  offers: ["nothing"],
  options: {
    list: flag("print the recorded changes, and take none back"),
    leave: flag("forget what can't be taken back, and leave it as it is"),
    "dry-run": flag("say what would be done, and do nothing"),
    json,
  },
  examples: [
    { command: "iova restore --list", text: "shows what was changed, and when" },
    { command: "iova restore 3", text: "takes change 3 back" },
    { command: "iova restore --dry-run", text: "shows how everything would be taken back" },
  ],
  statuses: { 1: "failed, or something could not be taken back" },
});
