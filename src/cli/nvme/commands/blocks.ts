/** The range of blocks that `read`, `write` and `trim` take. */

import { ArgumentError } from "../../../core/errors.js";
import type { NvmeNamespace } from "../../../nvme/namespace/namespace.js";
import { bigOption, usage } from "../arguments.js";

/** The range on the command line. Without `blocks` and `bytes` its length is open. */
export interface WantedBlocks {
  readonly first: bigint;
  readonly blocks: bigint | undefined;
  readonly bytes: bigint | undefined;
}

/** @throws ConfigError */
export function wantedBlocks(
  name: string,
  values: {
    readonly "start-block"?: string | undefined;
    readonly blocks?: string | undefined;
    readonly "block-count"?: string | undefined;
    readonly "data-size"?: string | undefined;
  },
): WantedBlocks {
  const blocks = bigOption(name, "blocks", values.blocks, 1n);
  const count = bigOption(name, "block-count", values["block-count"], 0n, 0xffff_ffff_ffff_fffen);
  if (blocks !== undefined && count !== undefined && blocks !== count + 1n) {
    throw usage(name, `--blocks ${blocks} and --block-count ${count} (which is ${count + 1n} blocks) differ`);
  }
  return {
    first: bigOption(name, "start-block", values["start-block"]) ?? 0n,
    blocks: blocks ?? (count === undefined ? undefined : count + 1n),
    bytes: bigOption(name, "data-size", values["data-size"], 1n),
  };
}

/**
 * The number of blocks on a namespace.
 * @returns undefined if the range has no length
 * @throws ArgumentError if sizes differ, or blocks lie beyond the namespace's end
 */
export function checkBlocks(ns: NvmeNamespace, wanted: WantedBlocks): bigint | undefined {
  const blockBytes = BigInt(ns.blockSizeBytes);
  const { first, bytes } = wanted;
  if (bytes !== undefined && bytes % blockBytes !== 0n) {
    throw new ArgumentError(`${bytes} bytes are no whole number of blocks of ${blockBytes} bytes`);
  }
  const ofBytes = bytes === undefined ? undefined : bytes / blockBytes;
  const blocks = wanted.blocks ?? ofBytes;
  if (blocks !== undefined && ofBytes !== undefined && blocks !== ofBytes) {
    throw new ArgumentError(`${bytes} bytes are ${ofBytes} blocks, not ${blocks}`);
  }
  assertInside(ns, first, blocks ?? 1n);
  return blocks;
}

/** @throws ArgumentError */
export function assertInside(ns: NvmeNamespace, first: bigint, blocks: bigint): void {
  if (first + blocks <= ns.sizeBlocks) return;
  const what = blocks === 1n ? `block ${first} is` : `blocks ${first} to ${first + blocks - 1n} are`;
  throw new ArgumentError(
    `${what} beyond the end of namespace ${ns.nsid}, which has ${ns.sizeBlocks} blocks of ${ns.blockSizeBytes} bytes`,
  );
}

/** `block 3` or `blocks 3 to 9`. */
export function blocksText(first: bigint, blocks: bigint): string {
  return blocks === 1n ? `block ${first}` : `blocks ${first} to ${first + blocks - 1n}`;
}
