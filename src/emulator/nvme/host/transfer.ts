/** Moves data between a command's memory and the controller. */
import { DPTR as DPTR_WORD, MPTR as MPTR_WORD, Psdt } from "../../../nvme/spec/queue-entries.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Command } from "./command.js";
import { type HostMemory, newSpan } from "./host-memory.js";
import { PrpWalker } from "./prp-walk.js";
import type { Scatter } from "./scatter.js";
import { SglWalker } from "./sgl-walk.js";

const TWO_32 = 2 ** 32;
// V8 compiles constants of this module into the code, but looks imported ones up at each use.
const PSDT_PRP = Psdt.prp;
const PSDT_SGL = Psdt.sgl;
const PSDT_SGL_METADATA = Psdt.sglMetadata;
const PSDT_MASK = Psdt.MASK;
const DPTR = DPTR_WORD;
const MPTR = MPTR_WORD;

/** Where PRP lists and SGL segments were. */
interface Lists {
  readonly listsInCmb: boolean;
  readonly listsElsewhere: boolean;
}
const NO_LISTS: Lists = { listsInCmb: false, listsElsewhere: false };

/** Finds the memory of a command's data and metadata, by PRP, SGL or MPTR. */
export class Transfer {
  readonly prp: PrpWalker;
  /** What findPage() found. */
  readonly page = newSpan();
  private readonly sgl: SglWalker;
  private readonly descriptor = new Uint32Array(4);
  private readonly descriptorBytes = new Uint8Array(this.descriptor.buffer);

  /** Metadata of the command whose data is looked for next. */
  private metadata: Scatter | undefined;

  /** @param isInCmb whether a submission queue lies in the controller memory buffer */
  constructor(
    private readonly memory: HostMemory,
    private readonly isInCmb: (sqid: number) => boolean,
    private readonly refusesSgl = false,
  ) {
    this.prp = new PrpWalker(memory);
    this.sgl = new SglWalker(memory);
  }

  /**
   * Fills `command.data`.
   * @param toHost the controller writes to this memory
   * @returns a status
   */
  map(command: Command, lengthBytes: number, toHost: boolean): number {
    const { sqe, data } = command;
    const psdt = ((sqe[0] ?? 0) >>> 14) & 3;
    const { metadata } = this;
    this.metadata = undefined;
    data.clear();
    let status: number;
    if (psdt === PSDT_PRP) {
      const prp1 = (sqe[DPTR + 1] ?? 0) * TWO_32 + (sqe[DPTR] ?? 0);
      const prp2 = (sqe[DPTR + 3] ?? 0) * TWO_32 + (sqe[DPTR + 2] ?? 0);
      status = this.prp.walk(data, prp1, prp2, lengthBytes, toHost);
    } else if (command.sqid === 0 || psdt === 3) {
      // "SGLs shall not be used for Admin commands" over PCI Express.
      status = NvmeStatus.invalidField;
    } else if (this.refusesSgl) {
      status = NvmeStatus.sglDescriptorTypeInvalid;
    } else {
      status = this.sgl.walk(data, sqe, DPTR, lengthBytes, toHost, NvmeStatus.dataSglLengthInvalid);
    }
    if (status === NvmeStatus.success && this.memory.rules.restricts) {
      const lists = psdt === PSDT_PRP ? this.prp : this.sgl;
      if (!this.mayLieThere(command.sqid, data, metadata, lists, toHost)) {
        return NvmeStatus.invalidUseOfControllerMemoryBuffer;
      }
    }
    if (command.truncateBytes >= 0) data.truncate(command.truncateBytes);
    return status;
  }

  /**
   * Finds data that lies in one memory page, which PRP entry 1 names alone, as most data does: {@link page} is then filled.
   * @returns false where only map() can tell
   */
  findPage(command: Command, lengthBytes: number, toHost: boolean): boolean {
    const { sqe } = command;
    const { memoryPageBytes: pageBytes } = this.prp;
    const low = sqe[DPTR] ?? 0;
    const usesPrp = ((sqe[0] ?? 0) & PSDT_MASK) === 0;
    if (!usesPrp || (low & 3) !== 0 || (low & (pageBytes - 1)) + lengthBytes > pageBytes) return false;
    const { memory, page } = this;
    if (!memory.find((sqe[DPTR + 1] ?? 0) * TWO_32 + low, lengthBytes, toHost, page)) return false;
    // map() finds uses of the buffer that aren't allowed.
    return !memory.rules.restricts || !memory.isCmb(page.bytes);
  }

