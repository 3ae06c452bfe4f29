/** The list of an address space's mappings, by virtual address. */
import { Lease } from "../core/lifetime/lease.js";
import type { MappedMemory } from "../sys/memory.js";
import type { MappingList } from "./address-chooser.js";
import { PairTree } from "./iova/pair-tree.js";
import type { DmaSegment } from "./segments.js";

/** Something mapped in an address space, and the obligation to unmap it: one object, which is what makes it cheap. */
export abstract class MappedRecord extends Lease {
  /** Tells apart what is mapped more than once: the newer has the larger. Used once there is a tree. */
  age = 0;
  /** Whole pages. */
  abstract readonly mappedBytes: number;
  /** The mapped memory; undefined if it has no virtual address. */
  abstract readonly memory: MappedMemory | undefined;
  /** Where devices find all of it, where that isn't simply from `iovaPage` on. */
  abstract readonly segments: readonly [DmaSegment, ...DmaSegment[]] | undefined;

  protected constructor(
    space: Lease,
    name: string,
    protected readonly index: MappedIndex,
    /** Where devices find the first byte, in IOVA_PAGEs. */
    readonly iovaPage: number,
  ) {
    super(name, undefined);
    this.dependOn(space);
  }
}

/** What {@link DmaSpace.translate} finds: a record of memory. */
export interface MemoryRecord extends MappedRecord {
  readonly memory: MappedMemory;
}

function isMemory(record: MappedRecord): record is MemoryRecord {
  return record.memory !== undefined;
}

/**
 * What is mapped in an address space, by virtual address. Most programs never ask where a view is: the tree that answers is
 * made at the first question, and until then the space's own dependents are all there is.
 */
export class MappedIndex implements MappingList {
  private space: Lease | undefined = undefined;
  private ages = 0;
  private tree: PairTree<MemoryRecord> | undefined = undefined;

  /** Whose dependents are looked at. */
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

  /** The newest mapping that starts at this virtual address or nearest below. Costs the logarithm of their number. */
  floor(address: number): MemoryRecord | undefined {
    if (this.tree === undefined) {
      this.tree = new PairTree();
      for (const record of [...this.records()].reverse()) this.plant(this.tree, record);
    }
    return this.tree.floor(address, Number.POSITIVE_INFINITY);
  }

  /** All of them, newest first. */
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
