/** A page of the host with shadow doorbells or event indexes. */
import { type HostMemory, newSpan } from "../host/host-memory.js";

/** Length of such a page. Doorbells beyond it have no shadow. */
export const SHADOW_BYTES = 4096;

/** Words of a page: the host's memory, or a copy of it where that isn't mapped in this process. */
export class ShadowPage {
  /** The page starts at `first` in it. */
  words: Uint32Array = new Uint32Array(0);
  first = 0;
  /** `words` is a copy, which pull() brings up to date. */
  isCopy = false;
  private iova = 0;
  private readonly span = newSpan();
  private readonly copy = new Uint32Array(SHADOW_BYTES / 4);
  private readonly copyBytes = new Uint8Array(this.copy.buffer);

  constructor(private readonly memory: HostMemory) {}

  /** Finds the page. @returns false if it isn't mapped for reading and writing */
  locate(iova: number): boolean {
    const { memory, span } = this;
    this.iova = iova;
    this.isCopy = !memory.find(iova, SHADOW_BYTES, true, span);
    this.words = this.isCopy ? this.copy : span.words;
    this.first = this.isCopy ? 0 : span.offset / 4;
    return !this.isCopy || (memory.canCopy(iova, SHADOW_BYTES, true) && this.pull());
  }

  /** Copies what the host has written. @returns false if its memory is gone */
  pull(): boolean {
    return this.memory.copyFrom(this.iova, this.copyBytes);
  }

  /** Writes a word. */
  set(index: number, value: number): void {
    this.words[this.first + index] = value;
    if (this.isCopy)
      this.memory.copyTo(this.iova + 4 * index, this.copyBytes.subarray(4 * index, 4 * index + 4));
  }
}
