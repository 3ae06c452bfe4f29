import { SysError, UnsupportedError } from "../core/errors.js";
import type { Lease } from "../core/lifetime/lease.js";
import { type Iova, type IovaRange, iovaOfPage, iovaPage } from "../dma/iova/address.js";
import { IovaAllocator, type IovaPlacement } from "../dma/iova/allocator.js";
import { IovaSpaceError } from "../dma/iova/error.js";
import { hugeAlignment, IovaZones } from "../dma/iova/zones.js";
import type { LiveMappings } from "../dma/mapped-index.js";
import type { DmaAccess } from "../dma/mapper.js";
import type { MemlockAccount } from "../dma/memlock.js";
import { PAGE_SIZE } from "../sys/syscalls.js";
import type { JoinableMapper, JoinedDevice } from "../vfio/joinable.js";
import { attachToIoas } from "./attach-device.js";
import type { Ioas } from "./ioas.js";

/** Places that others turned out to have taken, before it is an error. Others share an IOAS only by intent. */
const MAX_FOREIGN = 1000;

/**
 * An IOAS as the translator behind a DmaSpace. The kernel chooses addresses, until some mapping needs a place that the
 * kernel can't be asked for one mapping at a time (below a limit, or aligned): from then on an allocator of ours chooses,
 * and the kernel is told.
 */
export class IoasMapper implements JoinableMapper {
  readonly name = "iommufd";
  readonly lease: Lease;
  /** What was mapped through here. */
  private readonly live = new Set<LiveMappings>();
  private readonly zones = new IovaZones();
  private allocator: IovaAllocator | undefined;

  constructor(
    /** The address space. */
    readonly ioas: Ioas,
  ) {
    this.lease = ioas.lease;
  }

  attach(bdf: string, token: string | undefined): JoinedDevice {
    return attachToIoas(this.ioas, bdf, token, false);
  }

  iovaRanges(): IovaRange[] {
    return this.ioas.iovaRanges().ranges;
  }

  alignmentBytes(): number {
    return this.ioas.iovaRanges().alignmentBytes;
  }

  memlockAccount(): MemlockAccount {
    return this.ioas.iommufd.rlimitMode;
  }

  tellLive(mappings: LiveMappings): () => void {
    const { live } = this;
    live.add(mappings);
    return () => live.delete(mappings);
  }

  /** What may be mapped has changed: what there is to hand out is found anew. */
  devicesChanged(): void {
    this.allocator = undefined;
  }

  map(
    address: number,
    sizeBytes: number,
    access: DmaAccess,
    fixed: bigint | undefined,
    placement?: IovaPlacement,
  ): Iova {
    return this.placed(address, sizeBytes, fixed, placement, (at) =>
      this.ioas.map({ address, sizeBytes }, { access, iova: at }),
    );
  }

  mapPages(address: number, sizeBytes: number, access: DmaAccess): number {
    // Once addresses are ours to choose, all are.
    if (this.allocator !== undefined || this.zones.matter(undefined)) {
      return iovaPage(this.map(address, sizeBytes, access, undefined));
    }
    try {
      return this.ioas.mapPages(address, sizeBytes, access);
    } catch (error) {
      throw this.explain(error, sizeBytes, undefined);
    }
  }

  unmapPages(page: number, sizeBytes: number): void {
    if (this.allocator === undefined) this.ioas.unmapPages(page, sizeBytes);
    else this.unmap(iovaOfPage(page), sizeBytes);
  }

  mapFile(
    fd: number,
    start: number,
    sizeBytes: number,
    access: DmaAccess,
    fixed: bigint | undefined,
    placement?: IovaPlacement,
  ): Iova {
    return this.placed(start, sizeBytes, fixed, placement, (at) => {
      try {
        return this.ioas.mapFile(fd, start, sizeBytes, { access, iova: at });
      } catch (error) {
        if (!(error instanceof SysError) || error.code !== "EOPNOTSUPP") throw error;
        throw new UnsupportedError(
          "iommufd maps memfds and dma-bufs that vfio-pci exported in one range, and no others: of a udmabuf map the memfd",
          { cause: error },
        );
      }
    });
  }

