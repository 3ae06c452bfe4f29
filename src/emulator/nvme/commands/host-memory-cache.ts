/** Host memory buffer: a cache of the medium in memory that the host lends. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { integer } from "../../../core/options.js";
import { HostMemoryFlag, hostMemoryAttributes, hostMemoryDescriptor } from "../../../nvme/spec/features.js";
import { FeatureId, FeatureSelect } from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import { copyBytes } from "../../../sys/copy.js";
import type { Command } from "../host/command.js";
import type { HostMemory } from "../host/host-memory.js";
import type { HostMemoryUse } from "../host/host-memory-use.js";
import type { Transfer } from "../host/transfer.js";
import type { Medium } from "../medium/medium.js";
import { count } from "../medium/state-schema.js";
import { type AdminService, savedPart } from "./admin-service.js";
import type { FeatureHandler } from "./features.js";

/** The most memory that a host can lend. */
const MOST_HOST_MEMORY_BYTES = 2 ** 32;

/** The part of a migration state that holds the memory that the host has lent, in bytes. */
const hostMemoryState = lazily(() =>
  z.nullable(
    z
      .strictObject({
        listAddress: count(),
        segments: z
          .array(z.tuple([count(), integer(4096, MOST_HOST_MEMORY_BYTES).check(z.multipleOf(4096))]))
          .check(z.minLength(1), z.maxLength(1024)),
      })
      .check(
        z.refine(
          ({ segments }) => segments.reduce((sum, [, bytes]) => sum + bytes, 0) <= MOST_HOST_MEMORY_BYTES,
        ),
      ),
  ),
);
type HostMemoryState = z.output<ReturnType<typeof hostMemoryState>>;

/** Units of HMPRE, HMMIN and HMMINDS; what one line of the cache holds. */
const LINE_BYTES = 4096;
/** Descriptors that a list has at most (HMMAXD). */
export const HOST_MEMORY_DESCRIPTORS = 1024;
/** The least that is of use, in units (HMMIN). */
export const HOST_MEMORY_MINIMUM = 16;

const TWO_32 = 2 ** 32;

/** What the host gave. */
export interface GivenMemory {
  readonly listAddress: number;
  readonly segments: readonly (readonly [iova: number, sizeBytes: number])[];
}

/** What the cache needs of its controller. */
export interface HostMemoryContext {
  readonly command: Command;
  readonly transfer: Transfer;
  readonly memory: HostMemory;
  readonly medium: Medium;
  /** HMPRE in bytes. */
  readonly preferredBytes: number;
  /** CC.MPS. */
  pageBytes(): number;
  /** Grows with every command that changes blocks. */
  changes(): number;
  /** What blocks are to be read from and written to from now on. */
  use(medium: Medium): void;
  /** A line was found damaged. */
  damaged(): void;
}

/**
 * Caches blocks that were read in memory of the host (Host Memory Buffer), in lines of 4 KiB. The controller has a checksum
 * of each line: it reads a damaged line from the medium again, and reports it. Writes go to the medium, so nothing is lost
 * with the buffer.
 */
export class HostMemoryCache implements Medium, FeatureHandler, AdminService {
  readonly features: Readonly<Record<number, FeatureHandler>> = { [FeatureId.hostMemoryBuffer]: this };
  readonly saved = savedPart(
    "hostMemory",
    hostMemoryState,
    () => this.save(),
    (saved) => this.load(saved),
  );
  onFill = undefined;
  readonly sizeBytes: number;
  private given: GivenMemory | undefined;
  /** What was given last, and how many changes there had been when it was taken back. */
  private last: { readonly given: GivenMemory; readonly changes: number } | undefined;
  /** By place in the buffer: which 4 KiB of the medium are there (-1 for none), and their checksum. */
  private lines = new Float64Array(0);
  private checksums = new Uint32Array(0);
  private fills = 0;
  private hits = 0;
  private misses = 0;
  private damage = 0;
  private readonly line = new Uint8Array(new SharedArrayBuffer(LINE_BYTES));

  constructor(private readonly context: HostMemoryContext) {
    const { medium } = context;
    this.sizeBytes = medium.sizeBytes;
    medium.onFill = (at, lengthBytes) => {
      this.fills++;
      this.forget(at, lengthBytes);
    };
  }

