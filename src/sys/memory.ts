/**
 * Memory outside V8's heap, in address ranges that V8 owns.
 *
 * A shared WebAssembly.Memory reserves the range; pages, huge pages, files and BARs are mapped over parts of it.
 * So a view is an ordinary typed array over a SharedArrayBuffer. V8 keeps the range reserved while any view of it
 * lives. Closing replaces the pages with anonymous ones, so that a stale view reads zeros and reaches no device.
 * With an external ArrayBuffer, a stale view would fault.
 */
import { fstatSync, statfsSync } from "node:fs";
import {
  checkInteger,
  checkKeys,
  checkLength,
  checkOffset,
  checkPowerOfTwo,
  checkRange,
  checkString,
} from "../core/check.js";
import { ArgumentError, ClosedError, StateError, SysError, UnsupportedError } from "../core/errors.js";
import { Lease } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import { registerArena } from "./copy.js";
import { hugePageHint, transparentHugeBytes, transparentHugePageBytes } from "./huge-pages.js";
import { addressOf } from "./libc.js";
import {
  adviseDontFork,
  adviseHugePages,
  discardPages,
  type FileAccess,
  lockPages,
  mapAnonymousAt,
  mapFileAt,
  mapTombstoneAt,
  populatePages,
} from "./mmap.js";
import { bindToNode, checkNumaNode, nodeOf } from "./numa.js";
import { close, duplicate, isSealedAgainstShrinking, memfd, PAGE_SIZE, sealSize } from "./syscalls.js";

const WASM_PAGE = 65536;
/** The limit of WebAssembly's 32-bit memories, and so of one mapping. */
const MAX_ARENA_BYTES = 65536 * WASM_PAGE;
/** V8 reserves 8 to 10 GiB of address space for a memory of any size, so ranges share one. */
const ARENA_BYTES = 1024 * 1024 * 1024;

/** The part of lib.dom's WebAssembly.Memory used here; @types/node leaves it out. */
interface SharedMemory {
  readonly buffer: SharedArrayBuffer;
}
declare const WebAssembly: {
  Memory: new (descriptor: { initial: number; maximum: number; shared: true }) => SharedMemory;
};

/** Below this, writing zeros is faster than a system call and the page faults after it. */
const DISCARD_BYTES = 256 * 1024;

/** One V8-owned reservation from which ranges are cut, each only once. */
class Arena {
  readonly buffer: SharedArrayBuffer;
  readonly address: number;
  private next = 0;

  constructor(readonly sizeBytes: number) {
    const pages = Math.ceil(sizeBytes / WASM_PAGE);
    let memory: SharedMemory;
    try {
      memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    } catch (cause) {
      throw new UnsupportedError(
        "no address space for DMA memory: each 4 GiB reserved takes about 10 GiB of it " +
          "(is RLIMIT_AS, ulimit -v, set, or vm.overcommit_memory 2?)",
        { cause },
      );
    }
    this.buffer = memory.buffer;
    this.address = addressOf(new Uint8Array(this.buffer));
    arenaAddresses.set(this.buffer, this.address);
    registerArena(memory, this.address);
  }

  /** Offset of `sizeBytes` aligned by address, or undefined if they don't fit any more. */
  take(sizeBytes: number, alignBytes: number): number | undefined {
    const start = Math.ceil((this.address + this.next) / alignBytes) * alignBytes - this.address;
    if (start + sizeBytes > this.sizeBytes) return undefined;
    this.next = start + sizeBytes;
    return start;
  }
}

/**
 * The arena in use. No range is handed out twice, so that a stale view never sees its successor. V8 frees a used-up
 * arena with its last view and its last owner.
 */
let current: Arena | undefined;

/** Virtual addresses of the reservations, to find the address of a view. */
const arenaAddresses = new WeakMap<object, number>();

/**
 * Virtual address of the first byte of a view into memory of this library; undefined for any other.
 * No system call and no search.
 */
export function mappedAddressOf(view: NodeJS.ArrayBufferView): number | undefined {
  const base = arenaAddresses.get(view.buffer);
  return base === undefined ? undefined : base + view.byteOffset;
}

