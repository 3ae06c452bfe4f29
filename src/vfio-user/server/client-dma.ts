/** The client's memory, as the served device reaches it. */
import { Errno } from "../../core/errno.js";
import { IovaError } from "../../core/errors.js";
import { MappedMemory } from "../../sys/memory.js";
import { PAGE_SIZE } from "../../sys/syscalls.js";
import type { DirtyLog } from "./dirty-log.js";
import type { ClientMemory, MemorySpan } from "./emulated-device.js";
import { Refusal } from "./refusal.js";

/** A mapping that the client made, or an access outside of all of them. */
export class DmaAccessError extends IovaError {
  constructor(
    message: string,
    /** The errno that the client gets. */
    readonly errno: number = Errno.EINVAL,
  ) {
    super("ERR_IOVA_DMA_ACCESS", message);
  }
}

interface Mapping {
  readonly iova: number;
  readonly end: number;
  readonly readable: boolean;
  readonly writable: boolean;
  /** Undefined without a descriptor: such memory is reached by messages. */
  readonly memory: MappedMemory | undefined;
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  readonly words: Uint32Array<SharedArrayBuffer>;
  /** Where the mapping starts in `bytes`. */
  readonly offset: number;
}

const nothing = new SharedArrayBuffer(0);

/** Reaches memory without a descriptor by messages to the client. */
export interface MessageDma {
  dmaRead(iova: number, target: Uint8Array): Promise<void>;
  dmaWrite(iova: number, source: Uint8Array): Promise<void>;
}

/**
 * The mappings of one client, sorted by address. Usually they are few and live long; the last one found is tried first.
 */
export class DmaTable implements ClientMemory {
  generation = 0;
  /** Whether the device may be bus master. Otherwise it reaches nothing, like a real one. */
  private isEnabled = false;
  private readonly mappings: Mapping[] = [];
  private last: Mapping | undefined;
  private log: DirtyLog | undefined;
  /** What is written is logged in these units. */
  readonly logPageBytes = PAGE_SIZE;

  constructor(
    private readonly messages: MessageDma,
    readonly maxMappings: number,
  ) {}

  /**
   * Maps part of the client's file, or notes memory that is reached by messages.
   * @param fd stays the caller's
   * @throws DmaAccessError (overlap, too many, beyond 2^53), ArgumentError (beyond the end of the file), SysError
   */
  map(options: {
    readonly iova: bigint;
    readonly sizeBytes: bigint;
    readonly readable: boolean;
    readonly writable: boolean;
    readonly fd?: number;
    readonly fdOffset: bigint;
    readonly who: string;
  }): void {
    const { who, readable, writable, fd } = options;
    const limit = BigInt(Number.MAX_SAFE_INTEGER);
    if (options.sizeBytes === 0n || options.iova + options.sizeBytes > limit || options.fdOffset > limit) {
      throw new DmaAccessError(
        `${who}: no mapping of 0x${options.sizeBytes.toString(16)} bytes is possible there`,
      );
    }
    const iova = Number(options.iova);
    const end = iova + Number(options.sizeBytes);
    if (this.mappings.length >= this.maxMappings)
      throw new DmaAccessError(`${who}: too many DMA mappings`, Errno.ENOSPC);
    if (this.mappings.some((other) => iova < other.end && other.iova < end)) {
      throw new DmaAccessError(`${who}: something is mapped at 0x${iova.toString(16)} already`, Errno.EEXIST);
    }
    let mapping: Mapping = {
      iova,
      end,
      readable,
      writable,
      memory: undefined,
      bytes: new Uint8Array(nothing),
      words: new Uint32Array(nothing),
      offset: 0,
    };
    if (fd !== undefined) {
      const memory = MappedMemory.ofFile(fd, Number(options.fdOffset), end - iova, `memory of ${who}`);
      const whole = new Uint8Array(memory.buffer);
      const words = new Uint32Array(memory.buffer);
      mapping = { ...mapping, memory, bytes: whole, words, offset: memory.bytes.byteOffset };
    }
    this.mappings.push(mapping);
    this.mappings.sort((a, b) => a.iova - b.iova);
    this.generation++;
  }

  /** The bus master bit of the command register. */
  enable(enabled: boolean): void {
    if (enabled === this.isEnabled) return;
    this.isEnabled = enabled;
    this.last = undefined;
    this.generation++;
  }