  unmap(at: bigint, sizeBytes: number): void {
    try {
      this.ioas.unmap(at, sizeBytes);
    } catch (error) {
      // Somebody unmapped it through the IOAS itself: it is free all the same.
      if (error instanceof SysError && error.code === "ENOENT") this.allocator?.release(at, sizeBytes);
      throw error;
    }
    this.allocator?.release(at, sizeBytes);
  }

  private placed(
    origin: number,
    sizeBytes: number,
    fixed: bigint | undefined,
    placement: IovaPlacement | undefined,
    map: (at: bigint | undefined) => Iova,
  ): Iova {
    if (fixed === undefined && this.zones.matter(placement)) {
      return this.choose(sizeBytes, placement, hugeAlignment(origin, sizeBytes), map);
    }
    let at: Iova;
    try {
      at = map(fixed);
    } catch (error) {
      throw this.explain(error, sizeBytes, fixed);
    }
    this.allocator?.reserve(at, sizeBytes);
    return at;
  }

  private choose(
    sizeBytes: number,
    placement: IovaPlacement | undefined,
    alignBytes: number,
    map: (at: bigint | undefined) => Iova,
  ): Iova {
    let fresh = this.allocator === undefined;
    for (let foreign = 0; ; ) {
      this.allocator ??= this.findFree();
      let at: Iova;
      try {
        at = this.zones.alloc(this.allocator, sizeBytes, placement, alignBytes);
      } catch (error) {
        // What others had may be free again.
        if (!(error instanceof IovaSpaceError) || fresh) throw error;
        this.allocator = undefined;
        fresh = true;
        continue;
      }
      try {
        map(at);
        return at;
      } catch (error) {
        const code = error instanceof SysError ? error.code : undefined;
        // Somebody mapped there through the IOAS itself: stays taken here, and another place is tried.
        if (code === "EEXIST" && ++foreign < MAX_FOREIGN) continue;
        this.allocator.release(at, sizeBytes);
        // A device was attached meanwhile, and left less.
        if (code === "EINVAL" && !fresh) {
          this.allocator = undefined;
          fresh = true;
          continue;
        }
        throw this.explain(error, sizeBytes, at);
      }
    }
  }

  private findFree(): IovaAllocator {
    const { ranges, alignmentBytes } = this.ioas.iovaRanges();
    const allocator = new IovaAllocator(ranges, Math.max(alignmentBytes, PAGE_SIZE));
    for (const mappings of this.live) {
      for (const { page, mappedBytes } of mappings.records())
        allocator.reserve(iovaOfPage(page), mappedBytes);
    }
    return allocator;
  }

  /** The kernel's errno for an address that can't be had, as every backend says it. */
  private explain(error: unknown, sizeBytes: number, fixed: bigint | undefined): unknown {
    if (!(error instanceof SysError)) return error;
    const options = { cause: error };
    if (error.code === "ENOSPC") {
      return new IovaSpaceError("full", `no free I/O virtual addresses for ${sizeBytes} bytes`, options);
    }
    if (fixed === undefined) return error;
    const last = fixed + BigInt(sizeBytes) - 1n;
    const where = `iova 0x${fixed.toString(16)}..0x${last.toString(16)}`;
    if (error.code === "EEXIST") return new IovaSpaceError("taken", `${where} is mapped already`, options);
    const inside = this.iovaRanges().some((range) => range.start <= fixed && last <= range.last);
    if (error.code === "EOVERFLOW" || (error.code === "EINVAL" && !inside)) {
      const message = `${where} is reserved or beyond what this IOMMU translates`;
      return new IovaSpaceError("reserved", message, options);
    }
    return error;
  }
}