function takeRange(sizeBytes: number, alignBytes: number): { arena: Arena; offset: number } {
  const room = sizeBytes + Math.max(0, alignBytes - PAGE_SIZE);
  if (room > MAX_ARENA_BYTES) {
    throw new UnsupportedError(`one mapping can hold at most ${MAX_ARENA_BYTES} bytes, not ${sizeBytes}`);
  }
  let offset = current?.take(sizeBytes, alignBytes);
  if (current === undefined || offset === undefined) {
    current = new Arena(Math.max(ARENA_BYTES, room));
    offset = current.take(sizeBytes, alignBytes) ?? 0;
  }
  return { arena: current, offset };
}

/** Options of {@link MappedMemory.anonymous}. */
export interface MemoryOptions {
  /** Explicit huge pages of this size (a power of two the kernel has a pool for), faulted in at once. */
  readonly hugePageBytes?: number | undefined;
  /** Address alignment in bytes, a power of two; at least a page. */
  readonly alignBytes?: number | undefined;
  /** Ask for transparent huge pages, and fault all pages in to learn how many came. */
  readonly transparentHugePages?: boolean | undefined;
  /** Fault all pages in now and not at first touch. */
  readonly populate?: boolean | undefined;
  /** mlock the pages. */
  readonly lock?: boolean | undefined;
  /** Only memory of this NUMA node, faulted in at once. */
  readonly numaNode?: number | undefined;
}

/** Options of {@link MappedMemory.memfd}. */
export interface MemfdOptions extends Omit<MemoryOptions, "transparentHugePages"> {
  /** Its name in /proc. */
  readonly name?: string | undefined;
}

const pageOptions = ["hugePageBytes", "alignBytes", "populate", "lock", "numaNode"] as const;
const memoryOptions: readonly (keyof MemoryOptions)[] = [...pageOptions, "transparentHugePages"];
const memfdOptions: readonly (keyof MemfdOptions)[] = [...pageOptions, "name"];

/** The pages that a range of memory really has, which may differ from those requested. */
export interface MemoryBacking {
  /** `huge`: explicit huge pages; `memfd` and `file` may also have those: see pageBytes; `device`: a BAR. */
  readonly kind: "anonymous" | "transparent-huge" | "huge" | "memfd" | "file" | "device";
  /** Size of its pages in bytes. */
  readonly pageBytes: number;
  /** Node of its first page; undefined if unknown, or not faulted in yet. */
  readonly numaNode: number | undefined;
}

/** A file that iommufd can map in place of virtual addresses (IOMMU_IOAS_MAP_FILE). */
export interface MemorySource {
  /** Calls `use` with a descriptor, which is open meanwhile, and the memory's offset in the file. */
  withFile<T>(use: (fd: number, offset: number) => T): T;
}

/** Properties of a mapping besides its range. */
interface Details {
  readonly backing: MemoryBacking;
  readonly source?: MemorySource | undefined;
  /** Stays open as long as the memory. */
  readonly file?: FileBehind | undefined;
}

/** Where a range lies: in which reservation, and at which virtual address. */
interface Place {
  readonly buffer: SharedArrayBuffer;
  readonly offset: number;
  readonly address: number;
}

/** The file behind a range; replaceFile() replaces it. */
interface FileBehind {
  fd: number;
  /** Where in the file the range starts, and the end of the part that it needs. */
  offset: number;
  end: number;
  /** Whether it can't become shorter. */
  isSealed: boolean;
}

/** A mapped range: its views, and its address for the kernel. */
export class MappedMemory extends Resource {
  /** Length in bytes, rounded up to whole pages. */
  readonly sizeBytes: number;
  /** Virtual address of the first byte. */
  readonly address: number;
  /** Memory of the whole arena, for views in workers: this range starts at `bytes.byteOffset` in it. */
  readonly buffer: SharedArrayBuffer;
  /** Its pages. */
  readonly backing: MemoryBacking;
  /** The file behind it, if iommufd can map that. */
  readonly source: MemorySource | undefined;
  private readonly file: FileBehind | undefined;
  /**
   * Called when {@link canShrink} has changed.
   * @internal
   */
  shrinkChange: (() => void) | undefined;
  /** Anonymous base pages: they read as zeros after discardPages(). */
  private readonly isPlain: boolean;
  private readonly allBytes: Uint8Array<SharedArrayBuffer>;
  private readonly allWords: Uint32Array<SharedArrayBuffer>;