  /** Fills `command.metadata` from MPTR. @returns a status */
  mapMetadata(command: Command, lengthBytes: number, toHost: boolean): number {
    const { sqe, metadata } = command;
    const psdt = ((sqe[0] ?? 0) >>> 14) & 3;
    const pointer = (sqe[MPTR + 1] ?? 0) * TWO_32 + (sqe[MPTR] ?? 0);
    metadata.clear();
    this.metadata = metadata;
    if (psdt === PSDT_PRP || psdt === PSDT_SGL) {
      if (psdt === PSDT_PRP && pointer % 4 !== 0) return NvmeStatus.invalidField;
      if (!metadata.add(this.memory, pointer, lengthBytes, toHost)) return NvmeStatus.dataTransferError;
      return this.judgeMetadata(command, NO_LISTS, toHost);
    }
    if (psdt !== PSDT_SGL_METADATA) return NvmeStatus.invalidField;
    const { descriptor, sgl } = this;
    if (pointer % 8 !== 0 || !this.memory.copyFrom(pointer, this.descriptorBytes)) {
      return NvmeStatus.dataTransferError;
    }
    const isInCmb = this.memory.overlapsCmb(pointer, this.descriptorBytes.length);
    const invalid = NvmeStatus.metadataSglLengthInvalid;
    const status = sgl.walk(metadata, descriptor, 0, lengthBytes, toHost, invalid);
    if (status !== NvmeStatus.success) return status;
    // The descriptor is a segment of its own.
    if (isInCmb) sgl.listsInCmb = true;
    else sgl.listsElsewhere = true;
    return this.judgeMetadata(command, sgl, toHost);
  }

  private judgeMetadata(command: Command, lists: Lists, toHost: boolean): number {
    const { rules } = this.memory;
    return !rules.restricts || this.mayLieThere(command.sqid, command.metadata, undefined, lists, toHost)
      ? NvmeStatus.success
      : NvmeStatus.invalidUseOfControllerMemoryBuffer;
  }

  /**
   * Whether the controller memory buffer is for what a command has there (CMBSZ, CMBLOC).
   * @param other its metadata, which was found before
   */
  private mayLieThere(
    sqid: number,
    data: Scatter,
    other: Scatter | undefined,
    { listsInCmb, listsElsewhere }: Lists,
    toHost: boolean,
  ): boolean {
    const { rules } = this.memory;
    const inCmb = (bytes: Uint8Array): boolean => this.memory.isCmb(bytes);
    if (data.touches(inCmb)) {
      if (!rules.has(toHost ? "RDS" : "WDS")) return false;
      if (!rules.has("CDMMMS") && (data.leaves(inCmb) || other?.leaves(inCmb) === true)) return false;
    } else if (!rules.has("CDMMMS") && data.leaves(inCmb) && other?.touches(inCmb) === true) return false;
    if (!listsInCmb) return true;
    if (!rules.has("LISTS") || (listsElsewhere && !rules.has("CDPMLS"))) return false;
    return rules.has("CDPCILS") || this.isInCmb(sqid);
  }

  /** A command's data into own memory. @returns a status */
  fetch(command: Command, target: Uint8Array): number {
    const status = this.map(command, target.length, false);
    if (status !== NvmeStatus.success) return status;
    return command.data.toBytes(target) ? NvmeStatus.success : NvmeStatus.dataTransferError;
  }

  /** Own memory to where the command wants its data. @returns a status */
  send(command: Command, source: Uint8Array): number {
    if (source.length === 0) return NvmeStatus.success;
    const status = this.map(command, source.length, true);
    if (status !== NvmeStatus.success) return status;
    return command.data.fromBytes(source) ? NvmeStatus.success : NvmeStatus.dataTransferError;
  }
}
