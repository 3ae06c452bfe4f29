/** `iova nvme rpmb`. */
import { value } from "../description.js";
import { changes } from "./common.js";

/** What --cmd can be. */
export const rpmbActions = [
  "info",
  "program-key",
  "read-counter",
  "write-data",
  "read-data",
  "write-config",
  "read-config",
] as const;

export const rpmbDescriptions = {
  rpmb: changes("rpmb", "the Replay Protected Memory Block: key, counter, authenticated data", {
    needs: "-c ACTION",
    text: "A key can be programmed once, and never changes. With a key, reads check that the controller answered.",
    options: {
      cmd: value("ACTION", `${rpmbActions.join(", ")} (default info)`, { short: "c", offer: rpmbActions }),
      target: value("N", "RPMB target, 0 to 6 (default 0)", { short: "t" }),
      key: value(
        "KEY",
        "the key: 32 characters, or 64 hexadecimal digits; others see it in the list of processes",
        {
          short: "k",
        },
      ),
      keyfile: value("FILE", "a file with the 32 bytes of the key", { short: "g", offer: "file" }),
      msg: value("TEXT", "data to write", { short: "d" }),
      msgfile: value("FILE", "data to write, or where data that is read goes", { short: "f", offer: "file" }),
      address: value("N", "first sector of 512 bytes (default 0)", { short: "o" }),
      blocks: value("N", "how many sectors (default when writing: all of the data)", { short: "b" }),
    },
    example: ["-c read-data -b 1 -g key.bin", "reads the first sector of target 0"],
  }),
};