  get logging(): boolean {
    return this.log !== undefined;
  }

  /** Notes from now on what the device is given to write to. Spans that it keeps have to be found again. */
  startLogging(log: DirtyLog): void {
    this.log = log;
    this.generation++;
  }

  stopLogging(): void {
    this.log = undefined;
  }

  /** @throws Refusal: EINVAL if nothing is logged, and as {@link DirtyLog.report} */
  reportLog(iova: bigint, lengthBytes: bigint, pageBytes: bigint, maxBytes: number): Uint8Array {
    if (this.log === undefined) throw new Refusal(Errno.EINVAL);
    const bitmap = this.log.report(iova, lengthBytes, pageBytes, maxBytes);
    // Writes to spans that devices keep have to be noted again.
    this.generation++;
    return bitmap;
  }

  /** Removes the mappings in the range. @returns their bytes @throws DmaAccessError if one lies only partly in it */
  unmap(iova: bigint, sizeBytes: bigint): number {
    const end = iova + sizeBytes;
    const inside = (mapping: Mapping): boolean => BigInt(mapping.iova) >= iova && BigInt(mapping.end) <= end;
    const cut = this.mappings.find(
      (mapping) => !inside(mapping) && BigInt(mapping.iova) < end && iova < BigInt(mapping.end),
    );
    if (cut !== undefined) throw new DmaAccessError(`a mapping at 0x${cut.iova.toString(16)} would be cut`);
    let bytes = 0;
    for (const mapping of this.mappings.filter(inside)) {
      bytes += mapping.end - mapping.iova;
      this.drop(mapping);
    }
    return bytes;
  }

  /** Whether this is exactly one mapping. */
  isMapping(iova: bigint, sizeBytes: bigint): boolean {
    return this.mappings.some(
      (mapping) => BigInt(mapping.iova) === iova && BigInt(mapping.end) === iova + sizeBytes,
    );
  }

  unmapAll(): void {
    for (const mapping of [...this.mappings]) this.drop(mapping);
  }

  find(iova: number, lengthBytes: number, write: boolean, span: MemorySpan): boolean {
    let mapping = this.last;
    if (mapping === undefined || iova < mapping.iova || iova + lengthBytes > mapping.end) {
      mapping = this.search(iova);
      if (mapping === undefined || iova + lengthBytes > mapping.end) return false;
      this.last = mapping;
    }
    if (mapping.memory === undefined || !(write ? mapping.writable : mapping.readable)) return false;
    if (write && this.log !== undefined) this.log.mark(iova, lengthBytes);
    span.bytes = mapping.bytes;
    span.words = mapping.words;
    span.offset = mapping.offset + (iova - mapping.iova);
    return true;
  }

  async read(iova: number, target: Uint8Array): Promise<void> {
    const mapping = this.check(iova, target.length, false);
    if (mapping.memory === undefined) return await this.messages.dmaRead(iova, target);
    const at = mapping.offset + (iova - mapping.iova);
    target.set(mapping.bytes.subarray(at, at + target.length));
  }

  async write(iova: number, source: Uint8Array): Promise<void> {
    const mapping = this.check(iova, source.length, true);
    this.log?.mark(iova, source.length);
    if (mapping.memory === undefined) return await this.messages.dmaWrite(iova, source);
    mapping.bytes.set(source, mapping.offset + (iova - mapping.iova));
  }

  private check(iova: number, length: number, write: boolean): Mapping {
    const mapping = this.search(iova);
    if (
      mapping === undefined ||
      iova + length > mapping.end ||
      !(write ? mapping.writable : mapping.readable)
    ) {
      throw new DmaAccessError(
        `the client has not mapped ${length} bytes at 0x${iova.toString(16)} for ${write ? "writing" : "reading"}`,
      );
    }
    return mapping;
  }

  /** The mapping with this address in it. */
  private search(iova: number): Mapping | undefined {
    if (!this.isEnabled) return undefined;
    let low = 0;
    let high = this.mappings.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const mapping = this.mappings[middle];
      if (mapping === undefined) return undefined;
      if (iova < mapping.iova) high = middle - 1;
      else if (iova >= mapping.end) low = middle + 1;
      else return mapping;
    }
    return undefined;
  }

  private drop(mapping: Mapping): void {
    this.mappings.splice(this.mappings.indexOf(mapping), 1);
    this.last = undefined;
    this.generation++;
    mapping.memory?.close();
  }
}