  private constructor(
    what: string,
    { buffer, offset, address }: Place,
    sizeBytes: number,
    { backing, source, file }: Details,
    release: () => void,
  ) {
    super(new Lease(what, release));
    this.sizeBytes = sizeBytes;
    this.address = address;
    this.buffer = buffer;
    this.backing = backing;
    this.source = source;
    this.isPlain = backing.kind === "anonymous";
    this.file = file;
    this.allBytes = new Uint8Array(buffer, offset, sizeBytes);
    this.allWords = new Uint32Array(buffer, offset, sizeBytes / 4);
  }

  /** Takes a range, and maps something over it, which closing replaces. */
  private static over(
    what: string,
    sizeBytes: number,
    alignBytes: number,
    map: (address: number) => Details,
  ): MappedMemory {
    const { arena, offset } = takeRange(sizeBytes, alignBytes);
    const { buffer } = arena;
    const address = arena.address + offset;
    const details = map(address);
    return new MappedMemory(
      what,
      { buffer, offset, address },
      sizeBytes,
      details,
      releaseOf(buffer, address, sizeBytes, details.file),
    );
  }

  /**
   * Part of other memory, with no mapping of its own. Closing it writes zeros, so that stale views read those.
   * @param released called after that
   * @internal
   */
  static partOf(
    whole: MappedMemory,
    offset: number,
    sizeBytes: number,
    what: string,
    released: () => void,
  ): MappedMemory {
    const { buffer, address, backing, bytes } = whole;
    const part = bytes.subarray(offset, offset + sizeBytes);
    const place = { buffer, offset: part.byteOffset, address: address + offset };
    return new MappedMemory(what, place, sizeBytes, { backing }, () => {
      part.fill(0);
      released();
    });
  }

  /**
   * Zeroed anonymous memory, rounded up to whole (huge) pages. Not inherited by fork: a child's copy-on-write
   * would otherwise move the page under the device.
   * @throws ArgumentError, SysError: ENOMEM if there are too few huge pages, or over the memlock limit (lock)
   */
  static anonymous(sizeBytes: number, options: MemoryOptions = {}): MappedMemory {
    const { rounded, unit, align } = layout(memoryOptions, sizeBytes, options);
    const huge = unit > PAGE_SIZE;
    const node = options.numaNode === undefined ? undefined : checkNumaNode(options.numaNode);
    return MappedMemory.over(`${rounded} bytes of memory`, rounded, align, (address) => {
      try {
        const transparent = options.transparentHugePages === true && !huge;
        const late = transparent || node !== undefined;
        mapAnonymousAt(address, rounded, {
          hugePageBytes: huge ? unit : undefined,
          populate: !late && (huge || options.populate === true),
        });
        if (node !== undefined) bindToNode(address, rounded, node);
        if (transparent) adviseHugePages(address, rounded);
        if (late) populatePages(address, rounded);
        adviseDontFork(address, rounded);
        if (options.lock === true) lockPages(address, rounded);
        const numaNode = late || huge || options.populate === true ? nodeOf(address) : undefined;
        return { backing: anonymousBacking(address, rounded, unit, transparent, numaNode) };
      } catch (error) {
        mapTombstoneAt(address, rounded);
        throw error;
      }
    });
  }

