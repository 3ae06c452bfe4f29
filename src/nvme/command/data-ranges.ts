/** The memory of a command: a range of a buffer or a list of ranges, and their addresses for the controller. */
import { checkOffset } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { DmaBuffer } from "../../dma/buffer.js";
import { cutSegments } from "../../dma/segments.js";

/** Part of a buffer, or all of it. */
export interface DataRange {
  /** The buffer. */
  readonly buffer: DmaBuffer;
  /** First byte in the buffer; 0 by default. A multiple of 4; any byte in an SGL, if the controller allows that (SGLS). */
  readonly offset?: number | undefined;
  /** Bytes; to the buffer's end by default. */
  readonly length?: number | undefined;
}

/** Bytes of a read that the controller discards (SGL Bit Bucket). */
export interface BitBucket {
  /** Length in bytes. */
  readonly bitBucketBytes: number;
}

/** Ranges of several buffers, as one transfer (scatter-gather). */
export type DataList = readonly (DataRange | BitBucket)[];

/** The memory of a command's data. */
export type CommandData = DataRange | DataList;

export function isDataList(data: CommandData): data is DataList {
  return Array.isArray(data);
}

export function isBitBucket(part: DataRange | BitBucket): part is BitBucket {
  return "bitBucketBytes" in part;
}

/** @throws ArgumentError for other memory, such as a Buffer */
export function assertDmaBuffer(buffer: unknown): asserts buffer is DmaBuffer {
  if (buffer instanceof DmaBuffer) return;
  throw new ArgumentError(
    "data must be a DmaBuffer, or ranges of DmaBuffers: a device can't access other memory (use dma.alloc() or dma.map()). " +
      "A namespace's read() and write() also copy a Buffer or other Uint8Array",
  );
}

/** Checks that the data consists of DMA buffers: a Buffer has a `buffer`, too. @throws ArgumentError */
export function assertCommandData(data: CommandData): void {
  for (const part of isDataList(data) ? data : [data]) {
    if (typeof part === "object" && part !== null && isBitBucket(part)) {
      checkOffset("bitBucketBytes", part.bitBucketBytes);
      continue;
    }
    assertDmaBuffer(part?.buffer);
    if (part.offset !== undefined) checkOffset("offset", part.offset);
    if (part.length !== undefined) checkOffset("length", part.length);
  }
}

/** Bytes of a checked range. */
export function rangeBytes(range: DataRange): number {
  return range.length ?? range.buffer.sizeBytes - (range.offset ?? 0);
}

/** Bytes of all of a command's data. */
export function dataBytes(data: CommandData): number {
  if (!isDataList(data)) return rangeBytes(data);
  let sum = 0;
  for (const part of data) sum += isBitBucket(part) ? part.bitBucketBytes : rangeBytes(part);
  return sum;
}

/** The part [from, from + length) of the data. */
export function cutData(data: CommandData, from: number, length: number): CommandData {
  if (!isDataList(data)) return { buffer: data.buffer, offset: (data.offset ?? 0) + from, length };
  const cut: (DataRange | BitBucket)[] = [];
  let before = 0;
  for (const part of data) {
    const bytes = isBitBucket(part) ? part.bitBucketBytes : rangeBytes(part);
    const start = Math.max(from, before);
    const count = Math.min(from + length, before + bytes) - start;
    if (count > 0) {
      cut.push(
        isBitBucket(part)
          ? { bitBucketBytes: count }
          : { buffer: part.buffer, offset: (part.offset ?? 0) + start - before, length: count },
      );
    }
    before += bytes;
  }
  return cut;
}

/** The buffers of a command's data. */
export function buffersOf(data: CommandData | undefined): DmaBuffer[] {
  if (data === undefined) return [];
  if (!isDataList(data)) return [data.buffer];
  return data.flatMap((part) => (isBitBucket(part) ? [] : [part.buffer]));
}

/** Names the user of a buffer, in the error of closing it. */
export const HOLDER = "an NVMe command";

/** Prevents that a command's buffers are closed. */
export function holdData(data: CommandData | undefined): void {
  if (data === undefined) return;
  if (!isDataList(data)) {
    data.buffer.lease.pin(HOLDER);
    return;
  }
  for (const part of data) if (!isBitBucket(part)) part.buffer.lease.pin(HOLDER);
}

/** Undoes {@link holdData}. */
export function dropData(data: CommandData | undefined): void {
  if (data === undefined) return;
  if (!isDataList(data)) {
    data.buffer.lease.unpin();
    return;
  }
  for (const part of data) if (!isBitBucket(part)) part.buffer.lease.unpin();
}

/** A contiguous piece of memory for the controller, and the two halves of its address. */
export interface Segment {
  low: number;
  high: number;
  length: number;
  /** Whether it is a bit bucket, which has no address. */
  readonly isBucket: boolean;
}

const TWO_32 = 2 ** 32;

/** All pieces of a command's data in order. Adjacent pieces are joined. */
export function gather(data: CommandData): Segment[] {
  const segments: Segment[] = [];
  for (const part of isDataList(data) ? data : [data]) {
    if (isBitBucket(part)) {
      segments.push({ low: 0, high: 0, length: part.bitBucketBytes, isBucket: true });
      continue;
    }
    const { buffer, offset = 0 } = part;
    const length = rangeBytes(part);
    if (buffer.contiguous) {
      const low = buffer.iovaLow + offset;
      append(segments, low % TWO_32, buffer.iovaHigh + Math.floor(low / TWO_32), length);
      continue;
    }
    // Without an IOMMU, a buffer may consist of several pieces.
    for (const { iova, sizeBytes } of cutSegments(buffer.segments, offset, length)) {
      append(segments, Number(iova & 0xffff_ffffn), Number(iova >> 32n), sizeBytes);
    }
  }
  return segments;
}

function append(segments: Segment[], low: number, high: number, length: number): void {
  const last = segments.at(-1);
  if (last !== undefined && !last.isBucket) {
    const end = last.low + last.length;
    if (end % TWO_32 === low && last.high + Math.floor(end / TWO_32) === high) {
      last.length += length;
      return;
    }
  }
  segments.push({ low, high, length, isBucket: false });
}
