/**
 * Finds a command's data as a controller does. It is written from the NVMe Base Specification 2.x ("Physical Region Page
 * Entry and List"), with bigint addresses, to check the driver's arithmetic.
 */

const ENTRY_BYTES = 8;

/** A run of bytes at an I/O virtual address. */
export interface Chunk {
  readonly address: bigint;
  readonly length: number;
}

/** What a walk found. */
export interface WalkedData {
  /** The data, in order, cut at memory pages. */
  readonly chunks: readonly Chunk[];
  /** Addresses of the list pages that were read. */
  readonly listPages: readonly bigint[];
}

/**
 * @param prp1 PRP Entry 1 of the command, `prp2` PRP Entry 2
 * @param readEntry reads the 64-bit little-endian value at an address
 * @throws Error if the entries aren't what the specification allows
 */
export function walkPrps(
  prp1: bigint,
  prp2: bigint,
  length: number,
  pageBytes: number,
  readEntry: (address: bigint) => bigint,
): WalkedData {
  const page = BigInt(pageBytes);
  const chunks: Chunk[] = [];
  const listPages: bigint[] = [];
  let left = length;

  const take = (address: bigint): void => {
    const room = Number(page - (address % page));
    const count = Math.min(left, room);
    chunks.push({ address, length: count });
    left -= count;
  };

  // "If this entry is not the first PRP entry ... then the Offset portion shall be cleared to 0h."
  const takePage = (address: bigint): void => {
    if (address % page !== 0n) throw new Error(`a later PRP entry has an offset: 0x${address.toString(16)}`);
    take(address);
  };

  if (prp1 % 4n !== 0n) throw new Error(`PRP1 is not dword aligned: 0x${prp1.toString(16)}`);
  take(prp1);
  if (left === 0) {
    if (prp2 !== 0n) throw new Error("PRP2 is reserved where the data ends in the first page");
  } else if (left <= pageBytes) {
    takePage(prp2);
  } else {
    if (prp2 % 8n !== 0n) throw new Error("the list pointer is not qword aligned");
    let at = prp2;
    listPages.push(at - (at % page));
    while (left > 0) {
      const isLastOfPage = at % page === page - BigInt(ENTRY_BYTES);
      const entry = readEntry(at);
      if (isLastOfPage && left > pageBytes) {
        if (entry % page !== 0n) throw new Error("a pointer to the next list page has an offset");
        listPages.push(entry);
        at = entry;
      } else {
        takePage(entry);
        at += BigInt(ENTRY_BYTES);
      }
    }
  }
  return { chunks, listPages };
}

/** Joins adjacent chunks. */
export function joined(chunks: readonly Chunk[]): Chunk[] {
  const result: { address: bigint; length: number }[] = [];
  for (const { address, length } of chunks) {
    const before = result.at(-1);
    if (before !== undefined && before.address + BigInt(before.length) === address) before.length += length;
    else result.push({ address, length });
  }
  return result;
}
