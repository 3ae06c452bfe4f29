/** PRP entries and lists, walked as a controller walks them. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { prpListPages, writePrps } from "../../../../src/nvme/command/prp.js";
import { joined, type WalkedData, walkPrps } from "../../../support/prp-walker.js";

const MAX_BYTES = 4 * 1024 * 1024;
const TWO_32 = 2n ** 32n;
/** Fills the memory around the list; no list contains it. */
const UNTOUCHED = 0xdead_beef;

interface Transfer {
  readonly pageBytes: number;
  /** Address of the data. */
  readonly address: bigint;
  readonly length: number;
  /** Address of the list pages. */
  readonly listIova: bigint;
}

/** Writes the entries as the queue pair does, and walks them as the controller does. */
function writeAndWalk({ pageBytes, address, length, listIova }: Transfer): WalkedData {
  const sqe = new Uint32Array(3 * 16).fill(UNTOUCHED);
  const slot = 16;
  // A page of another request before and after this one's must stay unchanged.
  const pageWords = pageBytes / 4;
  const listWords = prpListPages(MAX_BYTES, pageBytes) * pageWords;
  const words = new Uint32Array(pageWords + listWords + pageWords).fill(UNTOUCHED);
  writePrps(sqe, slot, Number(address % TWO_32), Number(address / TWO_32), length, pageBytes, {
    words,
    at: pageWords,
    iovaLow: Number(listIova % TWO_32),
    iovaHigh: Number(listIova / TWO_32),
  });
  const wide = (memory: Uint32Array, at: number): bigint => {
    const [low, high] = [memory[at], memory[at + 1]];
    if (low === undefined || high === undefined) throw new Error(`nothing was written at word ${at}`);
    return BigInt(low) | (BigInt(high) << 32n);
  };

  const walked = walkPrps(wide(sqe, slot + 6), wide(sqe, slot + 8), length, pageBytes, (at) => {
    const word = Number(at - listIova) / 4;
    if (word < 0 || word >= listWords) throw new Error(`the walk left the list: 0x${at.toString(16)}`);
    return wide(words, pageWords + word);
  });
  expect([...sqe.subarray(0, slot + 6), ...sqe.subarray(slot + 10)].every((w) => w === UNTOUCHED)).toBe(true);
  expect(words.subarray(0, pageWords).every((word) => word === UNTOUCHED)).toBe(true);
  expect(words.subarray(pageWords + listWords).every((word) => word === UNTOUCHED)).toBe(true);
  return walked;
}

/** Page numbers, many of them near a multiple of 2^32. */
const pageNumber = (pageBytes: number): fc.Arbitrary<bigint> => {
  const pagesPer4GiB = TWO_32 / BigInt(pageBytes);
  const reach = BigInt(MAX_BYTES / pageBytes) + 2n;
  const near = fc
    .tuple(fc.bigInt(1n, 4n), fc.bigInt(-reach, reach))
    .map(([nth, distance]) => nth * pagesPer4GiB + distance);
  return fc.oneof(near, fc.bigInt(1n, 2n ** 52n / BigInt(pageBytes)));
};

const transfer: fc.Arbitrary<Transfer> = fc.constantFrom(4096, 65536).chain((pageBytes) => {
  const page = BigInt(pageBytes);
  const entriesPerPage = pageBytes / 8;
  return fc.record({
    pageBytes: fc.constant(pageBytes),
    address: fc
      .tuple(pageNumber(pageBytes), fc.integer({ min: 0, max: pageBytes / 4 - 1 }))
      .map(([number, dword]) => number * page + BigInt(dword * 4)),
    length: fc.oneof(
      fc.integer({ min: 1, max: MAX_BYTES }),
      // Around the ends of list pages, and of memory pages.
      fc
        .tuple(fc.constantFrom(1, 2, entriesPerPage, 2 * entriesPerPage - 1), fc.integer({ min: -2, max: 2 }))
        .map(([entries, pages]) => Math.min(MAX_BYTES, Math.max(1, entries + pages) * pageBytes)),
      fc
        .tuple(fc.integer({ min: 1, max: MAX_BYTES / pageBytes }), fc.integer({ min: -8, max: 8 }))
        .map(([pages, bytes]) => Math.min(MAX_BYTES, Math.max(1, pages * pageBytes + bytes))),
    ),
    // Three pages at most, so that the boundary has to be close for a list to cross it.
    listIova: fc.oneof(
      fc.tuple(fc.bigInt(1n, 4n), fc.bigInt(0n, 3n)).map(([nth, pages]) => nth * TWO_32 - pages * page),
      pageNumber(pageBytes).map((number) => number * page),
    ),
  });
});

