/** `iova nvme admin-passthru` and `io-passthru`. */

import { flag, value } from "../description.js";
import { destroys } from "./common.js";

const word = (number: number, short: string) => value("N", `dword ${number} of the command`, { short });

const options = {
  opcode: value("N", "opcode of the command", { short: "o" }),
  "namespace-id": value("N", "the namespace (io: the only one by default; admin: 0)", { short: "n" }),
  cdw2: word(2, "2"),
  cdw3: word(3, "3"),
  cdw10: word(10, "4"),
  cdw11: word(11, "5"),
  cdw12: word(12, "6"),
  cdw13: word(13, "7"),
  cdw14: word(14, "8"),
  cdw15: word(15, "9"),
  "data-len": value("BYTES", "length of the data (default: that of the data sent)", { short: "l" }),
  "metadata-len": value("BYTES", "length of separate metadata", { short: "m" }),
  read: flag("data goes to the host (default: as bits 1:0 of the opcode say)", "r"),
  write: flag("data goes to the controller", "w"),
  "input-file": value("FILE", "data to send, or where received data goes; - is standard input or output", {
    short: "i",
    offer: "file",
  }),
  "data-hex": value("DIGITS", "data to send, as hexadecimal digits"),
  metadata: value("FILE", "metadata to send, or where received metadata goes", { short: "M", offer: "file" }),
  prefill: value("BYTE", "what a buffer for received data is filled with (default 0)", { short: "p" }),
  "raw-binary": flag("write received data unchanged", "b"),
  "show-command": flag("print the command first, on standard error", "s"),
  "dry-run": flag("print the command; open nothing", "d"),
  latency: flag("print how long the command took", "T"),
} as const;

const text =
  "Sends one command by its dwords. Received data is a hex dump, or goes to --input-file. Numbers, lengths and the direction are checked " +
  "before the controller gets the command. Commands of the specification that only read don't ask.";

export const passthruDescriptions = {
  admin: destroys("admin-passthru", "send any admin command", {
    needs: "-o OPCODE",
    text,
    options,
    example: ["-o 6 --cdw10 1 -l 4096 -r", "Identify Controller, as a hex dump"],
  }),
  io: destroys("io-passthru", "send any I/O command", {
    needs: "-o OPCODE",
    text,
    options,
    example: ["-o 2 --cdw10 8 -l 512 -r", "reads block 8"],
  }),
};
