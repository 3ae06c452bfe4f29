/** DmaPool: blocks, handles, statistics, and the mappings behind them. */
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ArgumentError, BusyError, ClosedError, StateError } from "../../../src/core/errors.js";
import { DmaPool, PoolExhaustedError, type PoolHandle } from "../../../src/dma/pool.js";
import { DmaSpace } from "../../../src/dma/space.js";
import { compileTree } from "../../support/compiled.js";
import { IdentityMapper } from "../../support/identity-mapper.js";
import { run } from "../../support/run.js";

const KIB = 1024;

let mapper: IdentityMapper;
let space: DmaSpace;
beforeEach(() => {
  mapper = new IdentityMapper();
  space = new DmaSpace(mapper);
});

// Closes the space and everything in it.
afterEach(() => mapper.lease.close());

describe("a block of a DmaPool", () => {
  test("is aligned, overlaps no other block, shares a mapping with others, and has the address that the device uses", () => {
    using pool = new DmaPool(space, { blockSizes: [512], slabBytes: 64 * KIB });
    const blocks = Array.from({ length: 256 }, () => pool.alloc(512));
    expect(mapper.mapped.size).toBe(2);
    const addresses = blocks.map((block) => pool.iova(block)).sort((a, b) => (a < b ? -1 : 1));
    expect(new Set(addresses).size).toBe(256);
    for (const [i, block] of blocks.entries()) {
      const at = pool.iova(block);
      expect(at % 512n).toBe(0n);
      expect((BigInt(pool.iovaHigh(block)) << 32n) | BigInt(pool.iovaLow(block))).toBe(at);
      expect(pool.buffer(block).iova + BigInt(pool.offset(block))).toBe(at);
      expect(space.translate(pool.bytes(block))).toBe(at);
      const words = new Uint32Array(4);
      pool.writeIova(block, words, 1);
      expect([...words]).toEqual([0, pool.iovaLow(block), pool.iovaHigh(block), 0]);
      pool.bytes(block).fill(i);
    }
    expect(blocks.every((block, i) => pool.bytes(block).every((byte) => byte === (i & 0xff)))).toBe(true);
  });

  test("has the right high half of its address in a mapping that crosses 4 GiB", () => {
    const low = 0xffff_0000n;
    // Only this mapper lets a test choose the address of a pool's mapping.
    mapper.next = low;
    using pool = new DmaPool(space, {
      blockSizes: [64 * KIB],
      slabBytes: 128 * KIB,
      prefill: true,
      maxBytes: 128 * KIB,
    });
    const [first, second] = [pool.alloc(1), pool.alloc(1)];
    expect([pool.iovaLow(first), pool.iovaHigh(first)]).toEqual([0xffff_0000, 0]);
    expect([pool.iovaLow(second), pool.iovaHigh(second)]).toEqual([0, 1]);
    const words = new Uint32Array(2);
    pool.writeIova(second, words, 0);
    expect([...words]).toEqual([0, 1]);
  });

  test("has the smallest size that holds the requested bytes", () => {
    using pool = new DmaPool(space, { blockSizes: [4096, 64, 192], slabBytes: 64 * KIB });
    const size = (bytes: number): number => pool.bytes(pool.alloc(bytes)).length;
    expect([1, 64, 65, 192, 193, 4096].map(size)).toEqual([64, 64, 192, 192, 4096, 4096]);
    expect(pool.maxBlockBytes).toBe(4096);
  });

  test.each([0, -1, 0.5, 65537, Number.NaN, 2 ** 32 + 1])("can't have %s bytes", (bytes) => {
    using pool = new DmaPool(space);
    expect(() => pool.alloc(bytes)).toThrow(ArgumentError);
    expect(pool.stats()).toMatchObject({ inUse: 0, mappedBytes: 0 });
  });
});

