import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type IovaRange, iova } from "../../../src/dma/iova.js";
import { IovaAllocator, IovaSpaceError } from "../../../src/dma/iova-allocator.js";
import { ArgumentError } from "../../../src/sys/errors.js";

const GRANULE = 4096;

/** Ranges as the kernel reports them: both ends inside. */
function ranges(...pairs: [start: bigint, last: bigint][]): IovaRange[] {
  return pairs.map(([start, last]) => ({ start: iova(start), last: iova(last) }));
}

/** What an x86 host with an MSI window reports, cut short. */
const withHole = ranges([0x0n, 0xfedf_ffffn], [0xfef0_0000n, 0xffff_ffffn]);

describe("alloc and reserve", () => {
  test("lowest address first, never 0", () => {
    const allocator = new IovaAllocator(withHole, GRANULE);
    expect(allocator.alloc(GRANULE)).toBe(0x1000n);
    expect(allocator.alloc(GRANULE)).toBe(0x2000n);
    expect(() => allocator.reserve(0n, GRANULE)).toThrow("is reserved or beyond");
  });

  test("alignment skips what lies before it and leaves that free", () => {
    const allocator = new IovaAllocator(withHole, GRANULE);
    expect(allocator.alloc(2 * GRANULE, 0x20_0000)).toBe(0x20_0000n);
    expect(allocator.alloc(GRANULE)).toBe(0x1000n);
  });

  test("what does not fit before a reserved hole goes behind it; the hole can't be had", () => {
    const allocator = new IovaAllocator(withHole, GRANULE);
    allocator.reserve(0x1000n, 0xfedf_f000);
    expect(allocator.alloc(GRANULE)).toBe(0xfef0_0000n);
    expect(() => allocator.reserve(0xfee0_0000n, GRANULE)).toThrow("is reserved or beyond");
    // Half in the hole is in the hole.
    expect(() => allocator.reserve(0xfeef_f000n, 2 * GRANULE)).toThrow("is reserved or beyond");
  });

  test("a fixed address that is taken is refused, and says so", () => {
    const allocator = new IovaAllocator(withHole, GRANULE);
    allocator.reserve(0x10_0000n, 4 * GRANULE);
    expect(() => allocator.reserve(0x10_3000n, 2 * GRANULE)).toThrow(
      "iova 0x103000..0x104fff is mapped already",
    );
    expect(() => allocator.reserve(0xf_f000n, 2 * GRANULE)).toThrow(IovaSpaceError);
    allocator.reserve(0x10_4000n, GRANULE);
  });

  test("nothing beyond the aperture, and all of it up to its last byte", () => {
    const allocator = new IovaAllocator(ranges([0x1000n, (1n << 39n) - 1n]), GRANULE);
    expect(() => allocator.reserve(1n << 39n, GRANULE)).toThrow(IovaSpaceError);
    expect(() => allocator.reserve((1n << 39n) - 0x1000n, 2 * GRANULE)).toThrow(IovaSpaceError);
    allocator.reserve((1n << 39n) - 0x1000n, GRANULE);
    expect(() => allocator.alloc(2 ** 39)).toThrow(IovaSpaceError);
  });

  test("the last page of 64 bits can be used", () => {
    const allocator = new IovaAllocator(ranges([2n ** 64n - 0x2000n, 2n ** 64n - 1n]), GRANULE);
    expect(allocator.alloc(GRANULE)).toBe(2n ** 64n - 0x2000n);
    expect(allocator.alloc(GRANULE)).toBe(2n ** 64n - 0x1000n);
    expect(() => allocator.alloc(GRANULE)).toThrow(IovaSpaceError);
  });

  test("ranges that don't end on a granule are cut to whole ones", () => {
    const allocator = new IovaAllocator(ranges([0x1800n, 0x4fffn], [0x5100n, 0x5effn]), GRANULE);
    expect(allocator.freeBytes).toBe(0x3000n);
    expect(allocator.alloc(3 * GRANULE)).toBe(0x2000n);
  });

  test.each([0, -GRANULE, 100, GRANULE + 1, Number.NaN])("a size of %s is refused", (size) => {
    const allocator = new IovaAllocator(withHole, GRANULE);
    expect(() => allocator.alloc(size)).toThrow(ArgumentError);
    expect(() => allocator.reserve(0x1000n, size)).toThrow(ArgumentError);
  });

  test("a fixed address between granules is refused", () => {
    expect(() => new IovaAllocator(withHole, GRANULE).reserve(0x1800n, GRANULE)).toThrow(ArgumentError);
  });
});

describe("release", () => {
  test("twice is refused, wholly or in part", () => {
    const allocator = new IovaAllocator(withHole, GRANULE);
    const at = allocator.alloc(4 * GRANULE);
    const free = allocator.freeBytes;
    allocator.release(at, 4 * GRANULE);
    expect(() => allocator.release(at, 4 * GRANULE)).toThrow("is free already");
    expect(() => allocator.release(at + 0x1000n, GRANULE)).toThrow("is free already");
    expect(allocator.freeBytes).toBe(free + 0x4000n);
  });

  test("what was never handed out can't be given back, and so never be handed out later", () => {
    const allocator = new IovaAllocator(withHole, GRANULE);
    for (const start of [0n, 0xfee0_0000n, 1n << 40n]) {
      expect(() => allocator.release(start, GRANULE)).toThrow(ArgumentError);
    }
  });

  test("what lies between two free neighbours joins them", () => {
    const allocator = new IovaAllocator(ranges([0x1000n, 0x3fffn]), GRANULE);
    const [first, middle, last] = [1, 2, 3].map(() => allocator.alloc(GRANULE));
    allocator.release(first ?? 0n, GRANULE);
    allocator.release(last ?? 0n, GRANULE);
    expect(() => allocator.alloc(3 * GRANULE)).toThrow(IovaSpaceError);
    allocator.release(middle ?? 0n, GRANULE);
    expect(allocator.alloc(3 * GRANULE)).toBe(0x1000n);
  });
});

describe("against a model that knows nothing but single granules", () => {
  const PAGES = 96;

  /** One flag per granule: slow, and plain enough to be right. */
  class Model {
    readonly free: boolean[];

    constructor(readonly usable: readonly boolean[]) {
      this.free = [...usable];
    }

    isFree(first: number, count: number): boolean {
      return first + count <= PAGES && this.free.slice(first, first + count).every(Boolean);
    }

    lowest(count: number, align: number): number | undefined {
      for (let first = 0; first < PAGES; first += align) if (this.isFree(first, count)) return first;
      return undefined;
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

  /** Stretches of granules, some usable and some not, some of them neighbours that could be one. */
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

  test("random steps agree: same addresses, same refusals, nothing lost, all whole in the end", () => {
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
            const expected = model.lowest(next.count, next.align);
            const alloc = () => allocator.alloc(next.count * GRANULE, next.align * GRANULE);
            if (expected === undefined) expect(alloc).toThrow(IovaSpaceError);
            else {
              expect(alloc()).toBe(BigInt(expected * GRANULE));
              model.set(expected, next.count, false);
              live.push({ first: expected, count: next.count });
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
        // Whole again: every stretch of usable granules can be had in one piece, and then nothing is left.
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
