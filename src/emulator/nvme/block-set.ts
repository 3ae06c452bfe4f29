/** A bit per block, counted: "none is set" costs one comparison. */
export class BlockSet {
  private readonly bits: Uint8Array;
  /** How many are set. */
  size = 0;

  constructor(blocks: number) {
    this.bits = new Uint8Array(Math.ceil(blocks / 8));
  }

  add(first: number, blocks: number): void {
    for (let block = first; block < first + blocks; block++) {
      if (this.has(block)) continue;
      const byte = Math.floor(block / 8);
      this.bits[byte] = (this.bits[byte] ?? 0) | (1 << (block % 8));
      this.size++;
    }
  }

  delete(first: number, blocks: number): void {
    for (let block = first; block < first + blocks && this.size > 0; block++) {
      if (!this.has(block)) continue;
      const byte = Math.floor(block / 8);
      this.bits[byte] = (this.bits[byte] ?? 0) & ~(1 << (block % 8));
      this.size--;
    }
  }

  /** Whether any of these is set. */
  hasAny(first: number, blocks: number): boolean {
    if (this.size === 0) return false;
    for (let block = first; block < first + blocks; block++) if (this.has(block)) return true;
    return false;
  }

  private has(block: number): boolean {
    return ((this.bits[Math.floor(block / 8)] ?? 0) & (1 << (block % 8))) !== 0;
  }
}