describe("a handle of a DmaPool", () => {
  test("is rejected after its block was freed, however often the block was used since", () => {
    using pool = new DmaPool(space, { blockSizes: [4096], slabBytes: 4096, maxBytes: 4096 });
    const stale = pool.alloc(100);
    pool.free(stale);
    const uses = [
      () => pool.free(stale),
      () => pool.bytes(stale),
      () => pool.iova(stale),
      () => pool.iovaLow(stale),
      () => pool.iovaHigh(stale),
      () => pool.buffer(stale),
      () => pool.offset(stale),
      () => pool.sizeBytes(stale),
      () => pool.writeIova(stale, new Uint32Array(2), 0),
    ];
    for (let i = 0; i < 1000; i++) {
      const next = pool.alloc(1);
      for (const use of uses) expect(use).toThrow(StateError);
      pool.free(next);
      for (const use of uses) expect(use).toThrow(StateError);
    }
    expect(pool.stats()).toMatchObject({ inUse: 0, inUseBytes: 0 });
  });

  test("is rejected if the pool did not return it", () => {
    using pool = new DmaPool(space, { blockSizes: [64] });
    pool.alloc(1);
    for (const handle of [0, 1, -1, 2 ** 31, Number.NaN]) {
      expect(() => pool.free(handle as PoolHandle), String(handle)).toThrow(StateError);
    }
  });

  test("is still rejected after its mapping was divided into blocks of another size", () => {
    using pool = new DmaPool(space, { blockSizes: [64, 4096], slabBytes: 4096, maxBytes: 4096 });
    const small = Array.from({ length: 64 }, () => pool.alloc(64));
    expect(() => pool.alloc(4096)).toThrow(PoolExhaustedError);
    for (const block of small) pool.free(block);
    const large = pool.alloc(4096);
    expect(mapper.mapped.size).toBe(1);
    for (const block of small) expect(() => pool.free(block)).toThrow(StateError);
    expect(() => pool.alloc(64)).toThrow(PoolExhaustedError);
    pool.free(large);
    expect(pool.bytes(pool.alloc(64))).toHaveLength(64);
    expect(() => pool.free(large)).toThrow(StateError);
  });

  test("is still rejected after a mapping was divided anew whose blocks were too many for the arguments of a call", () => {
    const slabBytes = 16 * KIB * KIB;
    using pool = new DmaPool(space, { blockSizes: [64, slabBytes], slabBytes, maxBytes: slabBytes });
    const small = pool.alloc(64);
    pool.free(small);
    const large = pool.alloc(slabBytes);
    expect(() => pool.free(small)).toThrow(StateError);
    pool.free(large);
    expect(pool.bytes(pool.alloc(64))).toHaveLength(64);
    expect(() => pool.free(small)).toThrow(StateError);
  });
});

test("DmaPool.stats() returns what is in use, the maximum so far, and what is wasted", () => {
  using pool = new DmaPool(space, { blockSizes: [1024, 4096], slabBytes: 16 * KIB });
  expect(pool.stats()).toMatchObject({
    internalFragmentation: 0,
    externalFragmentation: 0,
    highWaterBytes: 0,
  });
  const [a, b] = [pool.alloc(512), pool.alloc(1024)];
  const large = pool.alloc(2560);
  expect(pool.stats()).toEqual({
    inUse: 3,
    inUseBytes: 4096,
    highWaterBytes: 6144,
    mappedBytes: 32 * KIB,
    internalFragmentation: 1 - 4096 / 6144,
    externalFragmentation: (32 - 6) / 32,
    sizes: [
      { blockBytes: 1024, blocks: 16, inUse: 2, highWater: 2 },
      { blockBytes: 4096, blocks: 4, inUse: 1, highWater: 1 },
    ],
  });
  expect([pool.sizeBytes(a), pool.sizeBytes(large)]).toEqual([512, 2560]);
  for (const block of [a, b, large]) pool.free(block);
  expect(pool.stats()).toMatchObject({
    inUse: 0,
    inUseBytes: 0,
    highWaterBytes: 6144,
    externalFragmentation: 0,
  });
});