  get usage(): HostMemoryUse {
    const { hits, misses, damage } = this;
    const sizeBytes = (this.given?.segments ?? []).reduce((sum, [, length]) => sum + length, 0);
    return { sizeBytes, hits, misses, damaged: damage };
  }

  /** Set Features. */
  set(): number {
    const { command } = this.context;
    const flags = command.cdw(11);
    if ((flags & HostMemoryFlag.enable) === 0) {
      this.takeBack();
      return NvmeStatus.success;
    }
    if (this.given !== undefined) return NvmeStatus.commandSequenceError;
    const given = this.readList();
    if (typeof given === "number") return given;
    const isSame = JSON.stringify(given) === JSON.stringify(this.last?.given);
    const isReturned = (flags & HostMemoryFlag.memoryReturn) !== 0;
    if (isReturned && this.last !== undefined && !isSame) return NvmeStatus.invalidField;
    this.give(given, isReturned && this.last?.changes === this.changes);
    return NvmeStatus.success;
  }

  /** Get Features. */
  get(select: number): number {
    const { command, transfer } = this.context;
    const { given } = this;
    if (select !== FeatureSelect.current || given === undefined) {
      return transfer.send(command, hostMemoryAttributes.encode({}));
    }
    const { listAddress, segments } = given;
    command.dw0 = HostMemoryFlag.enable;
    return transfer.send(
      command,
      hostMemoryAttributes.encode({
        hsize: this.usage.sizeBytes / this.context.pageBytes(),
        hmdlal: listAddress % TWO_32,
        hmdlau: Math.floor(listAddress / TWO_32),
        hmdlec: segments.length,
      }),
    );
  }

  /** Stops using the host's memory. */
  private takeBack(): void {
    if (this.given === undefined) return;
    this.last = { given: this.given, changes: this.changes };
    this.given = undefined;
    this.context.use(this.context.medium);
  }

  reset(): void {
    this.takeBack();
  }

  shutdown(): void {
    this.takeBack();
  }

  mediumLoaded(): void {
    this.clear();
  }

  /** Discards all lines. */
  clear(): void {
    this.lines.fill(-1);
  }

  read(at: number, target: Uint8Array, targetAt: number, lengthBytes: number): boolean {
    for (let done = 0; done < lengthBytes; ) {
      const number = Math.floor((at + done) / LINE_BYTES);
      const from = at + done - number * LINE_BYTES;
      const count = Math.min(LINE_BYTES - from, lengthBytes - done);
      if (!this.fetch(number)) return false;
      copyBytes(target, targetAt + done, this.line, from, count);
      done += count;
    }
    return true;
  }

  write(at: number, source: Uint8Array, sourceAt: number, lengthBytes: number): boolean {
    this.forget(at, lengthBytes);
    return this.context.medium.write(at, source, sourceAt, lengthBytes);
  }

  fill(at: number, lengthBytes: number, value: number): boolean {
    return this.context.medium.fill(at, lengthBytes, value);
  }

  flush(): boolean {
    return this.context.medium.flush();
  }

  get canBeShared(): boolean {
    return this.context.medium.canBeShared;
  }

  own(): boolean {
    return this.context.medium.own();
  }

  giveUp(): void {
    this.context.medium.giveUp();
  }

  /** The medium itself is closed by its owner. */
  close(): void {
    this.takeBack();
  }

  private save(): HostMemoryState {
    if (this.given === undefined) return null;
    const { listAddress, segments } = this.given;
    return { listAddress, segments: segments.map(([iova, sizeBytes]) => [iova, sizeBytes]) };
  }

  /** The memory of the host is the same, but its contents are unknown here. */
  private load(saved: HostMemoryState): void {
    this.takeBack();
    this.last = undefined;
    if (saved !== null) this.give(saved, false);
  }

  private get changes(): number {
    return this.context.changes() + this.fills;
  }

  private give(given: GivenMemory, isKnown: boolean): void {
    this.given = given;
    if (!isKnown) {
      const count = Math.floor(this.usage.sizeBytes / LINE_BYTES);
      this.lines = new Float64Array(count).fill(-1);
      this.checksums = new Uint32Array(count);
    }
    this.context.use(this);
  }

