/** Compare, and Compare and Write as a fused operation (NVM Command Set 1.x). */
import { checkKeys } from "../../core/check.js";
import { ArgumentError, UnsupportedError } from "../../core/errors.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { CommandData } from "../command/data-ranges.js";
import { NvmeError } from "../command/error.js";
import { IoOpcode } from "../spec/opcodes.js";
import { Fuse } from "../spec/queue-entries.js";
import { NvmeStatus } from "../spec/status.js";
import { type BlockCommands, blocksOf } from "./block-command.js";
import type { CommandTarget } from "./command-target.js";
import { type IoOptions, ioOptions } from "./io-options.js";
import { type BlockData, commandParts, isPlainBytes, throughBounce } from "./plain-bytes.js";

/** FUSES: Compare and Write. */
const FUSES_COMPARE_AND_WRITE = 1 << 0;

/** Options of {@link NvmeNamespace.compareAndWrite}. */
export interface CompareAndWriteOptions extends Omit<IoOptions, "offset" | "length" | "metadata"> {
  /** Metadata that the blocks are expected to have. */
  readonly expectedMetadata?: IoOptions["metadata"];
  /** Metadata to write. */
  readonly replacementMetadata?: IoOptions["metadata"];
}

const compareAndWriteOptions: readonly string[] = [
  ...ioOptions.filter((name) => !["offset", "length", "metadata"].includes(name)),
  "expectedMetadata",
  "replacementMetadata",
];

/** See {@link NvmeNamespace.compareAndWrite}. */
export async function compareAndWrite(
  controller: CommandTarget,
  commands: BlockCommands,
  lba: bigint | number,
  expected: BlockData,
  replacement: BlockData,
  options: CompareAndWriteOptions,
): Promise<boolean> {
  checkKeys("options", options, compareAndWriteOptions);
  const { bdf, identify } = controller;
  if ((identify.fuses & FUSES_COMPARE_AND_WRITE) === 0) {
    throw new UnsupportedError(`the controller ${bdf} has no fused Compare and Write (FUSES)`);
  }
  if (!isPlainBytes(expected) || !isPlainBytes(replacement)) {
    if (isPlainBytes(expected) || isPlainBytes(replacement))
      throw new ArgumentError("expected and replacement must both be DMA buffers, or both other bytes");
    return await compareAndWriteDma(controller, commands, lba, expected, replacement, options);
  }
  const limit = commands.transferLimitBytes;
  const ofCompare = commandParts(expected, { metadata: options.expectedMetadata }, limit);
  const ofWrite = commandParts(replacement, { metadata: options.replacementMetadata }, limit);
  return await throughBounce(controller.bounce, [...ofCompare, ...ofWrite], false, (ranges) => {
    const [first, expectedMetadata] = ranges.slice(0, ofCompare.length);
    const [second, replacementMetadata] = ranges.slice(ofCompare.length);
    const moved = { ...options, expectedMetadata, replacementMetadata };
    return compareAndWriteDma(controller, commands, lba, first ?? [], second ?? [], moved);
  });
}

async function compareAndWriteDma(
  controller: CommandTarget,
  commands: BlockCommands,
  lba: bigint | number,
  expected: DmaBuffer | CommandData,
  replacement: DmaBuffer | CommandData,
  options: CompareAndWriteOptions,
): Promise<boolean> {
  const { expectedMetadata, replacementMetadata, placement, stream, ...rest } = options;
  const compare = commands.transfer(IoOpcode.compare, lba, expected, { ...rest, metadata: expectedMetadata });
  const write = commands.transfer(IoOpcode.write, lba, replacement, {
    ...rest,
    placement,
    stream,
    metadata: replacementMetadata,
  });
  const [ofCompare, ofWrite] = [blocksOf(compare), blocksOf(write)];
  if (ofCompare !== ofWrite) {
    throw new ArgumentError(
      `expected has ${ofCompare} blocks but replacement has ${ofWrite}: both must have the same length`,
    );
  }
  const fused = controller.submitFused(
    { ...compare, fuse: Fuse.first },
    { ...write, fuse: Fuse.second },
    options,
  );
  const [compared, written] = await Promise.allSettled(fused);
  if (compared.status === "rejected") {
    if (isCompareFailure(compared.reason)) return false;
    throw compared.reason;
  }
  if (written.status === "rejected") throw written.reason;
  return true;
}

/** @returns false if the command reports Compare Failure @throws any other error of the command */
export async function isEqual(comparing: Promise<unknown>): Promise<boolean> {
  try {
    await comparing;
    return true;
  } catch (error) {
    if (isCompareFailure(error)) return false;
    throw error;
  }
}

function isCompareFailure(error: unknown): boolean {
  return (
    error instanceof NvmeError && (error.statusCodeType << 8) + error.statusCode === NvmeStatus.compareFailure
  );
}
