/** The client's memory, as the served device reaches it. */
import { Errno } from "../../core/errno.js";
import { IovaError } from "../../core/errors.js";
import { closeAll } from "../../core/lifetime/close-all.js";
import { copyBytes } from "../../sys/copy.js";
import { CopyWindow, GuardedMemory } from "../../sys/guarded-memory.js";
import type { MappingBudget } from "../../sys/mapping-budget.js";
import { filePageBytes, MappedMemory } from "../../sys/memory.js";
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

/** How the device reaches a mapping: as memory of this process, by copies through the kernel, or by messages. */
export type ClientMemoryUse = "map" | "copy" | "messages";

interface Mapping {
  readonly iova: number;
  readonly end: number;
  readonly readable: boolean;
  readonly writable: boolean;
  /** Neither of them for memory that is reached by messages. */
  readonly memory: MappedMemory | undefined;
  readonly guarded: GuardedMemory | undefined;
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  readonly words: Uint32Array<SharedArrayBuffer>;
  /** Where the mapping starts in `bytes`. */
  readonly offset: number;
}

/** Part of a transfer that lies in one mapping. */
interface Piece {
  readonly mapping: Mapping;
  /** Where it starts in the mapping. */
  readonly at: number;
  readonly lengthBytes: number;
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
  /** What {@link GuardedMemory} copies through; made for the first of it. */
  private window: CopyWindow | undefined;
  private last: Mapping | undefined;
  private log: DirtyLog | undefined;
  /** What is written is logged in these units. */
  readonly logPageBytes = PAGE_SIZE;

  constructor(
    private readonly messages: MessageDma,
    readonly maxMappings: number,
    private readonly budget: MappingBudget,
  ) {}

  /**
   * Maps part of the client's file, or notes memory that is reached by messages.
   * @param fd stays the caller's; left out where `use` is "messages"
   * @param use "copy" for files in memory that the client may truncate
   * @throws DmaAccessError (overlap, too many, beyond 2^53), ArgumentError (beyond the end of the file), SysError
   */
  map(options: {
    readonly iova: bigint;
    readonly sizeBytes: bigint;
    readonly readable: boolean;
    readonly writable: boolean;
    readonly fd?: number;
    readonly use: ClientMemoryUse;
    readonly fdOffset: bigint;
    readonly who: string;
  }): void {
    const { who, readable, writable, fd, use } = options;
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
    // A guest with an IOMMU has tens of thousands of mappings, and makes some with every command.
    const index = this.firstEndingAfter(iova);
    const next = this.mappings[index];
    if (next !== undefined && next.iova < end) {
      throw new DmaAccessError(`${who}: something is mapped at 0x${iova.toString(16)} already`, Errno.EEXIST);
    }
    if (fd !== undefined && !this.budget.take()) {
      throw new DmaAccessError(
        `${who}: this process can't hold more mappings (vm.max_map_count)`,
        Errno.ENOSPC,
      );
    }
    const access = writable ? "read-write" : "read";
    let mapping: Mapping = {
      iova,
      end,
      readable,
      writable,
      memory: undefined,
      guarded: undefined,
      bytes: new Uint8Array(nothing),
      words: new Uint32Array(nothing),
      offset: 0,
    };
    const what = `memory of ${who}`;
    if (fd !== undefined && use === "map") {
      // Behind a guest's IOMMU a mapping may be a part of a huge page.
      const at = Number(options.fdOffset);
      const lead = at % filePageBytes(fd);
      const memory = MappedMemory.ofSettledFile(fd, at - lead, lead + end - iova, what, access);
      const whole = new Uint8Array(memory.buffer);
      const words = new Uint32Array(memory.buffer);
      mapping = { ...mapping, memory, bytes: whole, words, offset: memory.bytes.byteOffset + lead };
    } else if (fd !== undefined && use === "copy") {
      this.window ??= new CopyWindow();
      const at = Number(options.fdOffset);
      const guarded = GuardedMemory.ofFile(fd, at, end - iova, what, this.window, access);
      mapping = { ...mapping, guarded };
    }
    this.mappings.splice(index, 0, mapping);
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
    // Exact as far as mappings go, 2^53; both ends may be beyond.
    const start = Number(iova);
    const end = Number(iova + sizeBytes);
    const first = this.firstEndingAfter(start);
    let last = first;
    let bytes = 0;
    for (; ; last++) {
      const mapping = this.mappings[last];
      if (mapping === undefined || mapping.iova >= end) break;
      if (mapping.iova < start || mapping.end > end)
        throw new DmaAccessError(`a mapping at 0x${mapping.iova.toString(16)} would be cut`);
      bytes += mapping.end - mapping.iova;
    }
    this.drop(first, last - first);
    return bytes;
  }

  /** Whether this is exactly one mapping. */
  isMapping(iova: bigint, sizeBytes: bigint): boolean {
    const mapping = this.mappings[this.firstEndingAfter(Number(iova))];
    if (mapping === undefined) return false;
    return BigInt(mapping.iova) === iova && BigInt(mapping.end) === iova + sizeBytes;
  }

  unmapAll(): void {
    this.drop(0, this.mappings.length);
  }

  /** The client is gone. */
  close(): void {
    this.unmapAll();
    this.window?.close();
    this.window = undefined;
  }

