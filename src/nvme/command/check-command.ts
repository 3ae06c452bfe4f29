/** Checks a command before it is submitted. A wrong data pointer could make the controller write to the wrong memory. */
import { checkInteger, checkObject, checkU32 } from "../../core/check.js";
import type { NvmeCommand } from "./command.js";
import { checkDataPointers, type DataRules } from "./data-pointer.js";

/** Checks a command's opcode, dwords and data. @throws ArgumentError, ClosedError, UnsupportedError */
export function checkCommand(command: NvmeCommand, rules: DataRules): void {
  checkObject("command", command);
  checkInteger("opcode", command.opcode, 0, 0xff);
  for (const word of [
    "nsid",
    "cdw2",
    "cdw3",
    "cdw10",
    "cdw11",
    "cdw12",
    "cdw13",
    "cdw14",
    "cdw15",
  ] as const) {
    const value = command[word];
    if (value !== undefined) checkU32(word, value);
  }
  checkDataPointers(command, rules);
}
