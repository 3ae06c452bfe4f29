/** Writes the queue entry of a checked command: its dwords, and what points to its data. */
import type { NvmeCommand } from "../command/command.js";
import { writeDataPointers } from "../command/data-pointer.js";
import type { PrpList } from "../command/prp.js";
import { writeEntry, writePrpPair } from "./submission-entry.js";

/**
 * @param at first word of the entry
 * @param cdw0 opcode, fuse bits and command id
 * @param pageBytes CC.MPS in bytes
 * @param list memory for the command's PRP list or SGL segments
 */
export function writeCommandEntry(
  words: Uint32Array,
  at: number,
  cdw0: number,
  command: NvmeCommand,
  pageBytes: number,
  list: PrpList,
): void {
  writeEntry(
    words,
    at,
    cdw0,
    command.nsid ?? 0,
    command.cdw2 ?? 0,
    command.cdw3 ?? 0,
    command.cdw10 ?? 0,
    command.cdw11 ?? 0,
    command.cdw12 ?? 0,
    command.cdw13 ?? 0,
    command.cdw14 ?? 0,
    command.cdw15 ?? 0,
  );
  if (command.data === undefined && command.metadata === undefined) writePrpPair(words, at, 0, 0, 0, 0);
  else writeDataPointers(words, at, command, pageBytes, list);
}
