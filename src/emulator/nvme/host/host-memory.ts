/** The memory that commands can address: the client's, and the controller memory buffer. */
import { copyBytes } from "../../../sys/copy.js";
import type { ClientMemory, MemorySpan } from "../../../vfio-user/server/emulated-device.js";
import type { CmbRules, CmbUse } from "./cmb-rules.js";

const nothing = new SharedArrayBuffer(0);

/** A span to be filled by find(). */
export function newSpan(): MemorySpan {
  return { bytes: new Uint8Array(nothing), words: new Uint32Array(nothing), offset: 0 };
}

/**
 * All memory that a command can address: the client's, and the controller memory buffer if the host has given it an address
 * (CMBMSC). Every address and length from outside is looked up here, so that it reaches nothing else.
 */
export class HostMemory {
  private client: ClientMemory | undefined;
  private ownGeneration = 0;
  private cmbBase = 0;
  private cmbBytes = 0;

  /** @param cmb the controller memory buffer, where there is one */
  constructor(
    private readonly cmb: MemorySpan | undefined,
    readonly rules: CmbRules,
    /** The client's memory ends there for this controller. */
    private readonly limit: number,
  ) {}

  attach(client: ClientMemory | undefined): void {
    this.client = client;
    this.ownGeneration++;
  }

  /** Sets the address of the CMB. @param sizeBytes 0 switches it off */
  placeCmb(base: number, sizeBytes: number): void {
    this.cmbBase = base;
    this.cmbBytes = this.cmb === undefined ? 0 : sizeBytes;
    this.ownGeneration++;
  }

  /** Changes whenever earlier spans become invalid. */
  get generation(): number {
    return (this.client?.generation ?? 0) + this.ownGeneration * 0x1000_0000;
  }

  /** Whether memory that find() found is the controller memory buffer's. */
  isCmb(bytes: Uint8Array): boolean {
    return bytes === this.cmb?.bytes;
  }

  /** Whether any of a range lies in the controller memory buffer. */
  overlapsCmb(iova: number, lengthBytes: number): boolean {
    const { cmbBase: first, cmbBytes } = this;
    return cmbBytes > 0 && iova < first + cmbBytes && iova + lengthBytes > first;
  }

  /** Whether a queue can lie there, as far as it lies in the controller memory buffer: all of it, and with the bit for it. */
  allowsQueue(iova: number, lengthBytes: number, use: CmbUse): boolean {
    const { cmbBase: first, cmbBytes } = this;
    if (!this.overlapsCmb(iova, lengthBytes)) return true;
    return iova >= first && iova + lengthBytes <= first + cmbBytes && this.rules.has(use);
  }

  /** As ClientMemory.find(). */
  find(iova: number, lengthBytes: number, write: boolean, span: MemorySpan): boolean {
    const { client, cmb } = this;
    if (cmb !== undefined && iova >= this.cmbBase && iova + lengthBytes <= this.cmbBase + this.cmbBytes) {
      span.bytes = cmb.bytes;
      span.words = cmb.words;
      span.offset = cmb.offset + (iova - this.cmbBase);
      return true;
    }
    return iova + lengthBytes <= this.limit && (client?.find(iova, lengthBytes, write, span) ?? false);
  }

  /** As ClientMemory.canCopy(). */
  canCopy(iova: number, lengthBytes: number, write: boolean): boolean {
    for (let done = 0; done < lengthBytes; ) {
      const at = iova + done;
      const count = this.toCmbEdge(at, lengthBytes - done);
      if (!this.isInPlacedCmb(at) && !(this.clientAt(at, count)?.canCopy(at, count, write) ?? false))
        return false;
      done += count;
    }
    return true;
  }

  /** As ClientMemory.copyFrom(). */
  copyFrom(iova: number, target: Uint8Array): boolean {
    for (let done = 0; done < target.length; ) {
      const at = iova + done;
      const count = this.toCmbEdge(at, target.length - done);
      if (this.isInPlacedCmb(at)) this.copyFromCmb(at, target, done, count);
      else if (!(this.clientAt(at, count)?.copyFrom(at, target.subarray(done, done + count)) ?? false))
        return false;
      done += count;
    }
    return true;
  }

  /** As ClientMemory.copyTo(). */
  copyTo(iova: number, source: Uint8Array): boolean {
    for (let done = 0; done < source.length; ) {
      const at = iova + done;
      const count = this.toCmbEdge(at, source.length - done);
      if (this.isInPlacedCmb(at)) this.copyToCmb(at, source, done, count);
      else if (!(this.clientAt(at, count)?.copyTo(at, source.subarray(done, done + count)) ?? false))
        return false;
      done += count;
    }
    return true;
  }

  /** The client's memory, if the controller reaches this range of it. */
  private clientAt(iova: number, lengthBytes: number): ClientMemory | undefined {
    return iova + lengthBytes <= this.limit ? this.client : undefined;
  }

  private isInPlacedCmb(iova: number): boolean {
    return iova >= this.cmbBase && iova < this.cmbBase + this.cmbBytes;
  }

  /** How much of a range lies on one side of the buffer's edges. */
  private toCmbEdge(iova: number, lengthBytes: number): number {
    const end = this.cmbBase + this.cmbBytes;
    if (iova < this.cmbBase) return Math.min(lengthBytes, this.cmbBase - iova);
    return iova < end ? Math.min(lengthBytes, end - iova) : lengthBytes;
  }

  private copyFromCmb(iova: number, target: Uint8Array, to: number, lengthBytes: number): void {
    const { cmb } = this;
    if (cmb !== undefined) copyBytes(target, to, cmb.bytes, cmb.offset + iova - this.cmbBase, lengthBytes);
  }

  private copyToCmb(iova: number, source: Uint8Array, from: number, lengthBytes: number): void {
    const { cmb } = this;
    if (cmb !== undefined) copyBytes(cmb.bytes, cmb.offset + iova - this.cmbBase, source, from, lengthBytes);
  }
}