  find(address: number | bigint, lengthBytes: number, write: boolean, span: MemorySpan): boolean {
    const iova = typeof address === "number" ? address : Number(address);
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

  canCopy(address: number | bigint, lengthBytes: number, write: boolean): boolean {
    const iova = Number(address);
    const end = iova + lengthBytes;
    // Nothing is mapped beyond; and there a sum isn't exact any more.
    if (end > Number.MAX_SAFE_INTEGER) return false;
    let index = this.indexOf(iova);
    for (let at = iova; at < end; index++) {
      const mapping = this.mappings[index];
      if (mapping === undefined || mapping.iova > at) return false;
      if (!isLocal(mapping) || !allows(mapping, write)) return false;
      at = mapping.end;
    }
    return true;
  }

  copyFrom(address: number | bigint, target: Uint8Array): boolean {
    const iova = Number(address);
    if (!this.canCopy(iova, target.length, false)) return false;
    let done = 0;
    for (const { mapping, at, lengthBytes } of this.piecesOf(iova, target.length)) {
      if (!copyOut(mapping, at, target, done, lengthBytes)) return false;
      done += lengthBytes;
    }
    return true;
  }

  copyTo(address: number | bigint, source: Uint8Array): boolean {
    const iova = Number(address);
    if (!this.canCopy(iova, source.length, true)) return false;
    this.log?.mark(iova, source.length);
    let done = 0;
    for (const { mapping, at, lengthBytes } of this.piecesOf(iova, source.length)) {
      if (!copyIn(mapping, at, source, done, lengthBytes)) return false;
      done += lengthBytes;
    }
    return true;
  }

  async read(iova: number | bigint, target: Uint8Array): Promise<void> {
    const pieces = this.check(iova, target.length, false);
    let done = 0;
    for (const { mapping, at, lengthBytes } of pieces) {
      const part = target.subarray(done, done + lengthBytes);
      if (!isLocal(mapping)) await this.messages.dmaRead(mapping.iova + at, part);
      else if (!copyOut(mapping, at, part, 0, lengthBytes)) throw lost(mapping.iova + at);
      done += lengthBytes;
    }
  }

  async write(iova: number | bigint, source: Uint8Array): Promise<void> {
    const pieces = this.check(iova, source.length, true);
    this.log?.mark(Number(iova), source.length);
    let done = 0;
    for (const { mapping, at, lengthBytes } of pieces) {
      const part = source.subarray(done, done + lengthBytes);
      if (!isLocal(mapping)) await this.messages.dmaWrite(mapping.iova + at, part);
      else if (!copyIn(mapping, at, part, 0, lengthBytes)) throw lost(mapping.iova + at);
      done += lengthBytes;
    }
  }

  /** @throws DmaAccessError unless all of it is mapped with that right */
  private check(iova: number | bigint, length: number, write: boolean): readonly Piece[] {
    // Exact as far as mappings go; an address beyond is in none.
    const pieces = this.piecesOf(Number(iova), length);
    const found = pieces.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
    if (found < length || pieces.length === 0 || !pieces.every(({ mapping }) => allows(mapping, write))) {
      throw new DmaAccessError(
        `the client has not mapped ${length} bytes at 0x${iova.toString(16)} for ${write ? "writing" : "reading"}`,
      );
    }
    return pieces;
  }

  /** The parts of mappings side by side that a range lies in, as far as it is mapped. */
  private piecesOf(iova: number, lengthBytes: number): readonly Piece[] {
    const pieces: Piece[] = [];
    const end = iova + lengthBytes;
    let index = this.indexOf(iova);
    for (let from = iova; from < end || pieces.length === 0; index++) {
      const mapping = this.mappings[index];
      if (mapping === undefined || mapping.iova > from) break;
      const to = Math.min(end, mapping.end);
      pieces.push({ mapping, at: from - mapping.iova, lengthBytes: to - from });
      from = to;
    }
    return pieces;
  }

  /** The mapping with this address in it. */
  private search(iova: number): Mapping | undefined {
    return this.mappings[this.indexOf(iova)];
  }

  /** Index of the first mapping that ends behind an address, whether it begins before or behind it. */
  private firstEndingAfter(iova: number): number {
    const { mappings } = this;
    let low = 0;
    let high = mappings.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((mappings[middle]?.end ?? 0) > iova) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Its index, or the number of mappings where there is none. */
  private indexOf(iova: number): number {
    const { mappings } = this;
    let low = 0;
    let high = this.isEnabled ? mappings.length - 1 : -1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const mapping = mappings[middle];
      if (mapping === undefined) break;
      if (iova < mapping.iova) high = middle - 1;
      else if (iova >= mapping.end) low = middle + 1;
      else return middle;
    }
    return mappings.length;
  }

  /** Removes `count` mappings at once: one by one, each removal would move all that follow. */
  private drop(index: number, count: number): void {
    if (count === 0) return;
    const dropped = this.mappings.splice(index, count);
    this.last = undefined;
    this.generation++;
    const memories = dropped.map(({ memory, guarded }) => memory ?? guarded);
    closeAll(
      memories.filter((memory) => memory !== undefined),
      "unmapping the client's memory",
    );
  }
}

/** Whether it is reached without messages. */
function isLocal({ memory, guarded }: Mapping): boolean {
  return memory !== undefined || guarded !== undefined;
}

function allows({ readable, writable }: Mapping, write: boolean): boolean {
  return write ? writable : readable;
}

function copyOut(mapping: Mapping, at: number, target: Uint8Array, to: number, lengthBytes: number): boolean {
  if (mapping.guarded !== undefined) return mapping.guarded.read(at, target, to, lengthBytes);
  copyBytes(target, to, mapping.bytes, mapping.offset + at, lengthBytes);
  return true;
}

function copyIn(
  mapping: Mapping,
  at: number,
  source: Uint8Array,
  from: number,
  lengthBytes: number,
): boolean {
  if (mapping.guarded !== undefined) return mapping.guarded.write(at, source, from, lengthBytes);
  copyBytes(mapping.bytes, mapping.offset + at, source, from, lengthBytes);
  return true;
}

function lost(iova: number): DmaAccessError {
  return new DmaAccessError(`the client has truncated its memory at 0x${iova.toString(16)}`);
}
