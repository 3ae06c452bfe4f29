/** Blocks that `iova nvme perf --verify` has read and that weren't what was written. */

/** A block, and its first wrong word. */
export interface WrongBlock {
  readonly lba: number;
  /** Offset of the word in the block. */
  readonly byte: number;
  readonly found: number;
  readonly expected: number;
}

/** How many there are, each counted once, and the first few. */
export interface WrongBlocks {
  readonly count: number;
  readonly first: readonly WrongBlock[];
}

/** Blocks that are shown. */
const MOST_SHOWN = 8;
/** Blocks that are told apart: a Set takes no more than 2^24. More count as so many. */
const MOST_COUNTED = 2 ** 22;

/** Collects them. */
export class WrongBlockList {
  private readonly lbas = new Set<number>();
  private readonly shown: WrongBlock[] = [];

  add(block: WrongBlock): void {
    if (this.lbas.has(block.lba) || this.lbas.size === MOST_COUNTED) return;
    this.lbas.add(block.lba);
    if (this.shown.length < MOST_SHOWN) this.shown.push(block);
  }

  get blocks(): WrongBlocks {
    return { count: this.lbas.size, first: this.shown };
  }
}

/** Those of several queues. */
export function allWrong(parts: readonly WrongBlocks[]): WrongBlocks {
  return {
    count: parts.reduce((sum, { count }) => sum + count, 0),
    first: parts.flatMap(({ first }) => first).slice(0, MOST_SHOWN),
  };
}

/** `block 7: 0x0 at byte 0, not 0x1234`. */
export function wrongText({ lba, byte, found, expected }: WrongBlock): string {
  return `block ${lba}: 0x${found.toString(16)} at byte ${byte}, not 0x${expected.toString(16)}`;
}
