/** The interface between an address space and the backend that translates its addresses. */
import { checkFunction, checkMembers, checkObject } from "../core/check.js";
import type { Lease } from "../core/lifetime/lease.js";
import type { MappedMemory } from "../sys/memory.js";
import type { DmaAccess } from "./access.js";
import type { AddressChooser } from "./address-chooser.js";
import type { Iova, IovaRange } from "./iova/address.js";
import type { IovaPlacement } from "./iova/allocator.js";
import type { MemlockAccount } from "./memlock.js";
import type { DmaSegment } from "./segments.js";

/** Maps memory for devices. Each backend (an IOAS, a type1 container, ...) implements it; {@link DmaSpace} uses it. */
export interface DmaMapper {
  /** Lifetime of the kernel object; mappings end before it does. */
  readonly lease: Lease;
  /** The backend's name for users. */
  readonly name: string;
  /** Ranges that can be mapped now. Attaching a device can reduce them. */
  iovaRanges(): IovaRange[];
  /** Addresses and lengths of mappings are multiples of this. */
  alignmentBytes(): number;
  /**
   * Maps `sizeBytes` of this process's memory at `address`.
   * @param fixed the I/O virtual address to use; undefined lets the backend choose
   * @param placement limits of the backend's choice; none by default
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
  /**
   * Unmaps the whole range of one map().
   * @throws SysError (ENOENT: nothing is mapped there), StateError if a DMA buffer is: its close() unmaps it
   */
  unmap(iova: bigint, sizeBytes: number): void;
  /** What the backend can do besides, or needs. */
  readonly extensions?: DmaMapperExtensions;
}

/** Abilities and needs of some backends. Each member says what its absence means. */
export interface DmaMapperExtensions {
  /**
   * Chooses the backend's addresses. A DmaSpace reports its mappings to it, and attaching a device resets it. Without it
   * the backend chooses.
   */
  readonly chooser?: AddressChooser;
  /** Maps and unmaps without bigints. Without it a DmaSpace uses map() and unmap(). */
  readonly pages?: PageMapper;
  /** Maps parts of files. Without it a DmaSpace maps memory by its virtual address, and can't map dma-bufs. */
  readonly files?: FileMapper;
  /** Has mapped memory for buffers. Without it a DmaSpace allocates and maps each buffer separately. */
  readonly buffers?: BufferMemory;
  /**
   * For a backend that doesn't translate: the physically contiguous parts of the memory just mapped from `address` on.
   * Without it, memory that is contiguous for the process is contiguous for devices.
   */
  physicalSegments?(address: number, iova: bigint, sizeBytes: number): DmaSegment[];
  /** The memlock account that the kernel charges. Without it: the process's. */
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
  /** Whether the backend can map only files, so that a DmaSpace must allocate memfds. */
  readonly mapsFilesOnly: boolean;
  /** DmaMapper.map() for [start, start + sizeBytes) of a file. The caller may close `fd` afterwards. */
  mapFile(
    fd: number,
    start: number,
    sizeBytes: number,
    access: DmaAccess,
    fixed: bigint | undefined,
    placement?: IovaPlacement,
  ): Iova;
}

/** Memory and its I/O virtual address. */
export interface MappedBytes {
  /** The memory. No other buffer uses any part of it. */
  readonly memory: MappedMemory;
  /** The I/O virtual address of its first byte. */
  readonly iova: Iova;
}

/** Memory for buffers of a backend with few mappings: several buffers share one. */
export interface BufferMemory {
  /**
   * Zeroed memory, rounded up to whole pages. The caller frees the address by DmaMapper.unmap(), and then closes the memory.
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

/** Checks the extensions of a mapper of somebody's own, as far as types can be seen. @throws ArgumentError */
export function checkExtensions(extensions: DmaMapperExtensions | undefined): void {
  if (extensions === undefined) return;
  checkObject("mapper.extensions", extensions);
  const { chooser, pages, files, buffers, physicalSegments, memlockAccount } = extensions;
  const checked = (name: string, value: unknown, what: string, ...methods: string[]): void => {
    if (value === undefined) return;
    const members = Object.fromEntries(methods.map((method) => [method, "function" as const]));
    checkMembers(`mapper.extensions.${name}`, value, what, members);
  };
  checked("chooser", chooser, "an AddressChooser", "track", "map", "release", "reset");
  checked("pages", pages, "a PageMapper", "mapPages", "unmapPages");
  checked("files", files, "a FileMapper", "mapFile");
  checked("buffers", buffers, "a BufferMemory", "take");
  if (physicalSegments !== undefined) checkFunction("mapper.extensions.physicalSegments", physicalSegments);
  if (memlockAccount !== undefined) checkFunction("mapper.extensions.memlockAccount", memlockAccount);
}
