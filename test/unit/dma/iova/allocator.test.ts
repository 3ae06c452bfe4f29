/** IovaAllocator: placement, release, invalid arguments, a comparison with a simple model, and a long run. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ArgumentError } from "../../../../src/core/errors.js";
import { type IovaRange, iova } from "../../../../src/dma/iova/address.js";
import { IovaAllocator } from "../../../../src/dma/iova/allocator.js";
import { IovaSpaceError } from "../../../../src/dma/iova/error.js";

const GRANULE = 4096;

/** Ranges as the kernel reports them: both ends inside. */
function ranges(...pairs: [start: bigint, last: bigint][]): IovaRange[] {
  return pairs.map(([start, last]) => ({ start: iova(start), last: iova(last) }));
}

/** What an x86 host with an MSI window reports, cut short. */
const withHole = ranges([0x0n, 0xfedf_ffffn], [0xfef0_0000n, 0xffff_ffffn]);

/** The reason of the IovaSpaceError that the call throws. */
function reasonOf(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error instanceof IovaSpaceError ? error.reason : error;
  }
  return undefined;
}

describe("IovaAllocator", () => {
  test("allocates at the start of the smallest range that is large enough, and never at 0", () => {
    const allocator = new IovaAllocator(ranges([0x0n, 0xffff_ffffn], [1n << 32n, (1n << 47n) - 1n]), GRANULE);
    expect(allocator.granuleBytes).toBe(GRANULE);
    // Adjacent ranges are one range, which goes on behind the first mapping.
    expect(allocator.alloc(GRANULE)).toBe(0x1000n);
    expect(allocator.alloc(GRANULE)).toBe(0x2000n);
    allocator.reserve(0x6000n, GRANULE);
    // 0x3000..0x5fff is left in front of it: closest to two granules, and then to one.
    expect(allocator.alloc(2 * GRANULE)).toBe(0x3000n);
    expect(allocator.alloc(GRANULE)).toBe(0x5000n);
    expect(allocator.alloc(GRANULE)).toBe(0x7000n);
    expect(() => allocator.reserve(0n, GRANULE)).toThrow("is reserved, or this IOMMU");
  });

  test("leaves the addresses before an aligned range free", () => {
    const allocator = new IovaAllocator(ranges([0x1000n, 0xff_ffffn]), GRANULE);
    expect(allocator.alloc(2 * GRANULE, { alignBytes: 0x20_0000 })).toBe(0x20_0000n);
    expect(allocator.alloc(GRANULE)).toBe(0x1000n);
    expect(allocator.alloc(0x20_0000, { alignBytes: 0x20_0000 })).toBe(0x40_0000n);
  });

  test("stays within the first and the last address of a placement", () => {
    const allocator = new IovaAllocator(ranges([0n, (1n << 48n) - 1n]), GRANULE);
    const limit = (1n << 28n) - 1n;
    expect(allocator.alloc(GRANULE, { first: limit + 1n })).toBe(limit + 1n);
    const at = allocator.alloc(2 ** 28 - GRANULE, { last: limit });
    expect(at).toBe(0x1000n);
    expect(reasonOf(() => allocator.alloc(GRANULE, { last: limit }))).toBe("full");
    expect(allocator.alloc(GRANULE)).toBe(limit + 0x1001n);
    allocator.release(at, 2 ** 28 - GRANULE);
    expect(allocator.alloc(0x20_0000, { last: limit, alignBytes: 0x20_0000 })).toBe(0x20_0000n);
    expect(reasonOf(() => allocator.alloc(2 ** 28, { last: limit }))).toBe("full");
    expect(reasonOf(() => allocator.alloc(GRANULE, { last: 0xfffn }))).toBe("full");
  });

  test("finds the only aligned place among many ranges that are large enough but not aligned", () => {
    const allocator = new IovaAllocator(ranges([0n, 0xfff_ffffn]), GRANULE);
    // A taken granule in every 64 KiB but one: 15 granules are free in each, and nothing is aligned there.
    for (let at = 0n; at < 0x1000_0000n; at += 0x1_0000n) {
      if (at > 0n && at !== 0x777_0000n) allocator.reserve(at, GRANULE);
    }
    expect(allocator.alloc(8 * GRANULE, { alignBytes: 0x1_0000 })).toBe(0x777_0000n);
    expect(reasonOf(() => allocator.alloc(8 * GRANULE, { alignBytes: 0x1_0000 }))).toBe("full");
  });

  test("allocates behind a reserved hole what doesn't fit before it, and never in the hole", () => {
    const allocator = new IovaAllocator(withHole, GRANULE);
    allocator.reserve(0x1000n, 0xfedf_f000);
    expect(allocator.alloc(GRANULE)).toBe(0xfef0_0000n);
    expect(() => allocator.reserve(0xfee0_0000n, GRANULE)).toThrow("is reserved, or this IOMMU");
    // Half in the hole is in the hole.
    expect(() => allocator.reserve(0xfeef_f000n, 2 * GRANULE)).toThrow("is reserved, or this IOMMU");
    expect(reasonOf(() => allocator.reserve(0xfee0_0000n, GRANULE))).toBe("reserved");
  });

  test("rejects a fixed address that is taken, with an error that says so", () => {
    const allocator = new IovaAllocator(withHole, GRANULE);
    allocator.reserve(0x10_0000n, 4 * GRANULE);
    expect(() => allocator.reserve(0x10_3000n, 2 * GRANULE)).toThrow(
      "iova 0x103000..0x104fff is mapped already",
    );
    expect(() => allocator.reserve(0xf_f000n, 2 * GRANULE)).toThrow(IovaSpaceError);
    allocator.reserve(0x10_4000n, GRANULE);
  });

  test("uses the aperture up to its last byte, and nothing beyond", () => {
    const allocator = new IovaAllocator(ranges([0x1000n, (1n << 39n) - 1n]), GRANULE);
    expect(() => allocator.reserve(1n << 39n, GRANULE)).toThrow(IovaSpaceError);
    expect(() => allocator.reserve((1n << 39n) - 0x1000n, 2 * GRANULE)).toThrow(IovaSpaceError);
    allocator.reserve((1n << 39n) - 0x1000n, GRANULE);
    expect(() => allocator.alloc(2 ** 39)).toThrow(IovaSpaceError);
  });

  test("manages all 64 bits as one range", () => {
    const allocator = new IovaAllocator(ranges([0n, 2n ** 64n - 1n]), GRANULE);
    expect(allocator.freeBytes).toBe(2n ** 64n - 0x1000n);
    allocator.reserve(2n ** 64n - 0x1000n, GRANULE);
    expect(allocator.stats()).toEqual({
      freeBytes: 2n ** 64n - 0x2000n,
      largestFreeBytes: 2n ** 64n - 0x2000n,
      freeRanges: 1,
    });
    // A range can't wrap.
    expect(reasonOf(() => allocator.reserve(2n ** 64n - 0x2000n, 2 ** 14))).toBe("reserved");
  });

  test("can allocate the last page of 64 bits", () => {
    const allocator = new IovaAllocator(ranges([2n ** 64n - 0x2000n, 2n ** 64n - 1n]), GRANULE);
    expect(allocator.alloc(GRANULE)).toBe(2n ** 64n - 0x2000n);
    expect(allocator.alloc(GRANULE)).toBe(2n ** 64n - 0x1000n);
    expect(() => allocator.alloc(GRANULE)).toThrow(IovaSpaceError);
  });

  test("uses only the whole granules of a range", () => {
    const allocator = new IovaAllocator(ranges([0x1800n, 0x4fffn], [0x5100n, 0x5effn]), GRANULE);
    expect(allocator.freeBytes).toBe(0x3000n);
    expect(allocator.alloc(3 * GRANULE)).toBe(0x2000n);
  });

  test("merges ranges that overlap, and rejects invalid ranges, granules, alignments and limits", () => {
    const allocator = new IovaAllocator(
      ranges([0x1000n, 0x4fffn], [0x2000n, 0x2fffn], [0x3000n, 0x5fffn]),
      GRANULE,
    );
    expect(allocator.freeBytes).toBe(0x5000n);
    expect(() => new IovaAllocator(ranges([0x2000n, 0x1000n]), GRANULE)).toThrow(ArgumentError);
    for (const granule of [0, 1, 512, 5000]) {
      expect(() => new IovaAllocator(withHole, granule)).toThrow(ArgumentError);
    }
    expect(() => allocator.alloc(GRANULE, { alignBytes: 3 * GRANULE })).toThrow(ArgumentError);
    expect(() => allocator.alloc(GRANULE, { last: -1n })).toThrow(ArgumentError);
  });

  test.each([0, -GRANULE, 100, GRANULE + 1, Number.NaN])("rejects a size of %s", (size) => {
    const allocator = new IovaAllocator(withHole, GRANULE);
    expect(() => allocator.alloc(size)).toThrow(ArgumentError);
    expect(() => allocator.reserve(0x1000n, size)).toThrow(ArgumentError);
  });

  test("rejects a fixed address between granules", () => {
    expect(() => new IovaAllocator(withHole, GRANULE).reserve(0x1800n, GRANULE)).toThrow(ArgumentError);
  });
});

