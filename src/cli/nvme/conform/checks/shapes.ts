/** Memory for a command's data in every shape that PRPs and SGLs can describe. */
import { largestOf } from "../../../../core/lists.js";
import type { DmaBuffer } from "../../../../dma/buffer.js";
import { Psdt } from "../../../../nvme/spec/queue-entries.js";
import type { ConformBench, Fields } from "../bench.js";

/** How a command names its data, and the data. */
export interface Shape extends Pick<Fields, "prp1" | "prp2" | "flags"> {
  /** The page of its first SGL segment. */
  readonly list?: DmaBuffer;
  /** A copy of the data. */
  read(): Uint8Array;
  write(bytes: Uint8Array): void;
}

/** Parts of one buffer, in the order of the data. */
type Parts = readonly (readonly [at: number, length: number])[];

function overParts(memory: { readonly bytes: Uint8Array }, parts: Parts): Pick<Shape, "read" | "write"> {
  return {
    read: () => Buffer.concat(parts.map(([at, length]) => memory.bytes.subarray(at, at + length))),
    write: (bytes) => {
      let from = 0;
      for (const [at, length] of parts) {
        memory.bytes.set(bytes.subarray(from, from + length), at);
        from += length;
      }
    },
  };
}

/**
 * PRPs of pages that aren't neighbours.
 * @param offset of the data in the first page, a multiple of 4
 * @param isReversed whether the addresses fall
 * @param listAt offset of the PRP list in its page, a multiple of 8
 */
export function byPrps(
  bench: ConformBench,
  bytes: number,
  { offset = 0, isReversed = false, listAt = 0 }: { offset?: number; isReversed?: boolean; listAt?: number },
): Shape {
  const page = bench.cap.minPageBytes;
  const count = Math.ceil((offset + bytes) / page);
  const memory = bench.alloc(2 * count * page, { iovaAlignBytes: page });
  const places = Array.from({ length: count }, (_, i) => 2 * (isReversed ? count - 1 - i : i) * page);
  const parts = places.map((place, i): [number, number] => {
    const from = i === 0 ? offset : 0;
    return [place + from, Math.min(page - from, bytes + offset - i * page - (i === 0 ? offset : 0))];
  });
  const addresses = places.map((place) => memory.iova + BigInt(place));
  const shape = { prp1: (addresses[0] ?? 0n) + BigInt(offset), ...overParts(memory, parts) };
  if (count <= 2) return { ...shape, prp2: addresses[1] ?? 0n };
  const rest = addresses.slice(1);
  const list = bench.alloc((2 + Math.ceil((8 * rest.length) / page)) * page, { iovaAlignBytes: page });
  const view = new DataView(list.bytes.buffer, list.bytes.byteOffset, list.bytes.byteLength);
  let at = listAt;
  for (const [i, address] of rest.entries()) {
    // The last entry of a page leads to the next page if more than one address is left.
    if ((at + 8) % page === 0 && i < rest.length - 1) {
      view.setBigUint64(at, list.iova + BigInt(at + 8), true);
      at += 8;
    }
    view.setBigUint64(at, address, true);
    at += 8;
  }
  return { ...shape, prp2: list.iova + BigInt(listAt) };
}

const DATA_BLOCK = 0n;
const SEGMENT = 2n;
const LAST_SEGMENT = 3n;

/** The second half of an SGL descriptor: length and type. */
export function sglHalf(bytes: number, type: bigint): bigint {
  return BigInt(bytes) | (type << 60n);
}

/** An SGL of pieces of these lengths. @param isChained whether a second segment has the last descriptor */
export function bySgl(bench: ConformBench, lengths: readonly number[], isChained = false): Shape {
  const flags = Psdt.sgl << 6;
  const room = largestOf(lengths) + 4096;
  const memory = bench.alloc(room * lengths.length);
  const parts = lengths.map((length, i): [number, number] => [i * room, length]);
  const address = (i: number): bigint => memory.iova + BigInt(i * room);
  const data = overParts(memory, parts);
  const [only = 0] = lengths;
  if (lengths.length === 1) return { flags, prp1: address(0), prp2: sglHalf(only, DATA_BLOCK), ...data };
  const list = bench.alloc(4096 * 2);
  const view = new DataView(list.bytes.buffer, list.bytes.byteOffset, list.bytes.byteLength);
  const put = (at: number, where: bigint, bytes: number, type: bigint): void => {
    view.setBigUint64(at, where, true);
    view.setBigUint64(at + 8, sglHalf(bytes, type), true);
  };
  const last = lengths.length - 1;
  for (const [i, length] of lengths.entries())
    put(isChained && i === last ? 4096 : 16 * i, address(i), length, DATA_BLOCK);
  const here = lengths.length * 16;
  if (isChained) put(16 * last, list.iova + 4096n, 16, LAST_SEGMENT);
  return { flags, list, prp1: list.iova, prp2: sglHalf(here, isChained ? SEGMENT : LAST_SEGMENT), ...data };
}
