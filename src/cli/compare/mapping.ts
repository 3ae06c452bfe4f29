/** Measures mapping and unmapping, by the size of the mapping and of its pages. */

import { IovaError } from "../../core/errors.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import { MappedMemory } from "../../sys/memory.js";
import { PAGE_SIZE } from "../../sys/syscalls.js";
import type { AddressSpace } from "./address-space.js";
import { availableBytes, hugePagePools } from "./machine.js";
import type { ComparedBackend, MappingResult, NotMeasured } from "./report.js";
import { SampleBook } from "./statistics.js";
import { elapsed } from "./timing.js";
import { formatBytes } from "./units.js";

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const SIZES = [4 * KIB, 64 * KIB, 2 * MIB, 32 * MIB, 256 * MIB, GIB];
const QUICK_SIZES = [4 * KIB, 64 * KIB, 2 * MIB];

/** Short mappings are timed several at once, because one is too short for the clock. */
const MAX_AT_ONCE = 32;
const MAX_AT_ONCE_BYTES = 32 * MIB;

/** Memory of one size made of pages of one size. */
export interface MappingCase {
  readonly pageBytes: number;
  readonly sizeBytes: number;
  readonly memory: MappedMemory;
}

/** Allocates the memory to measure. Sizes that don't fit go to `notMeasured`. */
export function prepareCases(quick: boolean, notMeasured: NotMeasured[]): MappingCase[] {
  const cases: MappingCase[] = [];
  const skip = (what: string, reason: string): void => {
    notMeasured.push({ what, backend: null, reason });
  };
  const kinds = [{ pageBytes: PAGE_SIZE, free: Number.POSITIVE_INFINITY }, ...usablePools(skip)];
  for (const { pageBytes, free } of kinds) {
    let left = free * pageBytes;
    for (const sizeBytes of quick ? QUICK_SIZES : SIZES) {
      if (sizeBytes < pageBytes) continue;
      const what = `mapping ${formatBytes(sizeBytes)} of ${formatBytes(pageBytes)} pages`;
      const isHuge = pageBytes > PAGE_SIZE;
      if (isHuge && sizeBytes > left) {
        skip(what, `only ${formatBytes(left)} of huge pages of this size are left`);
        continue;
      }
      // Half of the available memory, so that other programs don't have to swap.
      if (!isHuge && sizeBytes > availableBytes() / 2) {
        skip(what, `only ${formatBytes(availableBytes())} of memory are available`);
        continue;
      }
      try {
        const hugePageBytes = isHuge ? pageBytes : undefined;
        const memory = MappedMemory.anonymous(sizeBytes, { hugePageBytes, populate: true });
        cases.push({ pageBytes, sizeBytes, memory });
        left -= sizeBytes;
      } catch (error) {
        if (!(error instanceof IovaError)) throw error;
        skip(what, error.message);
      }
    }
  }
  return cases;
}

function usablePools(skip: (what: string, reason: string) => void): { pageBytes: number; free: number }[] {
  const pools = hugePagePools();
  return [2 * MIB, GIB].flatMap((pageBytes) => {
    const free = pools.find((pool) => pool.pageBytes === pageBytes)?.free ?? 0;
    if (free > 0) return [{ pageBytes, free }];
    const how = `hugepagesz=${pageBytes === GIB ? "1G" : "2M"} hugepages=N on the kernel command line`;
    skip(
      `mapping ${formatBytes(pageBytes)} pages`,
      `no huge pages of this size are free (${pageBytes === GIB ? how : `sysctl vm.nr_hugepages=N, or ${how}`})`,
    );
    return [];
  });
}

type Sample = "bareMap" | "bareUnmap" | "libraryMap" | "libraryUnmap";

interface Key {
  readonly backend: ComparedBackend;
  readonly pageBytes: number;
  readonly sizeBytes: number;
}

/** Collects the samples of all rounds. */
export class MappingMeasurement {
  private readonly book = new SampleBook<Key & { readonly sample: Sample }>();
  /** Cases that have failed, and are left out. */
  private readonly failed = new Set<string>();

  constructor(
    private readonly cases: readonly MappingCase[],
    private readonly notMeasured: NotMeasured[],
  ) {}