  /** The descriptor list, from CDW12 to CDW15. @returns a status if it is invalid */
  private readList(): GivenMemory | number {
    const { command, memory, preferredBytes } = this.context;
    const pageBytes = this.context.pageBytes();
    const sizeBytes = command.cdw(12) * pageBytes;
    const listAddress = command.cdw(14) * TWO_32 + command.cdw(13);
    const entries = command.cdw(15);
    const least = Math.min(HOST_MEMORY_MINIMUM * LINE_BYTES, preferredBytes);
    if (sizeBytes < least || sizeBytes > MOST_HOST_MEMORY_BYTES) return NvmeStatus.invalidField;
    if (listAddress % hostMemoryDescriptor.sizeBytes !== 0) return NvmeStatus.invalidField;
    if (entries === 0 || entries > HOST_MEMORY_DESCRIPTORS) return NvmeStatus.invalidField;
    const listBytes = entries * hostMemoryDescriptor.sizeBytes;
    const list = new Uint8Array(listBytes);
    if (!memory.copyFrom(listAddress, list)) return NvmeStatus.dataTransferError;
    const segments: [number, number][] = [];
    let total = 0;
    for (let at = 0; at < listBytes; at += hostMemoryDescriptor.sizeBytes) {
      const { badd, bsize } = hostMemoryDescriptor.decode(list.subarray(at));
      const length = bsize * pageBytes;
      total += length;
      if (badd % BigInt(pageBytes) !== 0n || bsize === 0 || total > sizeBytes) return NvmeStatus.invalidField;
      if (badd + BigInt(length) > BigInt(Number.MAX_SAFE_INTEGER)) return NvmeStatus.invalidField;
      const isMapped =
        memory.canCopy(Number(badd), length, true) && memory.canCopy(Number(badd), length, false);
      if (!isMapped) return NvmeStatus.dataTransferError;
      segments.push([Number(badd), length]);
    }
    return total === sizeBytes ? { listAddress, segments } : NvmeStatus.invalidField;
  }

  /** Discards the lines of a part of the medium that changes. */
  private forget(at: number, lengthBytes: number): void {
    const { lines } = this;
    if (lines.length === 0 || lengthBytes === 0) return;
    const first = Math.floor(at / LINE_BYTES);
    const last = Math.floor((at + lengthBytes - 1) / LINE_BYTES);
    if (last - first >= lines.length) {
      this.clear();
      return;
    }
    for (let number = first; number <= last; number++) {
      const place = number % lines.length;
      if (lines[place] === number) lines[place] = -1;
    }
  }

  /** 4 KiB of the medium into `line`. @returns false if the medium failed */
  private fetch(number: number): boolean {
    const { line, lines, checksums } = this;
    const { memory } = this.context;
    const place = number % lines.length;
    const address = this.addressOf(place);
    if (lines[place] === number) {
      // Copied first: the host may change it while we look.
      if (address !== undefined && memory.copyFrom(address, line) && checksum(line) === checksums[place]) {
        this.hits++;
        return true;
      }
      this.damage++;
      this.context.damaged();
    }
    this.misses++;
    lines[place] = -1;
    const at = number * LINE_BYTES;
    const lengthBytes = Math.min(LINE_BYTES, this.sizeBytes - at);
    if (!this.context.medium.read(at, line, 0, lengthBytes)) return false;
    // The host may have unmapped it.
    if (address === undefined || !memory.copyTo(address, line)) return true;
    lines[place] = number;
    checksums[place] = checksum(line);
    return true;
  }

  /** Where a place is in the host's memory. */
  private addressOf(place: number): number | undefined {
    let at = place * LINE_BYTES;
    for (const [iova, sizeBytes] of this.given?.segments ?? []) {
      if (at < sizeBytes) return iova + at;
      at -= sizeBytes;
    }
    return undefined;
  }
}

/** The part of a migration state of a controller that wants no memory. */
export const withoutHostMemory: AdminService = {
  saved: savedPart(
    "hostMemory",
    () => z.null(),
    () => null,
    () => {},
  ),
};

/** FNV-1a over 32-bit words. */
function checksum(bytes: Uint8Array): number {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  let sum = 0x811c_9dc5;
  for (let i = 0; i < words.length; i++) sum = Math.imul(sum ^ (words[i] ?? 0), 0x0100_0193);
  return sum >>> 0;
}