  /**
   * Zeroed memory that other processes can map: {@link fd} is a memfd of sealed length. With iommufd, its mappings belong
   * to the file and not to this process.
   * @throws ArgumentError, SysError
   */
  static memfd(sizeBytes: number, options: MemfdOptions = {}): MappedMemory {
    const { rounded, unit, align } = layout(memfdOptions, sizeBytes, options);
    const huge = unit > PAGE_SIZE;
    const hint = huge ? hugePageHint(unit) : undefined;
    const node = options.numaNode === undefined ? undefined : checkNumaNode(options.numaNode);
    const name = checkString("name", options.name ?? "iova");
    let fd: number;
    try {
      fd = memfd(name, rounded, huge ? unit : undefined);
    } catch (error) {
      throw error instanceof SysError ? error.with({ hint }) : error;
    }
    try {
      sealSize(fd);
      return MappedMemory.over(`memfd of ${rounded} bytes`, rounded, align, (address) => {
        mapFileAt(address, rounded, fd, 0, `memfd of ${rounded} bytes`, hint);
        try {
          const fault = huge || options.populate === true || node !== undefined;
          if (node !== undefined) bindToNode(address, rounded, node);
          if (fault) populatePages(address, rounded);
          if (options.lock === true) lockPages(address, rounded);
          const numaNode = fault ? nodeOf(address) : undefined;
          const source: MemorySource = { withFile: (use) => use(fd, 0) };
          const file: FileBehind = { fd, offset: 0, end: rounded, isSealed: true };
          return { backing: { kind: "memfd", pageBytes: unit, numaNode }, source, file };
        } catch (error) {
          mapTombstoneAt(address, rounded);
          throw error;
        }
      });
    } catch (error) {
      close(fd);
      throw error;
    }
  }

  /**
   * A shared mapping of `fd` (memfd, file, VFIO region). The descriptor may be closed afterwards. If another process truncates
   * the file later, {@link bytes} and {@link words} throw, but an access to the lost part through an older view kills this
   * process. Only a sealed memfd is safe from that.
   * @param offset page aligned
   * @throws ArgumentError (beyond the end of a file: an access would be fatal), SysError
   */
  static ofFile(fd: number, offset: number, sizeBytes: number, what: string): MappedMemory {
    const { kind, pageBytes, rounded, end } = fileLayout(fd, offset, sizeBytes, what);
    if (kind === "device") return MappedMemory.ofRegion(fd, offset, sizeBytes, what, undefined);
    const own = duplicate(fd);
    const file: FileBehind = { fd: own, offset, end, isSealed: isSealedAgainstShrinking(own) };
    // iommufd maps only files in memory by descriptor.
    const source =
      kind === "memfd"
        ? { withFile: <T>(use: (fd: number, at: number) => T) => use(file.fd, file.offset) }
        : undefined;
    try {
      return MappedMemory.over(what, rounded, pageBytes, (address) => {
        mapFileAt(
          address,
          rounded,
          own,
          offset,
          what,
          pageBytes > PAGE_SIZE ? hugePageHint(pageBytes) : undefined,
        );
        return { backing: { kind, pageBytes, numaNode: undefined }, source, file };
      });
    } catch (error) {
      close(own);
      throw error;
    }
  }

  /**
   * As {@link ofFile}, for a file of another process that is sealed or trusted: its size isn't looked at again. So it keeps no
   * descriptor, and thousands of them don't use up the process's.
   * @param access "read" needs no writable descriptor; a write to the memory then ends this process
   * @internal
   * @throws as {@link ofFile}
   */
  static ofSettledFile(
    fd: number,
    offset: number,
    sizeBytes: number,
    what: string,
    access: FileAccess,
  ): MappedMemory {
    const { kind, pageBytes, rounded } = fileLayout(fd, offset, sizeBytes, what);
    return MappedMemory.over(what, rounded, pageBytes, (address) => {
      const hint = pageBytes > PAGE_SIZE ? hugePageHint(pageBytes) : undefined;
      mapFileAt(address, rounded, fd, offset, what, hint, access);
      return { backing: { kind, pageBytes, numaNode: undefined } };
    });
  }

  /**
   * A shared mapping of a device's descriptor.
   * @param source the file for iommufd, which can't map a BAR by its virtual address
   * @throws ArgumentError, SysError
   */
  static ofRegion(
    fd: number,
    offset: number,
    sizeBytes: number,
    what: string,
    source: MemorySource | undefined,
  ): MappedMemory {
    checkOffset("offset", offset);
    checkLength("sizeBytes", sizeBytes, MAX_ARENA_BYTES);
    const rounded = Math.ceil(sizeBytes / PAGE_SIZE) * PAGE_SIZE;
    return MappedMemory.over(what, rounded, PAGE_SIZE, (address) => {
      mapFileAt(address, rounded, fd, offset, what);
      return { backing: { kind: "device", pageBytes: PAGE_SIZE, numaNode: undefined }, source };
    });
  }

