/**
 * Memory outside V8's heap, in address ranges that V8 owns.
 *
 * A shared WebAssembly.Memory reserves the range; pages, huge pages, files and BARs are mapped over parts of it.
 * So a view is an ordinary typed array over a SharedArrayBuffer; the range can't be given to anything else while
 * any view of it lives; and closing replaces the pages by anonymous ones, after which a stale view reads zeros
 * and reaches nothing. A bare external ArrayBuffer would fault instead.
 */
import { fstatSync } from "node:fs";
import { checkLength, checkOffset, checkPowerOfTwo, checkRange } from "./check.js";
import { registerArena } from "./copy.js";
import { ArgumentError, ClosedError, UnsupportedError } from "./errors.js";
import { addressOf } from "./libc.js";
import {
  type AnonymousOptions,
  adviseDontFork,
  adviseHugePages,
  discardPages,
  lockPages,
  mapAnonymousAt,
  mapFileAt,
  mapTombstoneAt,
} from "./mmap.js";
import { Lease, Resource } from "./resource.js";
import { PAGE_SIZE } from "./syscalls.js";

const WASM_PAGE = 65536;
/** WebAssembly's 32-bit memories end here, and with them one mapping. */
const MAX_ARENA_BYTES = 65536 * WASM_PAGE;
/** V8 reserves 8 to 10 GiB of address space per memory whatever its size, so ranges share one. */
const ARENA_BYTES = 1024 * 1024 * 1024;

/** The part of lib.dom's WebAssembly.Memory used here; @types/node leaves it out. */
interface SharedMemory {
  readonly buffer: SharedArrayBuffer;
}
declare const WebAssembly: {
  Memory: new (descriptor: { initial: number; maximum: number; shared: true }) => SharedMemory;
};

/** Below this, writing zeros is quicker than a system call and the page faults after it. */
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
    registerArena(memory, this.address);
  }

  /** Offset of `sizeBytes` aligned by address, or undefined where they don't fit any more. */
  take(sizeBytes: number, alignBytes: number): number | undefined {
    const start = Math.ceil((this.address + this.next) / alignBytes) * alignBytes - this.address;
    if (start + sizeBytes > this.sizeBytes) return undefined;
    this.next = start + sizeBytes;
    return start;
  }
}

/**
 * Ranges are never handed out twice: a stale view must not see its successor. A used-up arena is let go, and V8
 * frees it when the last view and the last owner are gone.
 */
let current: Arena | undefined;

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
export interface MemoryOptions extends AnonymousOptions {
  /** Address alignment in bytes, a power of two; at least a page. */
  readonly alignBytes?: number | undefined;
  /** Ask for transparent huge pages. */
  readonly transparentHugePages?: boolean | undefined;
  /** mlock the pages. */
  readonly lock?: boolean | undefined;
}

/** A mapped range: its views, and the address the kernel is told. */
export class MappedMemory extends Resource {
  /** Whole pages, hence maybe more than was asked for. */
  readonly sizeBytes: number;
  /** Virtual address of the first byte. */
  readonly address: number;
  /** Memory of the whole arena, for views in workers: this range starts at `bytes.byteOffset` in it. */
  readonly buffer: SharedArrayBuffer;
  private readonly allBytes: Uint8Array<SharedArrayBuffer>;
  private readonly allWords: Uint32Array<SharedArrayBuffer>;

  private constructor(
    what: string,
    sizeBytes: number,
    alignBytes: number,
    private readonly isAnonymous: boolean,
    map: (address: number) => void,
  ) {
    const { arena, offset } = takeRange(sizeBytes, alignBytes);
    const address = arena.address + offset;
    map(address);
    const { buffer } = arena;
    // Holding the buffer in the release keeps V8 from freeing the range before its pages were replaced.
    super(
      new Lease(what, () => {
        if (buffer.byteLength > 0) mapTombstoneAt(address, sizeBytes);
      }),
    );
    this.sizeBytes = sizeBytes;
    this.address = address;
    this.buffer = buffer;
    this.allBytes = new Uint8Array(buffer, offset, sizeBytes);
    this.allWords = new Uint32Array(buffer, offset, sizeBytes / 4);
  }

