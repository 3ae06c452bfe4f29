/** AddressChooser, tested against a simulated kernel that other users share. */
import { expect, test } from "vitest";
import { Errno } from "../../../src/core/errno.js";
import { ArgumentError, StateError, SysError } from "../../../src/core/errors.js";
import { AddressChooser, type MapAttempt, type MappableAddresses } from "../../../src/dma/address-chooser.js";
import { type IovaRange, iova } from "../../../src/dma/iova/address.js";
import type { IovaPlacement } from "../../../src/dma/iova/allocator.js";
import { IovaSpaceError } from "../../../src/dma/iova/error.js";

const PAGE = 4096;
const FIRST = 16;

/** The kernel's side of an address space: the pages that it translates, and those that are mapped. */
class Kernel {
  readonly mapped = new Set<number>();
  reads = 0;

  constructor(public lastPage: number) {}

  readonly attempt: MapAttempt = (iovaPage, _origin, sizeBytes) => {
    const pages = Array.from({ length: sizeBytes / PAGE }, (_, i) => iovaPage + i);
    const fail = (errno: number): never => {
      throw new SysError("MAP", errno);
    };
    if (pages.some((page) => page < FIRST || page > this.lastPage)) fail(Errno.EINVAL);
    if (pages.some((page) => this.mapped.has(page))) fail(Errno.EEXIST);
    for (const page of pages) this.mapped.add(page);
  };

  chooser(besideKernel = false, avoid: readonly IovaRange[] = []): AddressChooser {
    const read = (): MappableAddresses => {
      this.reads++;
      const ranges = [
        { start: iova(BigInt(FIRST * PAGE)), last: iova(BigInt((this.lastPage + 1) * PAGE - 1)) },
      ];
      return { ranges, alignmentBytes: PAGE, avoid };
    };
    return new AddressChooser(read, besideKernel);
  }
}

function reasonOf(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error instanceof IovaSpaceError ? error.reason : error;
  }
  return undefined;
}

test("AddressChooser chooses another address if another user has mapped something at the first one", () => {
  const kernel = new Kernel(31);
  const chooser = kernel.chooser();
  kernel.mapped.add(FIRST).add(FIRST + 1);
  expect(chooser.map(kernel.attempt, PAGE, PAGE, "read", undefined, undefined)).toBe(FIRST + 2);
  expect(chooser.map(kernel.attempt, PAGE, PAGE, "read", undefined, undefined)).toBe(FIRST + 3);
});

test("AddressChooser refuses a range that a buffer of a tracked list touches, and no other", () => {
  const chooser = new Kernel(63).chooser();
  chooser.track({ closing: false, records: () => [{ iovaPage: 20, mappedBytes: 2 * PAGE }] });
  const asked = (page: number, pages: number) => () =>
    chooser.assertNoBuffer(BigInt(page * PAGE), pages * PAGE);
  for (const [page, pages] of [
    [20, 1],
    [21, 1],
    [19, 2],
    [16, 40],
  ] as const)
    expect(asked(page, pages)).toThrow(/^a DMA buffer is mapped at iova 0x14000, and only its close\(\)/);
  expect(asked(20, 1)).toThrow(StateError);
  for (const page of [19, 22]) expect(asked(page, 1)).not.toThrow();
  expect(() => chooser.assertNoBuffer(1n, 0)).toThrow(ArgumentError);
});

test("AddressChooser finds addresses that another user has released once it has no others", () => {
  const kernel = new Kernel(FIRST + 1);
  const chooser = kernel.chooser();
  const map = (): number => chooser.map(kernel.attempt, PAGE, PAGE, "read", undefined, undefined);
  kernel.mapped.add(FIRST);
  expect(map()).toBe(FIRST + 1);
  chooser.track({ closing: false, records: () => [{ iovaPage: FIRST + 1, mappedBytes: PAGE }] });
  expect(reasonOf(map)).toBe("full");
  kernel.mapped.delete(FIRST);
  expect(map()).toBe(FIRST);
});

test("AddressChooser reads again what can be mapped if the kernel refuses an address with EINVAL", () => {
  const kernel = new Kernel(63);
  const chooser = kernel.chooser();
  chooser.map(kernel.attempt, PAGE, PAGE, "read", BigInt(40 * PAGE), undefined);
  expect(kernel.reads).toBe(1);
  chooser.track({ closing: false, records: () => [{ iovaPage: 20, mappedBytes: PAGE }] });
  kernel.lastPage = 30;
  const last = BigInt(64 * PAGE - 1);
  const first = BigInt(29 * PAGE);
  const above = { first, last };
  expect(chooser.map(kernel.attempt, PAGE, PAGE, "read", undefined, above)).toBe(29);
  expect(kernel.reads).toBe(2);
  expect(chooser.map(kernel.attempt, PAGE, PAGE, "read", undefined, above)).toBe(30);
  chooser.track({ closing: false, records: () => [{ iovaPage: 29, mappedBytes: 2 * PAGE }] });
  expect(reasonOf(() => chooser.map(kernel.attempt, PAGE, PAGE, "read", undefined, above))).toBe("full");
});