describe("IovaAllocator.release()", () => {
  test("rejects a range that is free already, entirely or in part", () => {
    const allocator = new IovaAllocator(withHole, GRANULE);
    const at = allocator.alloc(4 * GRANULE);
    const free = allocator.freeBytes;
    allocator.release(at, 4 * GRANULE);
    expect(() => allocator.release(at, 4 * GRANULE)).toThrow("is free already");
    expect(() => allocator.release(at + 0x1000n, GRANULE)).toThrow("is free already");
    expect(allocator.freeBytes).toBe(free + 0x4000n);
  });

  test("rejects addresses that can't be allocated", () => {
    const allocator = new IovaAllocator(withHole, GRANULE);
    for (const start of [0n, 0xfee0_0000n, 1n << 40n]) {
      expect(() => allocator.release(start, GRANULE)).toThrow(ArgumentError);
    }
  });

  test("merges a range with the free ranges before and after it", () => {
    const allocator = new IovaAllocator(ranges([0x1000n, 0x3fffn]), GRANULE);
    const [first, middle, last] = [1, 2, 3].map(() => allocator.alloc(GRANULE));
    allocator.release(first ?? 0n, GRANULE);
    allocator.release(last ?? 0n, GRANULE);
    expect(() => allocator.alloc(3 * GRANULE)).toThrow(IovaSpaceError);
    allocator.release(middle ?? 0n, GRANULE);
    expect(allocator.alloc(3 * GRANULE)).toBe(0x1000n);
  });
});

