/** Checks a command before it is submitted. A wrong data pointer could make the controller write to the wrong memory. */
import { checkInteger, checkKeys, checkU32 } from "../../core/check.js";
import type { NvmeCommand } from "./command.js";
import { checkDataPointers, type DataRules } from "./data-pointer.js";

const words = ["nsid", "cdw2", "cdw3", "cdw10", "cdw11", "cdw12", "cdw13", "cdw14", "cdw15"] as const;
const fields: readonly (keyof NvmeCommand)[] = [
  ...words,
  "opcode",
  "data",
  "metadata",
  "sgl",
  "fuse",
  "name",
  "background",
];

/** Checks a command's opcode, dwords and data. @throws ArgumentError, ClosedError, UnsupportedError */
export function checkCommand(command: NvmeCommand, rules: DataRules): void {
  checkKeys("command", command, fields);
  checkInteger("opcode", command.opcode, 0, 0xff);
  for (const word of words) {
    const value = command[word];
    if (value !== undefined) checkU32(word, value);
  }
  checkDataPointers(command, rules);
}
