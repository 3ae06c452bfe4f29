/** The list of an address space's mappings, by virtual address. */
import { Lease } from "../core/lifetime/lease.js";
import type { MappedMemory } from "../sys/memory.js";
import type { MappingList } from "./address-chooser.js";
import { unboxed } from "./iova/address.js";
import { PairTree } from "./iova/pair-tree.js";
import type { DmaSegment } from "./segments.js";

/** A mapping in an address space, and the obligation to unmap it. One object for both is cheaper than two. */
export abstract class MappedRecord extends Lease {
  /** Orders mappings of the same memory: newer ones have larger values. Set when there is a tree. */
  age = 0;
  /** Length in bytes, whole pages. */
  abstract readonly mappedBytes: number;
  /** The mapped memory; undefined if it has no virtual address. */
  abstract readonly memory: MappedMemory | undefined;
  /** I/O virtual addresses of the memory; undefined if they are contiguous from `iovaPage` on. */
  abstract readonly segments: readonly [DmaSegment, ...DmaSegment[]] | undefined;

  /** I/O virtual address of the first byte, in IOVA_PAGEs. */
  readonly iovaPage: number;

  protected constructor(
    space: Lease,
    name: string,
    protected readonly index: MappedIndex,
    iovaPage: number,
  ) {
    super(name, undefined);
    this.iovaPage = unboxed(iovaPage);
    this.dependOn(space);
  }
}

/** A mapping of memory, which has a virtual address. */
export interface MemoryRecord extends MappedRecord {
  readonly memory: MappedMemory;
}

function isMemory(record: MappedRecord): record is MemoryRecord {
  return record.memory !== undefined;
}

/**
 * Finds the mappings of an address space by virtual address. The first search creates a tree, because most programs never
 * search. Until then the list consists of the space's dependents.
 */
export class MappedIndex implements MappingList {
  private space: Lease | undefined = undefined;
  private ages = 0;
  private tree: PairTree<MemoryRecord> | undefined = undefined;

  /** Sets the address space, whose dependents are the mappings. */
  of(space: Lease): void {
    this.space = space;
  }

  get closing(): boolean {
    return this.space?.closing ?? false;
  }

  add(record: MappedRecord): void {
    if (this.tree !== undefined) this.plant(this.tree, record);
  }

  delete(record: MappedRecord): void {
    if (this.tree !== undefined && record.memory !== undefined) {
      this.tree.delete(record.memory.address, record.age);
    }
  }

  /** The newest of the mappings with the highest start up to `address`. The cost is logarithmic in their number. */
  floor(address: number): MemoryRecord | undefined {
    if (this.tree === undefined) {
      this.tree = new PairTree();
      for (const record of [...this.records()].reverse()) this.plant(this.tree, record);
    }
    return this.tree.floor(address, Number.POSITIVE_INFINITY);
  }

  /** All mappings, newest first. */
  *records(): Generator<MappedRecord> {
    for (const lease of this.space?.dependents() ?? []) {
      if (lease instanceof MappedRecord && !lease.closed) yield lease;
    }
  }

  private plant(tree: PairTree<MemoryRecord>, record: MappedRecord): void {
    record.age = this.ages++;
    if (isMemory(record)) tree.insert(record.memory.address, record.age, record);
  }
}
