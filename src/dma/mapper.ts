import { ArgumentError } from "../core/errors.js";
import type { Lease } from "../core/lifetime/lease.js";
import type { Iova, IovaRange } from "./iova/address.js";
import type { IovaPlacement } from "./iova/allocator.js";
import type { LiveMappings } from "./mapped-index.js";
import type { MemlockAccount } from "./memlock.js";
import type { DmaSegment } from "./segments.js";

/** What a device may do with a mapping. */
export type DmaAccess = "read-write" | "read" | "write";

/** What an unknown word must not turn into: the right to read and write. @throws ArgumentError */
export function checkAccess(access: DmaAccess): DmaAccess {
  if (access !== "read-write" && access !== "read" && access !== "write") {
    throw new ArgumentError(`access must be "read-write", "read" or "write", got ${JSON.stringify(access)}`);
  }
  return access;
}

/**
 * Who translates addresses: one implementation per backend (an IOAS, a type1 container, ...). The only place where
 * they differ; everything above is written once, in {@link DmaSpace}.
 */
export interface DmaMapper {
  /** Lifetime of the kernel object behind it; mappings end before it does. */
  readonly lease: Lease;
  /** Which backend, as users name it. */
  readonly name: string;
  /** What may be mapped now. Attaching a device can narrow it. */
  iovaRanges(): IovaRange[];
  /** Addresses and lengths of mappings are multiples of this. */
  alignmentBytes(): number;
  /**
   * Maps `sizeBytes` of this process's memory at `address`.
   * @param fixed the I/O virtual address to use; undefined lets the backend choose
   * @param placement where the backend may choose; anywhere where left out
   * @returns where it was mapped
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
   * The same for part of a file (a memfd, a dma-buf), where the backend maps files. Virtual addresses of a BAR, for one,
   * can't be mapped there.
   */
  mapFile?(
    fd: number,
    start: number,
    sizeBytes: number,
    access: DmaAccess,
    fixed: bigint | undefined,
    placement?: IovaPlacement,
  ): Iova;
  /** Whether files are all it can map: memory has to be made of them. */
  readonly mapsFilesOnly?: true;
  /** Undoes one map() wholly. @throws SysError */
  unmap(iova: bigint, sizeBytes: number): void;
  /**
   * map() where the backend chooses, and unmap(), with addresses counted in IOVA_PAGEs: what most mappings are, without a
   * bigint. A backend has both or none.
   * @throws as map() and unmap()
   */
  mapPages?(address: number, sizeBytes: number, access: DmaAccess): number;
  unmapPages?(page: number, sizeBytes: number): void;
  /**
   * Where nothing translates: the physically contiguous pieces of what was just mapped from `address` on. Left out, what is
   * contiguous in memory is so for devices.
   */
  physicalSegments?(address: number, iova: bigint, sizeBytes: number): DmaSegment[];
  /** Whose memlock account mappings are charged to; the process's where left out. */
  memlockAccount?(): MemlockAccount;
  /** A DmaSpace tells what it has mapped, for a backend that has to find free addresses itself. @returns undoes that */
  tellLive?(live: LiveMappings): () => void;
  /** A device came to this address space or left it: what may be mapped can have changed. */
  devicesChanged?(): void;
}
