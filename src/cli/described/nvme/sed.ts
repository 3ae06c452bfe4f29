/** `iova nvme sed`. */
import { flag, value } from "../description.js";
import { destroys } from "./common.js";

const verbs = ["discover", "initialize", "range", "lock", "unlock", "password", "revert"] as const;
const seen = "others see it in the list of processes";

export const sedDescriptions = {
  sed: {
    ...destroys("sed", "self-encrypting drives of TCG Opal: discover, initialize, lock, ...", {
      text:
        "initialize takes ownership, activates locking, and enables the locks of the whole drive, unlocked. range shows a locking range, " +
        "or sets one up. lock and unlock work on a range. password changes the owner's and the administrator's. revert erases all data. " +
        "All but discover and showing a range change something, and ask or need --yes. A password lost can't be found again.",
      options: {
        key: value("TEXT", `the password, up to 32 bytes; ${seen}`, { short: "k" }),
        keyfile: value("FILE", "a file with the bytes of the password", { short: "g", offer: "file" }),
        "new-key": value("TEXT", `password: the new one; ${seen}`),
        "new-keyfile": value("FILE", "password: a file with the new one", { offer: "file" }),
        range: value("N", "the locking range (default 0: what no other range has)", { short: "r" }),
        "start-block": value("N", "range: its first logical block", { short: "s" }),
        blocks: value("N", "range: how many logical blocks"),
        "read-only": flag("lock and unlock: leave it readable, but not writable"),
        psid: flag("revert: the password is the PSID printed on the drive"),
      },
      example: ["", ""],
    }),
    operands: "discover|... TARGET",
    usage: [
      "discover TARGET",
      "initialize TARGET -g FILE --yes",
      "range TARGET -g FILE [-r N] [-s N --blocks N --yes]",
      "lock | unlock TARGET -g FILE [-r N] [--read-only] --yes",
      "password TARGET -g FILE --new-keyfile FILE --yes",
      "revert TARGET -g FILE [--psid] [--force] --yes",
    ],
    offers: [verbs, "target", "nothing"],
    examples: [
      { command: "iova nvme sed discover 0000:00:03.0", text: "whether it has Opal, and is locked" },
    ],
  },
} as const;
