/**
 * Finds a command's data by its SGL as a controller does. It is written from the NVMe Base Specification 2.x ("Scatter
 * Gather List"), with bigint addresses, to check the driver's arithmetic.
 */
import type { Chunk } from "./prp-walker.js";

const DESCRIPTOR_BYTES = 16n;

/** The list's ranges, in order. Bit buckets have no address. */
export type SglChunk = Chunk | { readonly bucket: number };

export interface WalkedSgl {
  readonly chunks: readonly SglChunk[];
  /** The segments: addresses, and numbers of descriptors. */
  readonly segments: readonly { readonly address: bigint; readonly descriptors: number }[];
}

/**
 * @param first the descriptor in the command (or the one that MPTR names): its 16 bytes as two little-endian numbers
 * @param read reads the 64-bit little-endian value at an address
 * @throws Error if the list isn't what the specification allows
 */
export function walkSgl(first: readonly [bigint, bigint], read: (address: bigint) => bigint): WalkedSgl {
  const chunks: SglChunk[] = [];
  const segments: { address: bigint; descriptors: number }[] = [];
  const parse = ([address, rest]: readonly [bigint, bigint]) => ({
    address,
    length: Number(rest & 0xffff_ffffn),
    reserved: (rest >> 32n) & 0xff_ffffn,
    type: Number(rest >> 60n),
    subtype: Number((rest >> 56n) & 0xfn),
  });
  const take = ({ address, length, type }: ReturnType<typeof parse>): void => {
    if (type === 0) chunks.push({ address, length });
    else if (type === 1) {
      if (address !== 0n) throw new Error("a bit bucket's first 8 bytes are reserved");
      chunks.push({ bucket: length });
    } else throw new Error(`a descriptor of type ${type} where data is expected`);
  };
  let descriptor = parse(first);
  for (;;) {
    const { type, subtype, reserved, address, length } = descriptor;
    if (subtype !== 0 || reserved !== 0n) throw new Error("reserved bits, or no address as subtype");
    if (type === 0) {
      if (segments.length > 0) throw new Error("a data block where the next segment is expected");
      take(descriptor);
      return { chunks, segments };
    }
    if (type !== 2 && type !== 3) throw new Error(`the first descriptor is of type ${type}`);
    if (address % 8n !== 0n) throw new Error("a segment is not qword aligned");
    if (length === 0 || BigInt(length) % DESCRIPTOR_BYTES !== 0n) throw new Error("a segment of odd length");
    const count = length / 16;
    segments.push({ address, descriptors: count });
    const all = Array.from({ length: count }, (_, i) => {
      const at = address + BigInt(i) * DESCRIPTOR_BYTES;
      return parse([read(at), read(at + 8n)]);
    });
    const last = all.at(-1);
    if (last === undefined) throw new Error("an empty segment");
    if (type === 3) {
      // "The last segment shall contain no segment descriptors": take() rejects them.
      all.forEach(take);
      return { chunks, segments };
    }
    all.slice(0, -1).forEach(take);
    if (last.type !== 2 && last.type !== 3) throw new Error("a segment that doesn't lead to the next one");
    descriptor = last;
  }
}
