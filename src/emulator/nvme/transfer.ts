import { NvmeStatus } from "../../nvme/spec/status.js";
import type { Command } from "./command.js";
import { type HostMemory, newSpan } from "./host-memory.js";
import { PrpWalker } from "./prp-walk.js";
import { SglWalker } from "./sgl-walk.js";

const TWO_32 = 2 ** 32;
/** PRP or SGL for data transfer (PSDT): SGLs with the metadata in one piece, or with an SGL of its own. */
const PSDT_PRP = 0;
const PSDT_SGL = 1;
const PSDT_SGL_METADATA = 2;
const PSDT_MASK = 3 << 14;
/** Words of an entry where DPTR and MPTR start. */
const DPTR = 6;
const MPTR = 4;

/** Finds the memory of a command's data and metadata, whatever way the command names it. */
export class Transfer {
  readonly prp: PrpWalker;
  /** What findPage() found. */
  readonly page = newSpan();
  private readonly sgl: SglWalker;
  private readonly descriptor = new Uint32Array(4);

  constructor(private readonly memory: HostMemory) {
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
    data.clear();
    let status: number;
    if (psdt === PSDT_PRP) {
      const prp1 = (sqe[DPTR + 1] ?? 0) * TWO_32 + (sqe[DPTR] ?? 0);
      const prp2 = (sqe[DPTR + 3] ?? 0) * TWO_32 + (sqe[DPTR + 2] ?? 0);
      status = this.prp.walk(data, prp1, prp2, lengthBytes, toHost);
    } else if (command.sqid === 0 || psdt === 3) {
      // "SGLs shall not be used for Admin commands" over PCI Express.
      status = NvmeStatus.invalidField;
    } else {
      status = this.sgl.walk(data, sqe, DPTR, lengthBytes, toHost, NvmeStatus.dataSglLengthInvalid);
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
    return this.memory.find((sqe[DPTR + 1] ?? 0) * TWO_32 + low, lengthBytes, toHost, this.page);
  }

  /** Fills `command.metadata` from MPTR. @returns a status */
  mapMetadata(command: Command, lengthBytes: number, toHost: boolean): number {
    const { sqe, metadata } = command;
    const psdt = ((sqe[0] ?? 0) >>> 14) & 3;
    const pointer = (sqe[MPTR + 1] ?? 0) * TWO_32 + (sqe[MPTR] ?? 0);
    metadata.clear();
    if (psdt === PSDT_PRP || psdt === PSDT_SGL) {
      if (psdt === PSDT_PRP && pointer % 4 !== 0) return NvmeStatus.invalidField;
      return metadata.add(this.memory, pointer, lengthBytes, toHost)
        ? NvmeStatus.success
        : NvmeStatus.dataTransferError;
    }
    if (psdt !== PSDT_SGL_METADATA) return NvmeStatus.invalidField;
    const { descriptor } = this;
    const span = this.descriptorSpan;
    if (pointer % 8 !== 0 || !this.memory.find(pointer, 16, false, span)) return NvmeStatus.dataTransferError;
    descriptor.set(span.words.subarray(span.offset / 4, span.offset / 4 + 4));
    return this.sgl.walk(metadata, descriptor, 0, lengthBytes, toHost, NvmeStatus.metadataSglLengthInvalid);
  }

  /** A command's data into own memory. @returns a status */
  fetch(command: Command, target: Uint8Array): number {
    const status = this.map(command, target.length, false);
    if (status === NvmeStatus.success) command.data.toBytes(target);
    return status;
  }

  /** Own memory to where the command wants its data. @returns a status */
  send(command: Command, source: Uint8Array): number {
    if (source.length === 0) return NvmeStatus.success;
    const status = this.map(command, source.length, true);
    if (status === NvmeStatus.success) command.data.fromBytes(source);
    return status;
  }

  private readonly descriptorSpan = newSpan();
}