  /**
   * Sets a part to zeros. For many whole pages of anonymous memory, it discards the pages instead of writing zeros.
   * @throws ArgumentError, ClosedError
   */
  clear(offset: number, length: number): void {
    checkRange(this.lease.label, offset, length, this.sizeBytes);
    const { bytes } = this;
    const first = Math.ceil(offset / PAGE_SIZE) * PAGE_SIZE;
    const last = Math.floor((offset + length) / PAGE_SIZE) * PAGE_SIZE;
    if (!this.isPlain || last - first < DISCARD_BYTES) {
      bytes.fill(0, offset, offset + length);
      return;
    }
    bytes.fill(0, offset, first);
    if (!discardPages(this.address + first, last - first)) bytes.fill(0, first, last);
    bytes.fill(0, last, offset + length);
  }

  /**
   * The descriptor behind memory of {@link memfd} or a file, to pass to another process; owned by this object.
   * @throws ClosedError, StateError if there is none
   */
  get fd(): number {
    if (this.closed) throw new ClosedError(this.lease.label);
    if (this.file === undefined)
      throw new StateError(`${this.lease.label} has no file behind it: see MappedMemory.memfd`);
    return this.file.fd;
  }

  /**
   * Not for users: replaces the file behind the views atomically, for the registers of a device that was restarted.
   * @param fd may be closed afterwards
   * @throws ArgumentError (it ends too early), SysError, with the old one in place; ClosedError
   * @internal
   */
  replaceFile(fd: number, offset: number): void {
    this.assertUsable();
    const { file } = this;
    checkOffset("offset", offset);
    const end = offset + (file === undefined ? this.sizeBytes : file.end - file.offset);
    const size = fileSize(fd);
    if (size !== undefined && end > size) throw new ArgumentError(endsEarly(this.lease.label, size, end));
    if (file === undefined) {
      mapFileAt(this.address, this.sizeBytes, fd, offset, this.lease.label);
      return;
    }
    const couldShrink = this.canShrink;
    const own = duplicate(fd);
    try {
      mapFileAt(this.address, this.sizeBytes, own, offset, this.lease.label);
    } catch (error) {
      close(own);
      throw error;
    }
    close(file.fd);
    Object.assign(file, { fd: own, offset, end, isSealed: isSealedAgainstShrinking(own) });
    if (this.canShrink !== couldShrink) this.shrinkChange?.();
  }

  /** The whole range. @throws ClosedError, StateError if the file behind it was truncated */
  get bytes(): Uint8Array<SharedArrayBuffer> {
    this.assertUsable();
    return this.allBytes;
  }

  /** The whole range as 32-bit little-endian words. @throws ClosedError, StateError as {@link bytes} */
  get words(): Uint32Array<SharedArrayBuffer> {
    this.assertUsable();
    return this.allWords;
  }

  /**
   * Another process can truncate the file behind it.
   * @internal
   */
  get canShrink(): boolean {
    return this.file !== undefined && !this.file.isSealed;
  }

  /** @throws ClosedError, StateError if the file behind it was truncated: an access to the lost part would be fatal */
  assertUsable(): void {
    if (this.closed) throw new ClosedError(this.lease.label);
    const { file } = this;
    if (file === undefined || file.isSealed) return;
    const size = fileSize(file.fd) ?? 0;
    if (size < file.end) throw new StateError(endsEarly(this.lease.label, size, file.end));
  }
}

/** It refers to the reservation, so that V8 can't free the range before its pages are replaced. */
function releaseOf(
  buffer: SharedArrayBuffer,
  address: number,
  sizeBytes: number,
  file: FileBehind | undefined,
): () => void {
  return () => {
    if (buffer.byteLength > 0) mapTombstoneAt(address, sizeBytes);
    if (file !== undefined) close(file.fd);
  };
}

