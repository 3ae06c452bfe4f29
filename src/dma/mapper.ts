/** The interface between an address space and the backend that translates its addresses. */
import type { Lease } from "../core/lifetime/lease.js";
import type { MappedMemory } from "../sys/memory.js";
import type { DmaAccess } from "./access.js";
import type { AddressChooser } from "./address-chooser.js";
import type { Iova, IovaRange } from "./iova/address.js";
import type { IovaPlacement } from "./iova/allocator.js";
import type { MemlockAccount } from "./memlock.js";
import type { DmaSegment } from "./segments.js";

/**
 * Maps memory for devices. There is one implementation for each backend (an IOAS, a type1 container, ...), and backends
 * differ in nothing else: {@link DmaSpace} is written once, on top of this.
 */
export interface DmaMapper {
  /** Lifetime of the kernel object behind it; mappings end before it does. */
  readonly lease: Lease;
  /** The backend's name for users. */
  readonly name: string;
  /** What may be mapped now. Attaching a device can narrow it. */
  iovaRanges(): IovaRange[];
  /** Addresses and lengths of mappings are multiples of this. */
  alignmentBytes(): number;
  /**
   * Maps `sizeBytes` of this process's memory at `address`.
   * @param fixed the I/O virtual address to use; undefined lets the backend choose
   * @param placement where the backend may choose; anywhere by default
   * @returns the address
   * @throws SysError, IovaSpaceError with nothing mapped
   */
  map(
    address: number,
    sizeBytes: number,
    access: DmaAccess,
    fixed: bigint | undefined,
    placement?: IovaPlacement,
  ): Iova;
  /** Undoes one map() as a whole. @throws SysError */
  unmap(iova: bigint, sizeBytes: number): void;
  /** How the backend differs from one that translates addresses, maps by virtual address, and chooses without help. */
  readonly extensions?: DmaMapperExtensions;
}

/** What some backends can do or need. Each member says what its absence means. */
export interface DmaMapperExtensions {
  /**
   * Chooses the backend's addresses. A DmaSpace tells it about its mappings, and what attaches devices resets it. Without it
   * the backend tracks the free addresses.
   */
  readonly chooser?: AddressChooser;
  /** Maps and unmaps without making a bigint. Without it every mapping goes through map() and unmap(). */
  readonly pages?: PageMapper;
  /** Maps parts of files. Without it memory is mapped by its virtual address, and a dma-buf can't be mapped. */
  readonly files?: FileMapper;
  /** Has memory for buffers that is mapped already. Without it each buffer is allocated and mapped by itself. */
  readonly buffers?: BufferMemory;
  /**
   * Of a backend that doesn't translate: the physically contiguous parts of what was just mapped from `address` on. Without
   * it, memory that is contiguous for the process is contiguous for devices.
   */
  physicalSegments?(address: number, iova: bigint, sizeBytes: number): DmaSegment[];
  /** Whose memlock account the kernel charges. The process's without it. */
  memlockAccount?(): MemlockAccount;
}

/** The plain case of map() and unmap(): the backend chooses, and addresses are counted in IOVA_PAGEs. */
export interface PageMapper {
  /** @throws as DmaMapper.map() */
  mapPages(address: number, sizeBytes: number, access: DmaAccess): number;
  /** @throws as DmaMapper.unmap() */
  unmapPages(iovaPage: number, sizeBytes: number): void;
}

/** Maps memory by the file behind it: a memfd or a dma-buf. */
export interface FileMapper {
  /** Whether the backend maps nothing but files, so that a DmaSpace has to allocate memfds. */
  readonly mapsFilesOnly: boolean;
  /** DmaMapper.map() of [start, start + sizeBytes) of a file. The caller may close `fd` afterwards. */
  mapFile(
    fd: number,
    start: number,
    sizeBytes: number,
    access: DmaAccess,
    fixed: bigint | undefined,
    placement?: IovaPlacement,
  ): Iova;
}

/** Memory, with its I/O virtual address. */
export interface MappedBytes {
  /** The memory, of which no other buffer uses any part. */
  readonly memory: MappedMemory;
  /** The I/O virtual address of its first byte. */
  readonly iova: Iova;
}

/** Memory for buffers, of a backend that has few mappings: several buffers share one. */
export interface BufferMemory {
  /**
   * Zeroed memory, rounded up to whole pages. DmaMapper.unmap() gives the address back; the caller closes the memory afterwards.
   * @returns undefined if such a buffer needs a mapping of its own
   * @throws as DmaMapper.map()
   */
  take(
    sizeBytes: number,
    access: DmaAccess,
    fixed: bigint | undefined,
    placement: IovaPlacement,
  ): MappedBytes | undefined;
}
