/** Cells at first, a power of two. */
const FIRST_CELLS = 64;
/** Neighbouring keys share a cache line: so many of them stand in a row. */
const ROW_BITS = 2;
const ROW_MASK = 2 ** ROW_BITS - 1;
const TWO_32 = 2 ** 32;
const EMPTY = -1;

/**
 * A map from whole numbers (0 to 2^53-1) to numbers other than 0, as open addressing in one typed array: no garbage, and no
 * search that grows with its size. A Map takes several times as long, makes itself anew every few changes, and boxes keys
 * beyond 31 bits.
 */
export class NumberTable {
  /** Key and value by turns. */
  private cells = new Float64Array(2 * FIRST_CELLS).fill(EMPTY);
  /** Beside each value one more number, where any was noted. Apart, since it is looked at less often. */
  private notes: Int32Array | undefined = undefined;
  private mask = FIRST_CELLS - 1;
  private count = 0;

  get size(): number {
    return this.count;
  }

  /** @returns 0 where there is none, also for -1 */
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

  /** Notes a number (31 bits) beside the value of a key that is there. It goes with the key. */
  setNote(key: number, note: number): void {
    this.notes ??= new Int32Array(this.mask + 1);
    this.notes[this.find(key)] = note;
  }

  /** What was noted last beside the value of a key that is there; anything where nothing was. */
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
    // What stands behind it moves up, unless that would put it before its home: no search meets a gap.
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

/** Where a key stands first, before it is cut to the table's size. */
function home(key: number): number {
  const low = key >>> 0;
  const high = key < TWO_32 ? 0 : Math.floor(key / TWO_32);
  let mixed = Math.imul((low >>> ROW_BITS) ^ Math.imul(high, 0x9e37_79b1), 0x85eb_ca6b);
  mixed ^= mixed >>> 15;
  return (mixed << ROW_BITS) | (low & ROW_MASK);
}
