/** Names of commands for error messages. */
import { IoOpcode } from "../spec/opcodes.js";
import type { NvmeCommand } from "./command.js";

const transferNames: Readonly<Record<number, string>> = {
  [IoOpcode.read]: "read",
  [IoOpcode.write]: "write",
  [IoOpcode.compare]: "compare",
  [IoOpcode.zoneAppend]: "zone append",
};

/** Name of a block command that transfers data. */
export function transferName(opcode: number): string {
  return transferNames[opcode] ?? "transfer";
}

/** A command's name and its first dwords. */
export function commandName(command: NvmeCommand): string {
  const name = command.name ?? `command 0x${command.opcode.toString(16).padStart(2, "0")}`;
  const words = (["nsid", "cdw10", "cdw11", "cdw12"] as const)
    .filter((word) => command[word] !== undefined)
    .map((word) => `${word} 0x${(command[word] ?? 0).toString(16)}`);
  return words.length === 0 ? name : `${name} (${words.join(", ")})`;
}
