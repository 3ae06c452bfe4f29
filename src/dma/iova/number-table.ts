/** A hash table from numbers to numbers. */

/** Initial number of cells, a power of two. */
const FIRST_CELLS = 64;
/** 2^ROW_BITS neighbouring keys have neighbouring cells, and so share a cache line. */
const ROW_BITS = 2;
const ROW_MASK = 2 ** ROW_BITS - 1;
const TWO_32 = 2 ** 32;
const EMPTY = -1;

/**
 * A map from whole numbers (0 to 2^53-1) to numbers other than 0: open addressing in one typed array, without garbage, with
 * searches of constant length. A Map takes several times as long: it rehashes often, and boxes keys beyond 31 bits.
 */
export class NumberTable {
  /** Keys and values alternate. */
  private cells = new Float64Array(2 * FIRST_CELLS).fill(EMPTY);
  /** A second number for each value. A separate array, because it is read less often; created at first use. */
  private notes: Int32Array | undefined = undefined;
  private mask = FIRST_CELLS - 1;
  private count = 0;

  get size(): number {
    return this.count;
  }

  /** @returns 0 if the key is missing, also for key -1 */
  get(key: number): number {
    const { cells, mask } = this;
    for (let at = home(key) & mask; ; at = (at + 1) & mask) {
      const found = cells[2 * at];
      if (found === EMPTY) return 0;
      if (found === key) return cells[2 * at + 1] ?? 0;
    }
  }

  set(key: number, value: number): void {
    const { cells, mask } = this;
    for (let at = home(key) & mask; ; at = (at + 1) & mask) {
      const found = cells[2 * at];
      if (found === key) {
        cells[2 * at + 1] = value;
        return;
      }
      if (found !== EMPTY) continue;
      cells[2 * at] = key;
      cells[2 * at + 1] = value;
      break;
    }
    if (++this.count * 2 > mask) this.grow();
  }

  /** Stores a second number (31 bits) for an existing key. delete() removes it with the key. */
  setNote(key: number, note: number): void {
    this.notes ??= new Int32Array(this.mask + 1);
    this.notes[this.find(key)] = note;
  }

  /** The last note of an existing key; any number if there was none. */
  note(key: number): number {
    return this.notes?.[this.find(key)] ?? 0;
  }

  private find(key: number): number {
    const { cells, mask } = this;
    let at = home(key) & mask;
    for (; cells[2 * at] !== key; at = (at + 1) & mask) if (cells[2 * at] === EMPTY) return -1;
    return at;
  }

  delete(key: number): void {
    const { cells, notes, mask } = this;
    let hole = home(key) & mask;
    for (; cells[2 * hole] !== key; hole = (hole + 1) & mask) if (cells[2 * hole] === EMPTY) return;
    this.count--;
    // Later entries move into the hole, unless that puts them before their home, so that searches meet no gap.
    for (let at = (hole + 1) & mask; ; at = (at + 1) & mask) {
      const other = cells[2 * at] ?? EMPTY;
      if (other === EMPTY) break;
      if (((at - home(other)) & mask) < ((at - hole) & mask)) continue;
      cells[2 * hole] = other;
      cells[2 * hole + 1] = cells[2 * at + 1] ?? 0;
      if (notes !== undefined) notes[hole] = notes[at] ?? 0;
      hole = at;
    }
    cells[2 * hole] = EMPTY;
  }

  forEach(visit: (key: number, value: number) => void): void {
    const { cells } = this;
    for (let at = 0; at < cells.length; at += 2) {
      const key = cells[at] ?? EMPTY;
      if (key !== EMPTY) visit(key, cells[at + 1] ?? 0);
    }
  }

  private grow(): void {
    const { cells, notes } = this;
    this.cells = new Float64Array(2 * cells.length).fill(EMPTY);
    this.mask = 2 * this.mask + 1;
    this.count = 0;
    if (notes !== undefined) this.notes = new Int32Array(this.mask + 1);
    for (let at = 0; at < cells.length; at += 2) {
      const key = cells[at] ?? EMPTY;
      if (key === EMPTY) continue;
      this.set(key, cells[at + 1] ?? 0);
      if (notes !== undefined) this.setNote(key, notes[at / 2] ?? 0);
    }
  }
}

/** Hash of a key. The mask of the table reduces it to the key's first cell. */
function home(key: number): number {
  const low = key >>> 0;
  const high = key < TWO_32 ? 0 : Math.floor(key / TWO_32);
  let mixed = Math.imul((low >>> ROW_BITS) ^ Math.imul(high, 0x9e37_79b1), 0x85eb_ca6b);
  mixed ^= mixed >>> 15;
  return (mixed << ROW_BITS) | (low & ROW_MASK);
}
