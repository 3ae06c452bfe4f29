/** Reads the SGL of a command into a list of memory. */
import { NvmeStatus } from "../../../nvme/spec/status.js";
import { CopiedWords } from "./copied-words.js";
import { type HostMemory, newSpan } from "./host-memory.js";
import type { Scatter } from "./scatter.js";

const TWO_32 = 2 ** 32;
const DESCRIPTOR_BYTES = 16;
const DESCRIPTOR_WORDS = 4;
/** SGL descriptor types: bits 7:4 of the last byte. */
const DATA_BLOCK = 0;
const BIT_BUCKET = 1;
const SEGMENT = 2;
const LAST_SEGMENT = 3;
/** Most descriptors of one command in all its segments: an endless chain ends there. */
export const MAX_SGL_DESCRIPTORS = 1024;

/** Follows scatter gather lists (NVMe Base 2.x, "Scatter Gather List") and collects the memory they name. */
export class SglWalker {
  /** Where the last walk found lists: in the controller memory buffer, and elsewhere. */
  listsInCmb = false;
  listsElsewhere = false;
  private readonly span = newSpan();
  private readonly copy = new CopiedWords();
  /** The descriptor looked at, copied out of memory that the host may change meanwhile. */
  private address = 0;
  private length = 0;
  private type = 0;
  private subtype = 0;
  private descriptors = 0;

  constructor(private readonly memory: HostMemory) {}

  /**
   * @param words where the command's own descriptor stands, at `at`
   * @param lengthInvalid status for a list that is too short: data's and metadata's differ
   * @returns a status, 0 where `into` now holds `lengthBytes` bytes; a longer list is used in part
   */
  walk(
    into: Scatter,
    words: Uint32Array,
    at: number,
    lengthBytes: number,
    write: boolean,
    lengthInvalid: number,
  ): number {
    this.descriptors = 0;
    this.listsInCmb = false;
    this.listsElsewhere = false;
    this.load(words, at);
    let status = 0;
    if (this.type === SEGMENT || this.type === LAST_SEGMENT) {
      status = this.walkSegments(into, lengthBytes, write);
    } else {
      status = this.take(into, lengthBytes, write);
    }
    if (status !== NvmeStatus.success) return status;
    return into.lengthBytes < lengthBytes ? lengthInvalid : NvmeStatus.success;
  }

  private walkSegments(into: Scatter, lengthBytes: number, write: boolean): number {
    const { memory, span } = this;
    for (;;) {
      const { address, length } = this;
      const isLast = this.type === LAST_SEGMENT;
      if (this.subtype !== 0) return NvmeStatus.sglDescriptorTypeInvalid;
      if (length === 0 || length % DESCRIPTOR_BYTES !== 0) return NvmeStatus.invalidSglSegmentDescriptor;
      const count = length / DESCRIPTOR_BYTES;
      this.descriptors += count;
      if (this.descriptors > MAX_SGL_DESCRIPTORS) return NvmeStatus.invalidNumberOfSglDescriptors;
      if (address % 4 !== 0) return NvmeStatus.dataTransferError;
      const isMapped = memory.find(address, length, false, span);
      if (!isMapped && !this.copy.read(memory, address, length)) return NvmeStatus.dataTransferError;
      if (memory.overlapsCmb(address, length)) this.listsInCmb = true;
      if (!isMapped || !memory.isCmb(span.bytes)) this.listsElsewhere = true;
      const words = isMapped ? span.words : this.copy.words;
      const first = isMapped ? span.offset / 4 : 0;
      let follows = false;
      for (let i = 0; i < count; i++) {
        this.load(words, first + i * DESCRIPTOR_WORDS);
        if (this.type === SEGMENT || this.type === LAST_SEGMENT) {
          // A descriptor of another segment is valid only at the end of a segment that isn't the last.
          if (isLast || i !== count - 1) return NvmeStatus.invalidSglSegmentDescriptor;
          follows = true;
          break;
        }
        const status = this.take(into, lengthBytes, write);
        if (status !== NvmeStatus.success) return status;
      }
      if (!follows) return isLast ? NvmeStatus.success : NvmeStatus.invalidSglSegmentDescriptor;
    }
  }

  /** Adds what the loaded descriptor names, as far as the transfer needs it. */
  private take(into: Scatter, lengthBytes: number, write: boolean): number {
    if (this.type !== DATA_BLOCK && this.type !== BIT_BUCKET) return NvmeStatus.sglDescriptorTypeInvalid;
    if (this.subtype !== 0) return NvmeStatus.sglDescriptorTypeInvalid;
    const length = Math.min(this.length, lengthBytes - into.lengthBytes);
    if (length === 0) return NvmeStatus.success;
    if (this.type === BIT_BUCKET) {
      // "If the SGL describes a source data buffer, the bit bucket is ignored."
      if (!write) return NvmeStatus.success;
      return into.addBucket(length) ? NvmeStatus.success : NvmeStatus.invalidNumberOfSglDescriptors;
    }
    if (into.add(this.memory, this.address, length, write)) return NvmeStatus.success;
    return into.full ? NvmeStatus.invalidNumberOfSglDescriptors : NvmeStatus.dataTransferError;
  }

  private load(words: Uint32Array, at: number): void {
    const kind = (words[at + 3] ?? 0) >>> 24;
    this.address = (words[at + 1] ?? 0) * TWO_32 + (words[at] ?? 0);
    this.length = words[at + 2] ?? 0;
    this.type = kind >>> 4;
    this.subtype = kind & 0xf;
  }
}
