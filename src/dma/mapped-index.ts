import type { MappedMemory } from "../sys/memory.js";
import { PairTree } from "./pair-tree.js";
import type { DmaSegment } from "./segments.js";

/** What {@link DmaSpace.translate} knows of a buffer. Doesn't refer to it, so that it can be collected. */
export class MappedRecord {
  before: MappedRecord | undefined = undefined;
  after: MappedRecord | undefined = undefined;

  constructor(
    readonly address: number,
    readonly sizeBytes: number,
    readonly segments: readonly [DmaSegment, ...DmaSegment[]],
    /** Tells apart what is mapped more than once: the newer has the larger. */
    readonly age: number,
  ) {}
}

/**
 * What is mapped in an address space, by virtual address. Most programs never ask where a view is: the tree that answers is
 * made at the first question, and until then a mapping costs a place in a list.
 */
export class MappedIndex {
  private newest: MappedRecord | undefined = undefined;
  private ages = 0;
  private tree: PairTree<MappedRecord> | undefined = undefined;

  add(memory: MappedMemory, segments: readonly [DmaSegment, ...DmaSegment[]]): MappedRecord {
    const record = new MappedRecord(memory.address, memory.sizeBytes, segments, this.ages++);
    const { newest, tree } = this;
    if (newest !== undefined) {
      newest.after = record;
      record.before = newest;
    }
    this.newest = record;
    if (tree !== undefined) tree.insert(record.address, record.age, record);
    return record;
  }

  delete(record: MappedRecord): void {
    const { before, after } = record;
    if (before !== undefined) before.after = after;
    if (after !== undefined) after.before = before;
    else this.newest = before;
    this.tree?.delete(record.address, record.age);
  }

  /** The newest mapping that starts at this address or nearest below. Costs the logarithm of their number. */
  floor(address: number): MappedRecord | undefined {
    if (this.tree === undefined) {
      this.tree = new PairTree();
      for (let each = this.newest; each !== undefined; each = each.before) {
        this.tree.insert(each.address, each.age, each);
      }
    }
    return this.tree.floor(address, Number.POSITIVE_INFINITY)?.value;
  }
}