  /** One round through an open address space. */
  measure(backend: ComparedBackend, space: AddressSpace, repetitions: number): void {
    for (const each of this.cases) {
      const name = `${backend} ${each.pageBytes} ${each.sizeBytes}`;
      if (this.failed.has(name)) continue;
      try {
        this.measureCase(backend, space, each, each.sizeBytes > 2 * MIB ? 1 : repetitions);
      } catch (error) {
        if (!(error instanceof IovaError)) throw error;
        this.failed.add(name);
        space.unmapAll();
        const what = `mapping ${formatBytes(each.sizeBytes)} of ${formatBytes(each.pageBytes)} pages`;
        this.notMeasured.push({ what, backend, reason: error.message });
      }
    }
  }

  results(): MappingResult[] {
    const keys = this.book.keys().filter(({ sample }) => sample === "bareMap");
    return keys.flatMap(({ backend, pageBytes, sizeBytes }) => {
      const of = (sample: Sample) => this.book.get({ backend, pageBytes, sizeBytes, sample });
      const bareMap = of("bareMap");
      const bareUnmap = of("bareUnmap");
      const libraryMap = of("libraryMap");
      const libraryUnmap = of("libraryUnmap");
      if (!bareMap || !bareUnmap || !libraryMap || !libraryUnmap) return [];
      const libraryCost = libraryMap.median + libraryUnmap.median - bareMap.median - bareUnmap.median;
      return [{ backend, pageBytes, sizeBytes, bareMap, bareUnmap, libraryMap, libraryUnmap, libraryCost }];
    });
  }

  private measureCase(
    backend: ComparedBackend,
    { bare, space }: AddressSpace,
    { pageBytes, sizeBytes, memory }: MappingCase,
    repetitions: number,
  ): void {
    const count = countAtOnce(sizeBytes);
    const add = (sample: Sample, ns: number): void =>
      this.book.add({ backend, pageBytes, sizeBytes, sample }, ns / count);
    const { address } = memory;
    const buffers: DmaBuffer[] = [];
    for (let repetition = 0; repetition < repetitions; repetition++) {
      add(
        "bareMap",
        elapsed(() => {
          for (let slot = 0; slot < count; slot++) bare.map(slot, address, sizeBytes);
        }),
      );
      add(
        "bareUnmap",
        elapsed(() => {
          for (let slot = 0; slot < count; slot++) bare.unmap(slot, sizeBytes);
        }),
      );
      add(
        "libraryMap",
        elapsed(() => {
          for (let slot = 0; slot < count; slot++) buffers[slot] = space.map(memory);
        }),
      );
      add(
        "libraryUnmap",
        elapsed(() => {
          for (let slot = 0; slot < count; slot++) buffers[slot]?.close();
        }),
      );
    }
  }
}

/**
 * Runs the bare calls and the library until V8 has compiled them, without recording. Maps many at once, and huge pages, as
 * the measurement does, because these take other code paths. The measurement reports what can't be mapped.
 */
export function warmUp(space: AddressSpace, cases: readonly MappingCase[], times: number): void {
  const isHuge = ({ pageBytes, sizeBytes }: MappingCase): boolean =>
    pageBytes > PAGE_SIZE && sizeBytes <= 2 * MIB;
  for (const each of [cases[0], cases.find(isHuge)]) {
    if (each === undefined) continue;
    try {
      for (let done = 0; done < times; done += warmUpOnce(space, each));
    } catch (error) {
      if (!(error instanceof IovaError)) throw error;
      space.unmapAll();
    }
  }
}

/** @returns the number of mappings */
function warmUpOnce({ bare, space }: AddressSpace, { memory, sizeBytes }: MappingCase): number {
  const count = countAtOnce(sizeBytes);
  for (let slot = 0; slot < count; slot++) bare.map(slot, memory.address, sizeBytes);
  for (let slot = 0; slot < count; slot++) bare.unmap(slot, sizeBytes);
  const buffers: DmaBuffer[] = [];
  try {
    while (buffers.length < count) buffers.push(space.map(memory));
  } finally {
    for (const buffer of buffers) buffer.close();
  }
  return count;
}

function countAtOnce(sizeBytes: number): number {
  return Math.max(1, Math.min(MAX_AT_ONCE, Math.floor(MAX_AT_ONCE_BYTES / sizeBytes)));
}
