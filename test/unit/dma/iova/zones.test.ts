/** IovaZones: alignment for huge pages, and addresses below limits. */
import { expect, test } from "vitest";
import { iova } from "../../../../src/dma/iova/address.js";
import { IovaAllocator } from "../../../../src/dma/iova/allocator.js";
import { hugeAlignment, IovaZones } from "../../../../src/dma/iova/zones.js";

const PAGE = 4096;
const HUGE = 2 ** 21;
const GIB = 2 ** 30;

test("hugeAlignment() returns the size of the largest huge page that the memory can fill", () => {
  expect([PAGE, HUGE - PAGE, HUGE, GIB - PAGE, GIB, 3 * GIB].map((size) => hugeAlignment(0, size))).toEqual([
    0,
    0,
    HUGE,
    HUGE,
    GIB,
    GIB,
  ]);
  // The start matters, too: the page table can use only huge pages that are aligned.
  expect([PAGE, HUGE, 3 * HUGE, GIB, 5 * GIB].map((origin) => hugeAlignment(origin, GIB))).toEqual([
    0,
    HUGE,
    HUGE,
    GIB,
    GIB,
  ]);
});

test("IovaZones allocates elsewhere if there is no place with the preferred alignment", () => {
  const zones = new IovaZones();
  const allocator = new IovaAllocator([{ start: iova(0n), last: iova(8n * BigInt(HUGE) - 1n) }], PAGE);
  const take = (): bigint => zones.alloc(allocator, HUGE, undefined, HUGE);
  expect(take()).toBe(BigInt(HUGE));
  // Single pages that leave one and a half huge pages free between them, and none that is aligned.
  for (const quarters of [9n, 15n, 17n, 23n, 25n, 31n])
    allocator.reserve((quarters * BigInt(HUGE)) / 4n, PAGE);
  const at = take();
  expect(at % BigInt(HUGE)).not.toBe(0n);
  // The caller's alignment is a requirement.
  expect(() => zones.alloc(allocator, HUGE, { alignBytes: HUGE }, HUGE)).toThrow(
    "no free I/O virtual addresses",
  );
});

test("IovaZones keeps the preferred alignment below a limit and above the limits of others", () => {
  const zones = new IovaZones();
  const allocator = new IovaAllocator([{ start: iova(0n), last: iova(2n ** 39n - 1n) }], PAGE);
  const last = 2n ** 28n - 1n;
  expect(zones.alloc(allocator, PAGE, { last })).toBe(0x1000n);
  expect(zones.alloc(allocator, HUGE, { last }, HUGE)).toBe(BigInt(HUGE));
  expect(zones.alloc(allocator, PAGE)).toBe(2n ** 28n);
  expect(zones.alloc(allocator, HUGE, {}, HUGE)).toBe(2n ** 28n + BigInt(HUGE));
});
