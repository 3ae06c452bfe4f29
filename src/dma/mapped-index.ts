import type { MappedMemory } from "../sys/memory.js";
import { PairTree } from "./pair-tree.js";
import type { DmaSegment } from "./segments.js";

/** Something mapped. A node of the index's list: one object for all that a mapping needs is what makes it cheap. */
export interface MappedRecord {
  before: MappedRecord | undefined;
  after: MappedRecord | undefined;
  /** Tells apart what is mapped more than once: the newer has the larger. */
  age: number;
  /** Where devices find the first byte, in IOVA_PAGEs. */
  readonly page: number;
  /** Whole pages. */
  readonly mappedBytes: number;
  /** What is mapped; undefined where it has no virtual address. */
  readonly memory: MappedMemory | undefined;
  /** Where devices find all of it, where that isn't simply from `page` on. */
  readonly pieces: readonly [DmaSegment, ...DmaSegment[]] | undefined;
}

/** What {@link DmaSpace.translate} finds: a record of memory. */
export interface MemoryRecord extends MappedRecord {
  readonly memory: MappedMemory;
}

/** What is mapped at present. */
export interface LiveMappings {
  /** Where, in IOVA_PAGEs, and how much. */
  records(): Iterable<{ readonly page: number; readonly mappedBytes: number }>;
}

function isMemory(record: MappedRecord): record is MemoryRecord {
  return record.memory !== undefined;
}

/**
 * What is mapped in an address space, by virtual address. Most programs never ask where a view is: the tree that answers is
 * made at the first question, and until then a mapping costs a place in a list.
 */
export class MappedIndex implements LiveMappings {
  private newest: MappedRecord | undefined = undefined;
  private ages = 0;
  private tree: PairTree<MemoryRecord> | undefined = undefined;

  add(record: MappedRecord): void {
    const { newest } = this;
    record.age = this.ages++;
    if (newest !== undefined) {
      newest.after = record;
      record.before = newest;
    }
    this.newest = record;
    if (this.tree !== undefined) this.plant(this.tree, record);
  }

  delete(record: MappedRecord): void {
    const { before, after } = record;
    if (before !== undefined) before.after = after;
    if (after !== undefined) after.before = before;
    else this.newest = before;
    // A closed buffer that somebody keeps must not keep others.
    record.before = undefined;
    record.after = undefined;
    if (this.tree !== undefined && record.memory !== undefined) {
      this.tree.delete(record.memory.address, record.age);
    }
  }

  /** The newest mapping that starts at this virtual address or nearest below. Costs the logarithm of their number. */
  floor(address: number): MemoryRecord | undefined {
    if (this.tree === undefined) {
      this.tree = new PairTree();
      for (const record of this.records()) this.plant(this.tree, record);
    }
    return this.tree.floor(address, Number.POSITIVE_INFINITY)?.value;
  }

  /** All of them, newest first. */
  *records(): Generator<MappedRecord> {
    for (let each = this.newest; each !== undefined; each = each.before) yield each;
  }

  private plant(tree: PairTree<MemoryRecord>, record: MappedRecord): void {
    if (isMemory(record)) tree.insert(record.memory.address, record.age, record);
  }
}