describe("IovaAllocator in comparison with a model of single granules", () => {
  const PAGES = 96;

  /** One flag per granule: slow, and simple enough to be correct. */
  class Model {
    readonly free: boolean[];

    constructor(readonly usable: readonly boolean[]) {
      this.free = [...usable];
    }

    isFree(first: number, count: number): boolean {
      return first + count <= PAGES && this.free.slice(first, first + count).every(Boolean);
    }

    fits(count: number, align: number): boolean {
      for (let first = 0; first < PAGES; first += align) if (this.isFree(first, count)) return true;
      return false;
    }

    /** Length of the free stretch around a granule. */
    stretch(at: number): number {
      let [start, end] = [at, at];
      while (this.free[start - 1] === true) start--;
      while (this.free[end] === true) end++;
      return end - start;
    }

    /** Length of the smallest free stretch that holds `count`. */
    smallest(count: number): number {
      const lengths = this.free.map((free, i) => (free ? this.stretch(i) : 0));
      return Math.min(...lengths.filter((length) => length >= count));
    }

    set(first: number, count: number, free: boolean): void {
      this.free.fill(free, first, first + count);
    }

    get freeBytes(): bigint {
      return BigInt(this.free.filter(Boolean).length * GRANULE);
    }
  }

  type Step =
    | { readonly kind: "alloc"; readonly count: number; readonly align: number }
    | { readonly kind: "reserve"; readonly first: number; readonly count: number }
    | { readonly kind: "release"; readonly which: number };

  const count = fc.integer({ min: 1, max: 12 });
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({ kind: fc.constant("alloc" as const), count, align: fc.constantFrom(1, 2, 4, 8, 16) }),
    fc.record({ kind: fc.constant("reserve" as const), first: fc.nat(PAGES), count }),
    fc.record({ kind: fc.constant("release" as const), which: fc.nat() }),
  );

  /** Stretches of granules, usable or not. Adjacent ones can be of the same kind. */
  const layout = fc.array(fc.record({ length: fc.integer({ min: 1, max: 24 }), usable: fc.boolean() }), {
    minLength: 1,
    maxLength: 10,
  });

  function build(stretches: readonly { length: number; usable: boolean }[]): {
    usable: boolean[];
    reported: IovaRange[];
  } {
    const usable: boolean[] = new Array(PAGES).fill(false);
    const reported: IovaRange[] = [];
    let at = 0;
    for (const stretch of stretches) {
      const end = Math.min(at + stretch.length, PAGES);
      if (stretch.usable && end > at) {
        usable.fill(true, at, end);
        reported.push(...ranges([BigInt(at * GRANULE), BigInt(end * GRANULE - 1)]));
      }
      at = end;
    }
    // Address 0 is never given out.
    usable[0] = false;
    // The kernel promises no order.
    return { usable, reported: reported.reverse() };
  }

  test("chooses a best fit, rejects the same requests and loses nothing in random steps, and is whole in the end", () => {
    fc.assert(
      fc.property(layout, fc.array(step, { maxLength: 60 }), (stretches, steps) => {
        const { usable, reported } = build(stretches);
        const allocator = new IovaAllocator(reported, GRANULE);
        const model = new Model(usable);
        const live: { first: number; count: number }[] = [];
        const release = (index: number): void => {
          const [given] = live.splice(index, 1);
          if (given === undefined) return;
          allocator.release(BigInt(given.first * GRANULE), given.count * GRANULE);
          model.set(given.first, given.count, true);
        };
        for (const next of steps) {
          if (next.kind === "alloc") {
            const alloc = () => allocator.alloc(next.count * GRANULE, { alignBytes: next.align * GRANULE });
            if (!model.fits(next.count, next.align)) expect(alloc).toThrow(IovaSpaceError);
            else {
              const first = Number(alloc()) / GRANULE;
              expect(first % next.align).toBe(0);
              expect(model.isFree(first, next.count)).toBe(true);
              if (next.align === 1) expect(model.stretch(first)).toBe(model.smallest(next.count));
              model.set(first, next.count, false);
              live.push({ first, count: next.count });
            }
          } else if (next.kind === "reserve") {
            const reserve = () => allocator.reserve(BigInt(next.first * GRANULE), next.count * GRANULE);
            if (!model.isFree(next.first, next.count)) expect(reserve).toThrow(IovaSpaceError);
            else {
              reserve();
              model.set(next.first, next.count, false);
              live.push({ first: next.first, count: next.count });
            }
          } else if (live.length > 0) release(next.which % live.length);
          expect(allocator.freeBytes).toBe(model.freeBytes);
        }
        while (live.length > 0) release(0);
        expect(model.free).toEqual(usable);
        // Every stretch of usable granules can be reserved in one piece, and then nothing is left.
        let first = 0;
        while (first < PAGES) {
          let end = first;
          while (usable[end] === true) end++;
          if (end > first) allocator.reserve(BigInt(first * GRANULE), (end - first) * GRANULE);
          first = end + 1;
        }
        expect(allocator.freeBytes).toBe(0n);
      }),
      { numRuns: 500 },
    );
  });
});