describe("closing a DmaPool", () => {
  test("removes its mappings and makes its handles invalid, as closing its space does", () => {
    for (const end of [(pool: DmaPool) => pool.close(), () => space.close()]) {
      space = new DmaSpace(mapper);
      const pool = new DmaPool(space, { blockSizes: [4096] });
      const block = pool.alloc(1);
      const bytes = pool.bytes(block);
      bytes.fill(7);
      end(pool);
      pool.close();
      expect(mapper.mapped.size).toBe(0);
      expect(bytes.every((byte) => byte === 0)).toBe(true);
      expect(() => pool.bytes(block)).toThrow(ClosedError);
      expect(() => pool.free(block)).toThrow(ClosedError);
      expect(() => pool.alloc(1)).toThrow(ClosedError);
    }
  });

  test("fails while a command uses one of its mappings", () => {
    using pool = new DmaPool(space, { blockSizes: [4096] });
    const { lease } = pool.buffer(pool.alloc(1));
    lease.hold("a command");
    expect(() => pool.close()).toThrow(BusyError);
    expect(pool.closed).toBe(false);
    lease.drop();
  });

  test("happens in the constructor if prefilling fails", () => {
    mapper.refuseNext = true;
    expect(() => new DmaPool(space, { blockSizes: [64], prefill: true })).toThrow("ENOMEM");
    expect(mapper.mapped.size).toBe(0);
  });
});

test.each([
  [{ blockSizes: [] }],
  [{ blockSizes: [100] }],
  [{ blockSizes: [0] }],
  [{ blockSizes: [4096], slabBytes: 2048 }],
  [{ blockSizes: [8192], slabBytes: 4096 }],
  [{ slabBytes: 5000 }],
  [{ maxBytes: 1024 }],
  [{ maxBytes: 2 ** 31 }],
  [{ blockSizes: [64], maxBytes: 2 ** 30, slabBytes: 2 ** 30, prefill: false }],
  [{ blockSizes: [64, 128], prefill: true }],
])("DmaPool either rejects the options %j or works with them", (options) => {
  let pool: DmaPool | undefined;
  try {
    pool = new DmaPool(space, options);
  } catch (error) {
    expect(error).toBeInstanceOf(ArgumentError);
  }
  pool?.free(pool.alloc(1));
  pool?.close();
  expect(mapper.mapped.size).toBe(0);
});

test("a DmaPool that allocates and frees a million blocks makes no garbage and no new mappings", async () => {
  const program = "test/unit/fixtures/pool-garbage.ts";
  using tree = compileTree(program);
  const { status, stdout } = await run(process.execPath, ["--expose-gc", tree.file(program)]);
  expect(status).toBe(0);
  const { blocks, grown, collections, mappings } = JSON.parse(stdout);
  expect(collections).toBe(0);
  expect(mappings[1]).toBe(mappings[0]);
  // V8 keeps some memory for measuring. One word for each block would be 8 MB.
  expect(grown / blocks).toBeLessThan(0.05);
});

test("a DmaPool in random use allocates no block twice, loses no content, and counts correctly", () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("alloc" as const), bytes: fc.integer({ min: 1, max: 8192 }) }),
    fc.record({ kind: fc.constant("free" as const), which: fc.nat() }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      using pool = new DmaPool(space, {
        blockSizes: [64, 192, 1024, 8192],
        slabBytes: 8192,
        maxBytes: 64 * KIB,
      });
      const live: { block: PoolHandle; mark: number; bytes: number }[] = [];
      for (const [i, next] of steps.entries()) {
        if (next.kind === "alloc") {
          try {
            const block = pool.alloc(next.bytes);
            const mark = 1 + (i % 255);
            pool.bytes(block).fill(mark);
            live.push({ block, mark, bytes: next.bytes });
          } catch (error) {
            expect(error).toBeInstanceOf(PoolExhaustedError);
          }
        } else if (live.length > 0) {
          const [gone] = live.splice(next.which % live.length, 1);
          if (gone !== undefined) pool.free(gone.block);
        }
      }
      for (const { block, mark } of live) expect(pool.bytes(block).every((byte) => byte === mark)).toBe(true);
      expect(pool.stats()).toMatchObject({
        inUse: live.length,
        inUseBytes: live.reduce((sum, { bytes }) => sum + bytes, 0),
      });
    }),
    { numRuns: 100 },
  );
});
