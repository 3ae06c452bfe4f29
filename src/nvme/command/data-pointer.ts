/** How a command names its data and metadata: checks them, and writes DPTR, MPTR and PSDT of its entry. */

import { checkInteger, checkRange } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { DmaSpace } from "../../dma/space.js";
import { DataDirection, DPTR, dataDirection, MPTR } from "../spec/queue-entries.js";
import type { NvmeCommand } from "./command.js";
import {
  assertCommandData,
  assertDmaBuffer,
  type CommandData,
  type DataRange,
  gather,
  isBitBucket,
  isDataList,
  rangeBytes,
  type Segment,
} from "./data-ranges.js";
import type { DeviceAddresses } from "./device-addresses.js";
import { fitsPrps, type PrpList, prpListPages, writePrps, writeScatteredPrps } from "./prp.js";
import {
  PSDT_SGL,
  PSDT_SGL_METADATA,
  SGLS_BIT_BUCKET,
  SGLS_DWORD_ALIGNED,
  SGLS_METADATA_SGL,
  SGLS_SUPPORT_MASK,
  type SglOptions,
  sglDescriptors,
  sglRoom,
  writeMetadataSgl,
  writeSgl,
} from "./sgl.js";

const TWO_32 = 2 ** 32;

/** What a queue and its controller can do with data. */
export interface DataRules {
  readonly space: DmaSpace;
  /** Longest transfer of one command. */
  readonly maxTransferBytes: number;
  /** CC.MPS in bytes. */
  readonly pageBytes: number;
  /** Identify Controller, SGLS; 0 for the admin queue, which takes no SGLs over PCI Express. */
  readonly sgls: number;
  /** Memory on the controller, where data may lie as well. */
  readonly onController?: DeviceAddresses | undefined;
}

/** Pages of list memory that each command slot has, for PRP lists and SGL segments alike. */
export function dataListPages(maxTransferBytes: number, pageBytes: number): number {
  return Math.max(1, prpListPages(maxTransferBytes, pageBytes));
}

/**
 * Refuses data and metadata that can't be right, or that this controller has no way to name.
 * @throws ArgumentError, ClosedError, UnsupportedError (the CMB or PMR is not for such data)
 */
export function checkDataPointers(command: NvmeCommand, rules: DataRules): void {
  const { data, metadata } = command;
  const { sgl = false } = command;
  if (metadata === undefined && sgl === false && data !== undefined && !isDataList(data)) {
    checkRangeOf(data, rules.space);
    if (rules.onController?.inUse === true) rules.onController.assertData(data.buffer, command.opcode);
    if ((data.offset ?? 0) % 4 !== 0) throw new ArgumentError(`offset ${data.offset} is not a multiple of 4`);
    checkTransferLength(rangeBytes(data), rules.maxTransferBytes);
    return;
  }
  if (data === undefined && metadata === undefined) return;
  const { opcode } = command;
  if (typeof sgl === "object" && sgl.segmentDescriptors !== undefined) {
    checkInteger("sgl.segmentDescriptors", sgl.segmentDescriptors, 2, 0xffff);
  }
  if (data !== undefined)
    checkTransferLength(checkParts("data", data, rules, opcode), rules.maxTransferBytes);
  if (metadata !== undefined) checkParts("metadata", metadata, rules, opcode);
  if (rules.onController?.inUse === true) {
    rules.onController.assertTogether([...buffersOf(data), ...buffersOf(metadata)]);
  }
  const dataSegments = data === undefined ? [] : gather(data);
  const metadataSegments = metadata === undefined ? [] : gather(metadata);
  if (!needsSgl(command, dataSegments, metadataSegments, rules.pageBytes)) return;
  assertSgl(command, dataSegments, metadataSegments, rules);
}

/** @throws ArgumentError, ClosedError @returns bytes of all parts */
function checkParts(
  what: string,
  data: CommandData,
  { space, onController }: DataRules,
  opcode: number,
): number {
  if (!isDataList(data)) {
    checkRangeOf(data, space);
    onController?.assertData(data.buffer, opcode);
    return rangeBytes(data);
  }
  if (data.length === 0) throw new ArgumentError(`the list of ${what} is empty`);
  assertCommandData(data);
  let sum = 0;
  for (const part of data) {
    if (isBitBucket(part)) sum += checkInteger("bitBucketBytes", part.bitBucketBytes, 1, 0xffff_ffff);
    else {
      checkRangeOf(part, space);
      onController?.assertData(part.buffer, opcode);
      sum += rangeBytes(part);
    }
  }
  return sum;
}

function buffersOf(data: CommandData | undefined): DmaBuffer[] {
  if (data === undefined) return [];
  if (!isDataList(data)) return [data.buffer];
  return data.flatMap((part) => (isBitBucket(part) ? [] : [part.buffer]));
}

function checkRangeOf(range: DataRange, space: DmaSpace): void {
  const { buffer, offset = 0 } = range;
  assertDmaBuffer(buffer);
  buffer.lease.assertOpen();
  if (buffer.space !== space) {
    throw new ArgumentError(`${buffer.lease.label} is of another DMA space than this controller's`);
  }
  checkRange("the buffer", offset, range.length ?? buffer.sizeBytes - offset, buffer.sizeBytes);
}

function checkTransferLength(length: number, maxBytes: number): void {
  if (length > maxBytes) {
    throw new ArgumentError(`${length} bytes are more than one command can carry here (${maxBytes})`);
  }
}