test("AddressChooser reports a fixed address that another user has mapped as taken, and can map there later", () => {
  const kernel = new Kernel(63);
  const chooser = kernel.chooser();
  const map = (): number => chooser.map(kernel.attempt, PAGE, PAGE, "read", BigInt(20 * PAGE), undefined);
  kernel.mapped.add(20);
  expect(reasonOf(map)).toBe("taken");
  kernel.mapped.delete(20);
  expect(map()).toBe(20);
  expect(reasonOf(map)).toBe("taken");
});

test("AddressChooser counts tracked mappings as taken after reset()", () => {
  const kernel = new Kernel(63);
  const chooser = kernel.chooser();
  const records = [{ iovaPage: FIRST, mappedBytes: 2 * PAGE }];
  const untrack = chooser.track({ closing: false, records: () => records });
  expect(chooser.take(PAGE, PAGE, undefined, undefined)).toBe(FIRST + 2);
  chooser.reset();
  expect(chooser.take(PAGE, PAGE, undefined, undefined)).toBe(FIRST + 2);
  untrack();
  chooser.reset();
  expect(chooser.take(PAGE, PAGE, undefined, undefined)).toBe(FIRST);
});

test("AddressChooser can choose addresses beside a mapping at address 0", () => {
  const kernel = new Kernel(63);
  const chooser = kernel.chooser();
  chooser.track({ closing: false, records: () => [{ iovaPage: 0, mappedBytes: PAGE }] });
  expect(chooser.take(PAGE, PAGE, undefined, undefined)).toBe(FIRST);
});

test("AddressChooser releases an address if mapping there fails", () => {
  const kernel = new Kernel(63);
  const chooser = kernel.chooser();
  const refuse = (): never => {
    throw new SysError("MAP", Errno.ENOMEM);
  };
  expect(() => chooser.map(refuse, PAGE, PAGE, "read", undefined, undefined)).toThrow(SysError);
  expect(chooser.map(kernel.attempt, PAGE, PAGE, "read", undefined, undefined)).toBe(FIRST);
});

test("AddressChooser gives up early where the kernel can choose, but not for a placed mapping", () => {
  const kernel = new Kernel(FIRST + 100);
  for (let page = FIRST; page < FIRST + 100; page++) kernel.mapped.add(page);
  const chooser = kernel.chooser(true);
  const map = (placement?: IovaPlacement): number =>
    chooser.map(kernel.attempt, PAGE, PAGE, "read", undefined, placement);
  expect(reasonOf(() => map())).toBe("taken");
  expect(map({ last: BigInt(2 ** 40) })).toBe(FIRST + 100);
});

test("AddressChooser never chooses an address to avoid, but maps and releases a fixed one", () => {
  const kernel = new Kernel(FIRST + 3);
  const avoid = [{ start: iova(BigInt((FIRST + 1) * PAGE)), last: iova(BigInt((FIRST + 3) * PAGE - 1)) }];
  const chooser = kernel.chooser(false, avoid);
  const map = (fixed?: bigint): number => chooser.map(kernel.attempt, PAGE, PAGE, "read", fixed, undefined);
  const unmap = (page: number): void => {
    kernel.mapped.delete(page);
    chooser.release(page, PAGE);
  };
  const fixed = BigInt((FIRST + 2) * PAGE);
  expect(new Set([map(), map()])).toEqual(new Set([FIRST, FIRST + 3]));
  expect(map(fixed)).toBe(FIRST + 2);
  expect(reasonOf(() => map(fixed))).toBe("taken");
  expect(reasonOf(() => map())).toBe("full");
  // Neither its release nor a reset lets it be chosen.
  const records = [FIRST, FIRST + 2, FIRST + 3].map((iovaPage) => ({ iovaPage, mappedBytes: PAGE }));
  chooser.track({ closing: false, records: () => records });
  unmap(FIRST + 2);
  expect(reasonOf(() => map())).toBe("full");
  expect(map(fixed)).toBe(FIRST + 2);
  chooser.reset();
  expect(reasonOf(() => map())).toBe("full");
  unmap(FIRST + 2);
  expect(reasonOf(() => map())).toBe("full");
  unmap(FIRST);
  expect(map()).toBe(FIRST);
});

test("AddressChooser gives no address out twice after a release of one that nobody had", () => {
  const kernel = new Kernel(FIRST + 100);
  const chooser = kernel.chooser(true);
  const map = (): number => chooser.map(kernel.attempt, PAGE, PAGE, "read", undefined, undefined);
  const own = [map(), map(), map()];
  // Ranges that the chooser has fetched ahead are among these.
  for (let page = FIRST; page < FIRST + 20; page++)
    if (!own.includes(page)) chooser.releaseUnknown(page, PAGE);
  const all = [...own, ...Array.from({ length: 60 }, map)];
  expect(new Set(all).size).toBe(all.length);
  for (const page of all) chooser.release(page, PAGE);
  kernel.mapped.clear();
  expect(
    chooser.map(kernel.attempt, PAGE, 30 * PAGE, "read", undefined, { alignBytes: PAGE }),
  ).toBeGreaterThan(0);
});

test("AddressChooser is closing if every list is closing, and is not closing without a list", () => {
  const chooser = new Kernel(63).chooser();
  expect(chooser.closing).toBe(false);
  const untrack = chooser.track({ closing: true, records: () => [] });
  expect(chooser.closing).toBe(true);
  chooser.track({ closing: false, records: () => [] });
  expect(chooser.closing).toBe(false);
  untrack();
  expect(chooser.closing).toBe(false);
});
