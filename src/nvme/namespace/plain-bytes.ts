/** Memory that devices can't reach as data of commands: bounce buffers carry it. */
import { isUint8Array } from "node:util/types";
import { ArgumentError } from "../../core/errors.js";
import { DmaBuffer } from "../../dma/buffer.js";
import type { DataList, DataRange } from "../command/data-ranges.js";
import type { BounceBuffers } from "../memory/bounce-buffers.js";
import type { IoOptions } from "./io-options.js";

/** Bytes anywhere in this process: a Buffer, any other Uint8Array, or several, one after the other. */
export type PlainBytes = Uint8Array | readonly Uint8Array[];

/**
 * Memory for the blocks of a command. A DmaBuffer or a list of ranges is where the device itself reads or writes. All other bytes are
 * copied through a bounce buffer.
 */
export type BlockData = DmaBuffer | DataList | PlainBytes;

/** Whether the data needs bounce buffers. An empty list is none of either kind. */
export function isPlainBytes(data: unknown): data is PlainBytes {
  if (data instanceof DmaBuffer) return false;
  if (isUint8Array(data)) return true;
  return Array.isArray(data) && data.length > 0 && data.every(isUint8Array);
}

/** Number of bytes. */
export function plainLength(bytes: PlainBytes): number {
  if (isUint8Array(bytes)) return bytes.length;
  let sum = 0;
  for (const part of bytes) sum += part.length;
  return sum;
}

/** Calls `copy` with each part of [from, from + length), and where it lies from `from` on. */
function eachPart(
  bytes: PlainBytes,
  from: number,
  length: number,
  copy: (part: Uint8Array, at: number) => void,
): void {
  let before = 0;
  for (const part of isUint8Array(bytes) ? [bytes] : bytes) {
    const start = Math.max(from, before);
    const end = Math.min(from + length, before + part.length);
    if (end > start) copy(part.subarray(start - before, end - before), start - from);
    before += part.length;
  }
}

/** Bytes that a command transfers through a bounce buffer. */
export interface BouncePart {
  readonly bytes: PlainBytes;
  /** First byte in `bytes`. */
  readonly from: number;
  readonly length: number;
}

/**
 * Calls `use` with a bounce buffer's ranges for the parts. All of them lie in one buffer, so that commands never wait for each
 * other's second one.
 * @param isRead whether the parts get the bytes, after success; otherwise they are copied before
 * @throws as `use` and BounceBuffers.wait(), as a rejection; the parts keep their bytes then
 */
export async function throughBounce<T>(
  bounce: BounceBuffers,
  parts: readonly BouncePart[],
  isRead: boolean,
  use: (ranges: readonly DataRange[]) => Promise<T>,
): Promise<T> {
  let sum = 0;
  const ranges = parts.map(({ length }) => {
    const offset = sum;
    sum += length;
    return { offset, length };
  });
  const buffer = bounce.take(sum) ?? (await bounce.wait(sum));
  try {
    const copyAll = (copy: (part: Uint8Array, at: number) => void): void => {
      parts.forEach(({ bytes, from, length }, i) => {
        eachPart(bytes, from, length, (part, at) => copy(part, (ranges[i]?.offset ?? 0) + at));
      });
    };
    if (!isRead) copyAll((part, at) => buffer.write(part, at));
    const result = await use(ranges.map((range) => ({ buffer, ...range })));
    if (isRead) copyAll((part, at) => buffer.read(part, at));
    return result;
  } finally {
    bounce.give(buffer);
  }
}

/**
 * Data and metadata of a single command.
 * @param limitBytes most bytes of data that it carries
 * @throws ArgumentError
 */
export function commandParts(
  bytes: PlainBytes,
  options: Pick<IoOptions, "offset" | "length" | "metadata">,
  limitBytes: number,
): BouncePart[] {
  assertWhole(options);
  const length = plainLength(bytes);
  if (length === 0 || length > limitBytes)
    throw new ArgumentError(`length ${length} must be 1 to ${limitBytes} bytes, what one command can carry`);
  const metadata = plainMetadata(options.metadata);
  const parts = [{ bytes, from: 0, length }];
  if (metadata !== undefined) parts.push({ bytes: metadata, from: 0, length: metadata.length });
  return parts;
}

/** @throws ArgumentError for metadata that isn't of the same kind as the data */
export function plainMetadata(metadata: IoOptions["metadata"]): Uint8Array | undefined {
  if (metadata === undefined || isUint8Array(metadata)) return metadata;
  throw new ArgumentError("options.metadata must be a Uint8Array where the data isn't in DMA buffers");
}

/** @throws ArgumentError for options that only DMA buffers have */
export function assertWhole(options: { readonly offset?: unknown; readonly length?: unknown }): void {
  if (options.offset !== undefined || options.length !== undefined) {
    throw new ArgumentError(
      "offset and length are for DMA buffers: pass a part of other bytes, such as bytes.subarray(offset, offset + length)",
    );
  }
}