  /**
   * Zeroed anonymous memory, rounded up to whole (huge) pages. Not inherited by fork: a child's copy-on-write
   * would otherwise move the page under the device.
   * @throws ArgumentError, SysError
   */
  static anonymous(sizeBytes: number, options: MemoryOptions = {}): MappedMemory {
    checkLength("sizeBytes", sizeBytes, MAX_ARENA_BYTES);
    const { hugePageBytes = PAGE_SIZE, alignBytes = PAGE_SIZE } = options;
    const unit = checkPowerOfTwo("hugePageBytes", hugePageBytes, PAGE_SIZE, MAX_ARENA_BYTES);
    const align = checkPowerOfTwo("alignBytes", alignBytes, 1, MAX_ARENA_BYTES);
    const rounded = Math.ceil(sizeBytes / unit) * unit;
    return new MappedMemory(
      `${rounded} bytes of memory`,
      rounded,
      Math.max(unit, align),
      unit === PAGE_SIZE,
      (address) => {
        try {
          mapAnonymousAt(address, rounded, {
            ...options,
            hugePageBytes: unit > PAGE_SIZE ? unit : undefined,
          });
          if (options.transparentHugePages === true) adviseHugePages(address, rounded);
          adviseDontFork(address, rounded);
          if (options.lock === true) lockPages(address, rounded);
        } catch (error) {
          mapTombstoneAt(address, rounded);
          throw error;
        }
      },
    );
  }

  /**
   * A shared mapping of `fd` (memfd, file, VFIO region). The descriptor may be closed afterwards. A file that is cut
   * short later takes the process down when its lost part is touched: seal a memfd against that.
   * @param offset page aligned
   * @throws ArgumentError (beyond the end of a file: touching that would be fatal), SysError
   */
  static ofFile(fd: number, offset: number, sizeBytes: number, what: string): MappedMemory {
    checkOffset("offset", offset);
    checkLength("sizeBytes", sizeBytes, MAX_ARENA_BYTES);
    const rounded = Math.ceil(sizeBytes / PAGE_SIZE) * PAGE_SIZE;
    checkWithinFile(fd, offset + sizeBytes, what);
    return new MappedMemory(what, rounded, PAGE_SIZE, false, (address) =>
      mapFileAt(address, rounded, fd, offset, what),
    );
  }

  /**
   * Sets a part to zeros. Of anonymous memory whole pages go back to the system instead of being written.
   * @throws ArgumentError, ClosedError
   */
  clear(offset: number, length: number): void {
    checkRange(this.lease.label, offset, length, this.sizeBytes);
    const { bytes } = this;
    const first = Math.ceil(offset / PAGE_SIZE) * PAGE_SIZE;
    const last = Math.floor((offset + length) / PAGE_SIZE) * PAGE_SIZE;
    if (!this.isAnonymous || last - first < DISCARD_BYTES) {
      bytes.fill(0, offset, offset + length);
      return;
    }
    bytes.fill(0, offset, first);
    if (!discardPages(this.address + first, last - first)) bytes.fill(0, first, last);
    bytes.fill(0, last, offset + length);
  }

  /** The whole range. @throws ClosedError */
  get bytes(): Uint8Array<SharedArrayBuffer> {
    if (this.closed) throw new ClosedError(this.lease.label);
    return this.allBytes;
  }

  /** The whole range as 32-bit little-endian words. @throws ClosedError */
  get words(): Uint32Array<SharedArrayBuffer> {
    if (this.closed) throw new ClosedError(this.lease.label);
    return this.allWords;
  }
}

/** Devices have no size here; of a file every page up to its end may be touched. */
function checkWithinFile(fd: number, end: number, what: string): void {
  let size: number;
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) return;
    size = stat.size;
  } catch {
    // Not a descriptor at all: mmap names the error.
    return;
  }
  if (end > size) throw new ArgumentError(`${what}: the file ends at ${size} bytes, before ${end}`);
}