/** Sizes and alignment for the given options. @throws ArgumentError */
function layout(
  known: readonly string[],
  sizeBytes: number,
  options: { readonly hugePageBytes?: number | undefined; readonly alignBytes?: number | undefined } & {
    readonly transparentHugePages?: boolean | undefined;
  },
): { rounded: number; unit: number; align: number } {
  checkLength("sizeBytes", sizeBytes, MAX_ARENA_BYTES);
  checkKeys("options", options, known);
  const { hugePageBytes = PAGE_SIZE, alignBytes = PAGE_SIZE } = options;
  const unit = checkPowerOfTwo("hugePageBytes", hugePageBytes, PAGE_SIZE, MAX_ARENA_BYTES);
  const asked = checkPowerOfTwo("alignBytes", alignBytes, 1, MAX_ARENA_BYTES);
  const rounded = Math.ceil(sizeBytes / unit) * unit;
  // A transparent huge page needs a range aligned to its size.
  const huge = options.transparentHugePages === true ? (transparentHugePageBytes() ?? PAGE_SIZE) : PAGE_SIZE;
  return { rounded, unit, align: Math.max(unit, asked, rounded >= huge ? huge : PAGE_SIZE) };
}

function anonymousBacking(
  address: number,
  sizeBytes: number,
  unit: number,
  transparent: boolean,
  numaNode: number | undefined,
): MemoryBacking {
  if (unit > PAGE_SIZE) return { kind: "huge", pageBytes: unit, numaNode };
  const huge = transparentHugePageBytes();
  // The rest at the end, smaller than a huge page, can't be in one.
  if (transparent && huge !== undefined && sizeBytes >= huge) {
    const whole = Math.floor(sizeBytes / huge) * huge;
    if (transparentHugeBytes(address, whole) === whole) {
      return { kind: "transparent-huge", pageBytes: huge, numaNode };
    }
  }
  return { kind: "anonymous", pageBytes: PAGE_SIZE, numaNode };
}

function endsEarly(what: string, size: number, end: number): string {
  return `${what}: the file ends at ${size} bytes, before ${end}`;
}

/** Size of a regular file; undefined for a device. */
export function fileSize(fd: number): number | undefined {
  try {
    const stat = fstatSync(fd);
    return stat.isFile() ? stat.size : undefined;
  } catch {
    // A bad descriptor: mmap reports the error.
    return undefined;
  }
}

/** linux/magic.h */
export const TMPFS_MAGIC = 0x0102_1994;
export const HUGETLBFS_MAGIC = 0x9584_58f6;

/** The unit of a file's mappings in bytes: huge pages are mapped whole. */
export function filePageBytes(fd: number): number {
  return fileKind(fd, fileSize(fd) !== undefined).pageBytes;
}

/** The kernel treats files of tmpfs and hugetlbfs like a memfd. */
function fileKind(fd: number, isFile: boolean): { kind: "memfd" | "file" | "device"; pageBytes: number } {
  if (!isFile) return { kind: "device", pageBytes: PAGE_SIZE };
  const { type, bsize } = statfsSync(`/proc/self/fd/${fd}`);
  if (type === HUGETLBFS_MAGIC) return { kind: "memfd", pageBytes: bsize };
  return { kind: type === TMPFS_MAGIC ? "memfd" : "file", pageBytes: PAGE_SIZE };
}

/** What a mapping of part of a file consists of. @throws ArgumentError if the file ends before it, SysError */
function fileLayout(fd: number, offset: number, sizeBytes: number, what: string) {
  checkInteger("fd", fd, -(2 ** 31), 2 ** 31 - 1);
  checkString("what", what);
  checkOffset("offset", offset);
  checkLength("sizeBytes", sizeBytes, MAX_ARENA_BYTES);
  const end = offset + sizeBytes;
  const size = fileSize(fd);
  if (size !== undefined && end > size) throw new ArgumentError(endsEarly(what, size, end));
  const { kind, pageBytes } = fileKind(fd, size !== undefined);
  return { kind, pageBytes, rounded: Math.ceil(sizeBytes / pageBytes) * pageBytes, end };
}