test("IovaAllocator allocates nothing twice, loses nothing and rejects only what doesn't fit in a million operations", () => {
  const PAGES = 4096;
  const usable = (page: number): boolean => page > 0 && (page < 1500 || page >= 1756);
  const allocator = new IovaAllocator(
    ranges([0n, BigInt(1500 * GRANULE) - 1n], [BigInt(1756 * GRANULE), BigInt(PAGES * GRANULE) - 1n]),
    GRANULE,
  );
  const taken = Uint8Array.from({ length: PAGES }, (_, page) => (usable(page) ? 0 : 1));
  const initially = allocator.freeBytes;
  let seed = 12345;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  const fits = (count: number, align: number, low: number, high: number): boolean => {
    for (let first = Math.ceil(low / align) * align; first + count - 1 <= high; first += align) {
      if (!taken.subarray(first, first + count).includes(1)) return true;
    }
    return false;
  };
  const live: { first: number; count: number }[] = [];
  let livePages = 0;
  let refused = 0;
  const problems: string[] = [];
  const took = (what: string, first: number, count: number): void => {
    if (taken.subarray(first, first + count).includes(1))
      problems.push(`${what} gave ${first} + ${count} twice`);
    taken.fill(1, first, first + count);
    live.push({ first, count });
    livePages += count;
  };
  for (let i = 0; i < 1_000_000 && problems.length === 0; i++) {
    const what = random(20);
    const count = 1 + random(random(8) === 0 ? 64 : 6);
    if (what < 9) {
      const align = 1 << random(6);
      const [low, high] = what < 6 ? [0, PAGES - 1] : [random(PAGES), random(PAGES)];
      try {
        const placement = { first: BigInt(low * GRANULE), last: BigInt(high * GRANULE) + 4095n };
        const at = Number(allocator.alloc(count * GRANULE, { ...placement, alignBytes: align * GRANULE }));
        const first = at / GRANULE;
        if (first % align !== 0 || first < low || first + count - 1 > high) {
          problems.push(`${first} + ${count} is not within ${low}..${high} aligned to ${align}`);
        }
        took("alloc", first, count);
      } catch (error) {
        if (!(error instanceof IovaSpaceError)) throw error;
        refused++;
        if (fits(count, align, low, high)) problems.push(`${count} aligned to ${align} was refused`);
      }
    } else if (what < 11) {
      const first = random(PAGES);
      try {
        allocator.reserve(BigInt(first * GRANULE), count * GRANULE);
        took("reserve", first, count);
      } catch (error) {
        if (!(error instanceof IovaSpaceError)) throw error;
        refused++;
        if (first + count <= PAGES && !taken.subarray(first, first + count).includes(1)) {
          problems.push(`fixed ${first} + ${count} was refused`);
        }
      }
    } else if (live.length > 0) {
      const which = random(live.length);
      const last = live.pop();
      const given = which < live.length ? live[which] : last;
      if (given === undefined || last === undefined) continue;
      if (which < live.length) live[which] = last;
      allocator.release(BigInt(given.first * GRANULE), given.count * GRANULE);
      taken.fill(0, given.first, given.first + given.count);
      livePages -= given.count;
    }
    if (allocator.freeBytes !== initially - BigInt(livePages * GRANULE))
      problems.push(`bytes were lost at ${i}`);
  }
  expect(problems).toEqual([]);
  expect(refused).toBeGreaterThan(1000);
  for (const { first, count } of live) allocator.release(BigInt(first * GRANULE), count * GRANULE);
  expect(allocator.stats()).toEqual({
    freeBytes: initially,
    largestFreeBytes: BigInt((PAGES - 1756) * GRANULE),
    freeRanges: 2,
  });
});