/** Whether a command's pointers have to be SGLs. Metadata in one run at a multiple of 4 does with an address. */
function needsSgl(
  command: NvmeCommand,
  data: readonly Segment[],
  metadata: readonly Segment[],
  pageBytes: number,
): boolean {
  return wantsSgl(command) || !isAddress(metadata) || !fitsPrps(data, pageBytes);
}

function wantsSgl({ sgl = false }: NvmeCommand): boolean {
  return sgl !== false;
}

/** How a command wants its lists cut. */
function sglOptions({ sgl }: NvmeCommand): SglOptions | undefined {
  return typeof sgl === "object" ? sgl : undefined;
}

/** Metadata that MPTR can name by an address: one run at a multiple of 4. There may be none. */
function isAddress(metadata: readonly Segment[]): boolean {
  const [first] = metadata;
  return first === undefined || (metadata.length === 1 && !first.isBucket && first.low % 4 === 0);
}

function assertSgl(
  command: NvmeCommand,
  data: readonly Segment[],
  metadata: readonly Segment[],
  { sgls, pageBytes, maxTransferBytes }: DataRules,
): void {
  const support = sgls & SGLS_SUPPORT_MASK;
  if (support === 0) {
    throw new ArgumentError(
      wantsSgl(command)
        ? "this queue takes no SGLs"
        : `PRPs can't name these ranges, and this queue takes no SGLs: all but the first have to start, and all but the last to end, at a memory page (${pageBytes} bytes), and metadata to be one range at a multiple of 4`,
    );
  }
  const all = [...data, ...metadata];
  if (all.some(({ isBucket }) => isBucket)) {
    if ((sgls & SGLS_BIT_BUCKET) === 0) throw new ArgumentError("this controller has no bit buckets (SGLS)");
    // A source's bit buckets are ignored, so the data would be short.
    if (dataDirection(command.opcode) !== DataDirection.controllerToHost)
      throw new ArgumentError("bit buckets are for reading only");
  }
  if (support === SGLS_DWORD_ALIGNED && all.some(({ low, length }) => low % 4 !== 0 || length % 4 !== 0)) {
    throw new ArgumentError("this controller's SGLs want addresses and lengths of multiples of 4 (SGLS)");
  }
  const bySgl = !isAddress(metadata);
  if (bySgl && (sgls & SGLS_METADATA_SGL) === 0) {
    throw new ArgumentError("this controller wants metadata in one range at a multiple of 4 (SGLS)");
  }
  const room = sglRoom(dataListPages(maxTransferBytes, pageBytes), pageBytes);
  // The metadata's first descriptor stands in the list, too.
  const options = sglOptions(command);
  const needed =
    sglDescriptors(data, pageBytes, options) + (bySgl ? 1 + sglDescriptors(metadata, pageBytes, options) : 0);
  if (needed > room) {
    throw new ArgumentError(`these ranges need ${needed} SGL descriptors; one command has room for ${room}`);
  }
}

/** Writes PRP1 and PRP2, and where needed the list, for a part of a contiguous buffer. */
export function writeBufferPrps(
  words: Uint32Array,
  slot: number,
  buffer: DmaBuffer,
  offset: number,
  length: number,
  pageBytes: number,
  list: PrpList,
): void {
  let low = buffer.iovaLow + offset;
  let high = buffer.iovaHigh;
  if (low >= TWO_32) {
    high += Math.floor(low / TWO_32);
    low %= TWO_32;
  }
  writePrps(words, slot, low, high, length, pageBytes, list);
}

/**
 * Writes DPTR, MPTR and PSDT of a checked command that has data or metadata.
 * @param words submission ring, `slot` the entry's first word in it: CDW0 is there already
 * @param list the slot's own list pages
 */
export function writeDataPointers(
  words: Uint32Array,
  slot: number,
  command: NvmeCommand,
  pageBytes: number,
  list: PrpList,
): void {
  const { data, metadata } = command;
  if (
    metadata === undefined &&
    !wantsSgl(command) &&
    data !== undefined &&
    !isDataList(data) &&
    data.buffer.contiguous
  ) {
    writeBufferPrps(words, slot, data.buffer, data.offset ?? 0, rangeBytes(data), pageBytes, list);
    return;
  }
  const dataSegments = data === undefined ? [] : gather(data);
  const metadataSegments = metadata === undefined ? [] : gather(metadata);
  const [first] = metadataSegments;
  if (!needsSgl(command, dataSegments, metadataSegments, pageBytes)) {
    words[slot + MPTR] = first?.low ?? 0;
    words[slot + MPTR + 1] = first?.high ?? 0;
    if (dataSegments.length === 0) words.fill(0, slot + DPTR, slot + DPTR + 4);
    else writeScatteredPrps(words, slot, dataSegments, pageBytes, list);
    return;
  }
  const options = sglOptions(command);
  const used =
    dataSegments.length === 0 ? 0 : writeSgl(words, slot + DPTR, dataSegments, pageBytes, options, list);
  if (dataSegments.length === 0) words.fill(0, slot + DPTR, slot + DPTR + 4);
  const psdt = isAddress(metadataSegments) ? PSDT_SGL : PSDT_SGL_METADATA;
  words[slot] = (words[slot] ?? 0) | psdt;
  if (psdt === PSDT_SGL) {
    words[slot + MPTR] = first?.low ?? 0;
    words[slot + MPTR + 1] = first?.high ?? 0;
    return;
  }
  const at = list.iovaLow + writeMetadataSgl(metadataSegments, pageBytes, options, list, used);
  words[slot + MPTR] = at % TWO_32;
  words[slot + MPTR + 1] = list.iovaHigh + Math.floor(at / TWO_32);
}
