/** A copy of words in the host's memory that aren't mapped in one piece in this process. */
import type { HostMemory } from "./host-memory.js";

/** A copy of a PRP list or SGL segment. It grows to the longest that was read: a page, or 1024 descriptors. */
export class CopiedWords {
  words = new Uint32Array(0);

  /** Replaces the copy. @returns false where memory isn't mapped, or is lost */
  read(memory: HostMemory, iova: number, lengthBytes: number): boolean {
    if (this.words.byteLength < lengthBytes) this.words = new Uint32Array(lengthBytes / 4);
    return memory.copyFrom(iova, new Uint8Array(this.words.buffer, 0, lengthBytes));
  }
}