test("IovaAllocator rejects the release of a part of a range", () => {
  const allocator = new IovaAllocator(withHole, GRANULE);
  const at = allocator.alloc(4 * GRANULE);
  for (const part of [() => allocator.release(at, GRANULE), () => allocator.release(at, 5 * GRANULE)]) {
    expect(part).toThrow(ArgumentError);
  }
  expect(() => allocator.release(at + 0x1000n, GRANULE)).toThrow("was not allocated as one range");
  allocator.release(at, 4 * GRANULE);
  expect(allocator.stats().freeRanges).toBe(2);
});

test("IovaAllocator finds a range that fits behind many smaller ones in the same bin", () => {
  const allocator = new IovaAllocator(ranges([0n, 2n ** 48n - 1n]), GRANULE);
  // 1000 to 1007 granules are sizes of one bin; only one range has 1007, and it is filed first.
  const sizes = [1007, ...Array.from({ length: 100 }, () => 1000)];
  const given = sizes.map((size) => {
    const at = allocator.alloc(size * GRANULE);
    allocator.alloc(GRANULE);
    return at;
  });
  allocator.reserve(allocator.alloc(GRANULE) + 0x1000n, Number(2n ** 40n));
  for (const [i, at] of given.entries()) allocator.release(at, (sizes[i] ?? 0) * GRANULE);
  expect(allocator.alloc(1000 * GRANULE)).not.toBe(given[0]);
  const rest = { last: (given.at(-1) ?? 0n) + 0xff_ffffn };
  expect(allocator.alloc(1007 * GRANULE, rest)).toBe(given[0]);
  expect(reasonOf(() => allocator.alloc(1007 * GRANULE, rest))).toBe("full");
});

