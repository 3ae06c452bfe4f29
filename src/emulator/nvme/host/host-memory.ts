/** The memory that commands can address: the client's, and the controller memory buffer. */
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

  /** Whether a queue can lie there, as far as it lies in the controller memory buffer: all of it, and with the bit for it. */
  allowsQueue(iova: number, lengthBytes: number, use: CmbUse): boolean {
    const { cmbBase: first, cmbBytes } = this;
    const end = first + cmbBytes;
    if (cmbBytes === 0 || iova >= end || iova + lengthBytes <= first) return true;
    return iova >= first && iova + lengthBytes <= end && this.rules.has(use);
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
    return client?.find(iova, lengthBytes, write, span) ?? false;
  }
}
