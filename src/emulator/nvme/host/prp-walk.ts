/** Reads the PRPs of a command into a list of memory. */
import { NvmeStatus } from "../../../nvme/spec/status.js";
import { CopiedWords } from "./copied-words.js";
import { type HostMemory, newSpan } from "./host-memory.js";
import type { Scatter } from "./scatter.js";

const TWO_32 = 2 ** 32;
const ENTRY_BYTES = 8;

/**
 * Follows PRP entries and lists (NVMe Base 2.x, "Physical Region Page Entry and List") and collects the memory they
 * name. Ends by the transfer's length whatever a list says: every list page but the first must start at its page's
 * beginning, so each gives at least one page of data.
 */
export class PrpWalker {
  /** Where the last walk found lists: in the controller memory buffer, and elsewhere. */
  listsInCmb = false;
  listsElsewhere = false;
  private readonly span = newSpan();
  private readonly copy = new CopiedWords();

  constructor(
    private readonly memory: HostMemory,
    private pageBytes = 4096,
  ) {}

  /** CC.MPS, in bytes. */
  get memoryPageBytes(): number {
    return this.pageBytes;
  }

  set memoryPageBytes(bytes: number) {
    this.pageBytes = bytes;
  }

  /** @returns a status, 0 where `into` now holds `lengthBytes` bytes */
  walk(into: Scatter, prp1: number, prp2: number, lengthBytes: number, write: boolean): number {
    const { memory, pageBytes } = this;
    this.listsInCmb = false;
    this.listsElsewhere = false;
    if (prp1 % 4 !== 0) return NvmeStatus.prpOffsetInvalid;
    const inFirst = Math.min(lengthBytes, pageBytes - (prp1 % pageBytes));
    if (!into.add(memory, prp1, inFirst, write)) return NvmeStatus.dataTransferError;
    const left = lengthBytes - inFirst;
    if (left === 0) return NvmeStatus.success;
    if (left <= pageBytes) {
      if (prp2 % pageBytes !== 0) return NvmeStatus.prpOffsetInvalid;
      return into.add(memory, prp2, left, write) ? NvmeStatus.success : NvmeStatus.dataTransferError;
    }
    return this.walkList(into, prp2, left, write);
  }

  private walkList(into: Scatter, list: number, lengthBytes: number, write: boolean): number {
    const { memory, pageBytes, span } = this;
    if (list % ENTRY_BYTES !== 0) return NvmeStatus.prpOffsetInvalid;
    let left = lengthBytes;
    let at = list;
    for (;;) {
      const room = (pageBytes - (at % pageBytes)) / ENTRY_BYTES;
      const needed = Math.ceil(left / pageBytes);
      const count = Math.min(room, needed);
      const isMapped = memory.find(at, count * ENTRY_BYTES, false, span);
      if (!isMapped && !this.copy.read(memory, at, count * ENTRY_BYTES)) return NvmeStatus.dataTransferError;
      if (memory.overlapsCmb(at, count * ENTRY_BYTES)) this.listsInCmb = true;
      if (!isMapped || !memory.isCmb(span.bytes)) this.listsElsewhere = true;
      const words = isMapped ? span.words : this.copy.words;
      const first = isMapped ? span.offset / 4 : 0;
      // Where more pages follow than entries, the last entry names the next list page.
      const dataEntries = needed > room ? room - 1 : count;
      for (let i = 0; i < dataEntries; i++) {
        const word = first + 2 * i;
        const page = (words[word + 1] ?? 0) * TWO_32 + (words[word] ?? 0);
        if (page % pageBytes !== 0) return NvmeStatus.prpOffsetInvalid;
        const piece = Math.min(left, pageBytes);
        if (!into.add(memory, page, piece, write)) return NvmeStatus.dataTransferError;
        left -= piece;
      }
      if (dataEntries === count) return NvmeStatus.success;
      const link = first + 2 * dataEntries;
      at = (words[link + 1] ?? 0) * TWO_32 + (words[link] ?? 0);
      if (at % pageBytes !== 0) return NvmeStatus.prpOffsetInvalid;
    }
  }
}
