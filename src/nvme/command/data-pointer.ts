/** Data pointers of a command: checks data and metadata, and writes DPTR, MPTR and PSDT of the queue entry. */

import { checkInteger, checkKeys, checkRange } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { DmaSpace } from "../../dma/space.js";
import { DataDirection, DPTR, dataDirection, MPTR } from "../spec/queue-entries.js";
import type { NvmeCommand } from "./command.js";
import {
  assertCommandData,
  assertDmaBuffer,
  buffersOf,
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

/** What the data of a queue's commands must comply with. */
export interface DataRules {
  readonly space: DmaSpace;
  /** Longest transfer of one command. */
  readonly maxTransferBytes: number;
  /** CC.MPS in bytes. */
  readonly pageBytes: number;
  /** Identify Controller, SGLS; 0 for the admin queue, because NVMe over PCIe has no SGLs there. */
  readonly sgls: number;
  /** Addresses of the controller's own memory (CMB, PMR), which can hold data, too. */
  readonly onController?: DeviceAddresses | undefined;
}

/** List pages of each command slot, for PRP lists or SGL segments. */
export function dataListPages(maxTransferBytes: number, pageBytes: number): number {
  return Math.max(1, prpListPages(maxTransferBytes, pageBytes));
}

/**
 * Checks data and metadata: ranges, lengths, and whether the controller can address them.
 * @throws ArgumentError, ClosedError, UnsupportedError (the CMB or PMR doesn't allow such data)
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
  if (typeof sgl === "object") {
    checkKeys("sgl", sgl, ["segmentDescriptors"]);
    const { segmentDescriptors } = sgl;
    if (segmentDescriptors !== undefined)
      checkInteger("sgl.segmentDescriptors", segmentDescriptors, 2, 0xffff);
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

/** @returns bytes of all parts @throws ArgumentError, ClosedError, UnsupportedError */
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
    if (isBitBucket(part)) {
      checkKeys("a bit bucket", part, ["bitBucketBytes"]);
      sum += checkInteger("bitBucketBytes", part.bitBucketBytes, 1, 0xffff_ffff);
    } else {
      checkRangeOf(part, space);
      onController?.assertData(part.buffer, opcode);
      sum += rangeBytes(part);
    }
  }
  return sum;
}

function checkRangeOf(range: DataRange, space: DmaSpace): void {
  const { buffer, offset = 0 } = range;
  assertDmaBuffer(buffer);
  checkKeys("data", range, ["buffer", "offset", "length"]);
  buffer.lease.assertOpen();
  if (buffer.space !== space) {
    throw new ArgumentError(
      `${buffer.lease.label} belongs to another DMA space: use a buffer of the controller's dma`,
    );
  }
  checkRange("the buffer", offset, range.length ?? buffer.sizeBytes - offset, buffer.sizeBytes);
}

function checkTransferLength(length: number, maxBytes: number): void {
  if (length > maxBytes) {
    throw new ArgumentError(
      `one command can transfer at most ${maxBytes} bytes here, got ${length}: use several commands`,
    );
  }
}

/** Whether a command needs SGLs. */
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

function sglOptions({ sgl }: NvmeCommand): SglOptions | undefined {
  return typeof sgl === "object" ? sgl : undefined;
}

/** Whether MPTR can be an address: the metadata is one range at a multiple of 4, or there is none. */
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
        ? "this queue doesn't support SGLs"
        : `PRPs can't describe these ranges, and this queue doesn't support SGLs: all but the first must start, and all but the last must end, at a memory page (${pageBytes} bytes); metadata must be one range at a multiple of 4`,
    );
  }
  const all = [...data, ...metadata];
  if (all.some(({ isBucket }) => isBucket)) {
    if ((sgls & SGLS_BIT_BUCKET) === 0)
      throw new ArgumentError("this controller doesn't support bit buckets (SGLS)");
    // A controller ignores bit buckets of a write, so its data would be too short.
    if (dataDirection(command.opcode) !== DataDirection.controllerToHost)
      throw new ArgumentError("only commands that read can have bit buckets");
  }
  if (support === SGLS_DWORD_ALIGNED && all.some(({ low, length }) => low % 4 !== 0 || length % 4 !== 0)) {
    throw new ArgumentError("addresses and lengths in this controller's SGLs must be multiples of 4 (SGLS)");
  }
  const bySgl = !isAddress(metadata);
  if (bySgl && (sgls & SGLS_METADATA_SGL) === 0) {
    throw new ArgumentError("metadata for this controller must be in one range, at a multiple of 4 (SGLS)");
  }
  const room = sglRoom(dataListPages(maxTransferBytes, pageBytes), pageBytes);
  // The first descriptor of the metadata is in the list, too.
  const options = sglOptions(command);
  const needed =
    sglDescriptors(data, pageBytes, options) + (bySgl ? 1 + sglDescriptors(metadata, pageBytes, options) : 0);
  if (needed > room) {
    throw new ArgumentError(
      `these ranges need ${needed} SGL descriptors; one command has room for ${room}: use fewer ranges`,
    );
  }
}

/** Writes PRP1, PRP2 and, if needed, the list for a part of a contiguous buffer. */
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
 * @param words submission ring
 * @param slot first word of the entry; CDW0 must be written already
 * @param list list pages of the command's slot
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