test("IovaAllocator respects more limits than it has bins for", () => {
  const allocator = new IovaAllocator(ranges([0n, 2n ** 48n - 1n]), GRANULE);
  for (let bits = 20n; bits < 40n; bits++) {
    const last = 2n ** bits - 1n;
    expect(allocator.alloc(GRANULE, { last })).toBeLessThan(last);
    expect(allocator.alloc(GRANULE, { first: last + 1n })).toBeGreaterThan(last);
  }
});

test("IovaAllocator leaves nothing behind in its bins when one range grows and shrinks 100,000 times", () => {
  const allocator = new IovaAllocator(ranges([0n, 2n ** 48n - 1n]), GRANULE);
  const first = allocator.alloc(GRANULE);
  for (let i = 0; i < 100_000; i++) {
    const at = allocator.alloc((1 + (i % 7)) * GRANULE);
    allocator.release(at, (1 + (i % 7)) * GRANULE);
  }
  allocator.release(first, GRANULE);
  expect(allocator.stats().freeRanges).toBe(1);
  expect(allocator.alloc(GRANULE)).toBe(0x1000n);
});

test("IovaAllocator finds each hole between 100,000 live ranges by its address and by its size", () => {
  const COUNT = 100_000;
  const allocator = new IovaAllocator(ranges([0n, (1n << 48n) - 1n]), GRANULE);
  const given = Array.from({ length: 2 * COUNT }, () => allocator.alloc(GRANULE));
  for (const [i, at] of given.entries()) if (i % 2 === 0) allocator.release(at, GRANULE);
  expect(allocator.stats().freeRanges).toBe(COUNT + 1);
  // Two in a row make a larger hole, which is what two granules go into.
  const middle = given[COUNT + 1] ?? 0n;
  allocator.release(middle, GRANULE);
  expect(allocator.alloc(2 * GRANULE)).toBe(middle - 0x1000n);
  for (const at of [given[0] ?? 0n, given[2 * COUNT - 2] ?? 0n]) allocator.reserve(at, GRANULE);
  expect(reasonOf(() => allocator.reserve(given[1] ?? 0n, GRANULE))).toBe("taken");
});

test("IovaAllocator allocates ranges side by side that are released alone or as one", () => {
  const allocator = new IovaAllocator(ranges([0x1000n, 0x8fffn]), GRANULE);
  const free = allocator.freeBytes;
  const into = new Float64Array(8);
  expect(allocator.allocSideBySide(2 * GRANULE, into, 3)).toBe(3);
  expect([...into.subarray(0, 3)]).toEqual([1, 3, 5]);
  expect(allocator.allocSideBySide(GRANULE, into, 8)).toBe(2);
  expect([...into.subarray(0, 2)]).toEqual([7, 8]);
  expect(reasonOf(() => allocator.allocSideBySide(GRANULE, into, 8))).toBe("full");
  allocator.releasePages(3, 2 * GRANULE);
  expect(allocator.alloc(2 * GRANULE)).toBe(0x3000n);
  allocator.releaseSideBySide(1, 2 * GRANULE, 3);
  expect(() => allocator.releaseSideBySide(1, 2 * GRANULE, 3)).toThrow(ArgumentError);
  allocator.releaseSideBySide(7, GRANULE, 2);
  expect([allocator.freeBytes, allocator.stats().freeRanges]).toEqual([free, 1]);
});
