/** Scatter-gather lists. */
import type { Iova } from "./iova/address.js";

/** Part of a scatter-gather list: a contiguous range of I/O virtual addresses. */
export interface DmaSegment {
  /** First I/O virtual address. */
  readonly iova: Iova;
  /** Length in bytes. */
  readonly sizeBytes: number;
}

/** Joins adjacent segments; keeps the order. */
export function joinSegments(segments: Iterable<DmaSegment>): DmaSegment[] {
  const result: { iova: Iova; sizeBytes: number }[] = [];
  let end: bigint | undefined;
  for (const { iova, sizeBytes } of segments) {
    const last = result.at(-1);
    if (last !== undefined && iova === end) last.sizeBytes += sizeBytes;
    else result.push({ iova, sizeBytes });
    end = iova + BigInt(sizeBytes);
  }
  return result;
}

/** The segments of the bytes [offset, offset + length) of a list. */
export function* cutSegments(
  segments: readonly DmaSegment[],
  offset: number,
  length: number,
): Generator<DmaSegment> {
  let before = 0;
  for (const { iova, sizeBytes } of segments) {
    const from = Math.max(offset, before);
    const to = Math.min(offset + length, before + sizeBytes);
    if (from < to) yield { iova: (iova + BigInt(from - before)) as Iova, sizeBytes: to - from };
    before += sizeBytes;
  }
}