describe("PRP entries", () => {
  test("lead a controller to exactly the caller's bytes in order, within the planned list pages", () => {
    fc.assert(
      fc.property(transfer, (given) => {
        const { chunks, listPages } = writeAndWalk(given);
        // Contiguous bytes from the caller's first to its last, and nothing else.
        expect(joined(chunks)).toEqual([{ address: given.address, length: given.length }]);
        expect(listPages.length).toBeLessThanOrEqual(prpListPages(given.length, given.pageBytes));
        expect(listPages).toEqual(
          listPages.map((_, index) => given.listIova + BigInt(index * given.pageBytes)),
        );
      }),
      { numRuns: 1500 },
    );
  });

  test("never need more list pages than planned for a longer transfer or any start in a page", () => {
    fc.assert(
      fc.property(transfer, fc.integer({ min: 0, max: MAX_BYTES }), (given, extra) => {
        const planned = prpListPages(Math.min(MAX_BYTES, given.length + extra), given.pageBytes);
        expect(writeAndWalk(given).listPages.length).toBeLessThanOrEqual(planned);
      }),
      { numRuns: 500 },
    );
  });

  test.each([
    // One page: PRP1 alone.
    { offset: 0, length: 4096, entries: 1, lists: 0 },
    { offset: 4092, length: 4, entries: 1, lists: 0 },
    // Two pages: PRP2 is the second.
    { offset: 0, length: 8192, entries: 2, lists: 0 },
    { offset: 4, length: 4096, entries: 2, lists: 0 },
    { offset: 4092, length: 4100, entries: 2, lists: 0 },
    // Three and more: PRP2 points to a list.
    { offset: 4092, length: 4101, entries: 3, lists: 1 },
    { offset: 0, length: 8193, entries: 3, lists: 1 },
    // 512 entries fill a list page to its last; one more makes that a link.
    { offset: 0, length: 513 * 4096, entries: 513, lists: 1 },
    { offset: 0, length: 514 * 4096, entries: 514, lists: 2 },
    { offset: 0, length: 4 * 1024 * 1024, entries: 1024, lists: 2 },
    { offset: 4092, length: 4 * 1024 * 1024, entries: 1025, lists: 3 },
  ])(
    "are $entries and $lists list pages for $length bytes at offset $offset",
    ({ offset, length, entries, lists }) => {
      const given = {
        pageBytes: 4096,
        address: 0xffff_f000n + BigInt(offset),
        length,
        listIova: 0x1_0000_0000n,
      };
      const { chunks, listPages } = writeAndWalk(given);
      expect(chunks.length).toBe(entries);
      expect(listPages.length).toBe(lists);
      expect(prpListPages(length, 4096)).toBeGreaterThanOrEqual(lists);
    },
  );
});

describe("planned list pages", () => {
  test.each([
    [512, 4096, 0],
    [4096, 4096, 0],
    // 4 bytes in the first page, then two more pages.
    [4101, 4096, 1],
    [8192, 4096, 1],
    [512 * 4096 + 4, 4096, 1],
    [512 * 4096 + 5, 4096, 2],
    [4 * 1024 * 1024, 4096, 3],
    [4 * 1024 * 1024, 65536, 1],
    [65536, 65536, 0],
  ])("suffice for up to %i bytes in pages of %i: %i", (maxBytes, pageBytes, pages) => {
    expect(prpListPages(maxBytes, pageBytes)).toBe(pages);
  });
});
