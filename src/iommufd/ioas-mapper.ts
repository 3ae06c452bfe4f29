/** Maps memory into an iommufd address space (IOAS). */
import { SysError, UnsupportedError } from "../core/errors.js";
import type { Lease } from "../core/lifetime/lease.js";
import type { DmaAccess } from "../dma/access.js";
import {
  AddressChooser,
  type MapAttempt,
  type MappableAddresses,
  takenError,
} from "../dma/address-chooser.js";
import { hostReservedRanges } from "../dma/host-reserved.js";
import { type Iova, type IovaRange, iova, iovaOfPage, pageOfIova } from "../dma/iova/address.js";
import type { IovaPlacement } from "../dma/iova/allocator.js";
import { IovaSpaceError } from "../dma/iova/error.js";
import { withoutRanges } from "../dma/iova/range-sets.js";
import type { DmaMapperExtensions, FileMapper, PageMapper } from "../dma/mapper.js";
import type { JoinableMapper, JoinedDevice } from "../vfio/joinable.js";
import { attachGivenToIoas, attachToIoas } from "./attach-device.js";
import type { Ioas } from "./ioas.js";

/** Mappings that the kernel places, after another user of the IOAS has taken the addresses that the chooser wanted. */
const KERNEL_TURNS = 4096;
const ALL = 0xffff_ffff_ffff_ffffn;

/**
 * The mapper of a DmaSpace on iommufd. It chooses addresses itself (IOMMU_IOAS_MAP_FIXED_IOVA): the kernel looks for free ones
 * from the first mapping on, so that its time grows with their number. The kernel chooses where another user of the same IOAS
 * has mapped what this process believes to be free.
 */
export class IoasMapper implements JoinableMapper, PageMapper, FileMapper {
  readonly name = "iommufd";
  readonly mapsFilesOnly = false;
  readonly extensions: DmaMapperExtensions;
  private readonly chooser: AddressChooser;
  /** Mappings left that the kernel places. */
  private kernelTurns = 0;
  /** What the chooser's knowledge was made with. */
  private allowed: readonly IovaRange[];

  constructor(
    /** The address space. */
    readonly ioas: Ioas,
    /** The lifetime of the mapper: the address space's, unless a DmaSpace owns that. */
    readonly lease: Lease = ioas.lease,
  ) {
    this.allowed = ioas.allowedIovas;
    this.chooser = new AddressChooser(() => mappableAddresses(ioas), true);
    this.extensions = {
      chooser: this.chooser,
      pages: this,
      files: this,
      memlockAccount: () => ioas.iommufd.rlimitMode,
    };
  }

  attach(bdf: string, token: string | undefined): JoinedDevice {
    return attachToIoas(this.ioas, bdf, token, false);
  }

  /** @internal */
  attachGiven(bdf: string, token: string | undefined, fd: number): JoinedDevice {
    return attachGivenToIoas(this.ioas, bdf, token, fd);
  }

  iovaRanges(): IovaRange[] {
    return this.ioas.iovaRanges().ranges;
  }

  alignmentBytes(): number {
    return this.ioas.iovaRanges().alignmentBytes;
  }

  map(
    address: number,
    sizeBytes: number,
    access: DmaAccess,
    fixed: bigint | undefined,
    placement?: IovaPlacement,
  ): Iova {
    return iovaOfPage(this.place(this.mapAt, this.mapAnywhere, address, sizeBytes, access, fixed, placement));
  }

  mapPages(address: number, sizeBytes: number, access: DmaAccess): number {
    return this.place(this.mapAt, this.mapAnywhere, address, sizeBytes, access, undefined, undefined);
  }

  mapFile(
    fd: number,
    start: number,
    sizeBytes: number,
    access: DmaAccess,
    fixed: bigint | undefined,
    placement?: IovaPlacement,
  ): Iova {
    const mapAt: MapAttempt = (iovaPage) => {
      this.ioas.mapFile(fd, start, sizeBytes, { access, iova: iovaOfPage(iovaPage) });
    };
    const mapAnywhere = (): number => pageOfIova(this.ioas.mapFile(fd, start, sizeBytes, { access }));
    try {
      return iovaOfPage(this.place(mapAt, mapAnywhere, start, sizeBytes, access, fixed, placement));
    } catch (error) {
      if (!(error instanceof SysError) || error.code !== "EOPNOTSUPP") throw error;
      throw new UnsupportedError(
        "iommufd maps only memfds, and dma-bufs that vfio-pci exported in one range: map a udmabuf's memfd instead",
        { cause: error },
      );
    }
  }

  unmap(at: bigint, sizeBytes: number): void {
    this.chooser.assertNoBuffer(at, sizeBytes);
    try {
      this.ioas.unmap(at, sizeBytes);
    } catch (error) {
      this.releaseForgotten(error, pageOfIova(at), sizeBytes);
      throw error;
    }
    this.chooser.release(pageOfIova(at), sizeBytes);
  }

  unmapPages(iovaPage: number, sizeBytes: number): void {
    try {
      this.ioas.unmapPages(iovaPage, sizeBytes);
    } catch (error) {
      this.releaseForgotten(error, iovaPage, sizeBytes);
      throw error;
    }
    this.chooser.release(iovaPage, sizeBytes);
  }

  private readonly mapAt: MapAttempt = (iovaPage, address, sizeBytes, access) => {
    this.ioas.mapPagesAt(iovaPage, address, sizeBytes, access);
  };

  private readonly mapAnywhere = (address: number, sizeBytes: number, access: DmaAccess): number =>
    this.ioas.mapPages(address, sizeBytes, access);

  /** @returns the address in IOVA_PAGEs */
  private place(
    mapAt: MapAttempt,
    mapAnywhere: (origin: number, sizeBytes: number, access: DmaAccess) => number,
    origin: number,
    sizeBytes: number,
    access: DmaAccess,
    fixed: bigint | undefined,
    placement: IovaPlacement | undefined,
  ): number {
    const { ioas, chooser } = this;
    if (this.allowed !== ioas.allowedIovas) {
      this.allowed = ioas.allowedIovas;
      chooser.reset();
    }
    const isPlain = fixed === undefined && placement === undefined;
    let turns = this.kernelTurns;
    if (!isPlain || turns === 0) {
      try {
        return chooser.map(mapAt, origin, sizeBytes, access, fixed, placement);
      } catch (error) {
        if (!isPlain || !isAboutAddress(error)) throw this.explain(error, sizeBytes, fixed);
        turns = KERNEL_TURNS;
      }
    }
    try {
      const iovaPage = mapAnywhere(origin, sizeBytes, access);
      // The chooser would take the address for a free one.
      chooser.reset();
      this.kernelTurns = turns - 1;
      return iovaPage;
    } catch (error) {
      throw this.explain(error, sizeBytes, undefined);
    }
  }

  /** ENOENT: the program has unmapped the range through the IOAS itself, so its address is free. */
  private releaseForgotten(error: unknown, iovaPage: number, sizeBytes: number): void {
    if (error instanceof SysError && error.code === "ENOENT")
      this.chooser.releaseUnknown(iovaPage, sizeBytes);
  }

  /** Converts the kernel's errno about an address to the error that every backend throws. */
  private explain(error: unknown, sizeBytes: number, fixed: bigint | undefined): unknown {
    if (!(error instanceof SysError)) return error;
    const options = { cause: error };
    if (error.code === "ENOSPC") {
      return new IovaSpaceError("full", `no free I/O virtual addresses for ${sizeBytes} bytes`, options);
    }
    if (fixed === undefined) return error;
    if (error.code === "EEXIST") return takenError(iova(fixed), sizeBytes, error);
    const last = fixed + BigInt(sizeBytes) - 1n;
    const inside = this.iovaRanges().some((range) => range.start <= fixed && last <= range.last);
    if (error.code === "EOVERFLOW" || (error.code === "EINVAL" && !inside)) {
      const where = `iova 0x${fixed.toString(16)}..0x${last.toString(16)}`;
      const message = `${where} is reserved, or this IOMMU can't translate it`;
      return new IovaSpaceError("reserved", message, options);
    }
    return error;
  }
}

/** What the IOAS can map, and what of it no mapping gets by itself. */
function mappableAddresses(ioas: Ioas): MappableAddresses {
  const { ranges, alignmentBytes } = ioas.iovaRanges();
  const [first] = ranges;
  // Without a device everything is mappable, also what the first device will reserve.
  const isEmpty = ranges.length === 1 && first?.start === 0n && first.last === ALL;
  const reserved = isEmpty ? hostReservedRanges() : [];
  const allowed = ioas.allowedIovas;
  const forbidden = allowed.length === 0 ? [] : withoutRanges(ranges, allowed);
  return { ranges, alignmentBytes, avoid: [...reserved, ...forbidden] };
}

/** Whether a mapping failed because of the chosen address: another user has mapped there, or attached a device. */
function isAboutAddress(error: unknown): boolean {
  return error instanceof IovaSpaceError || (error instanceof SysError && error.code === "EINVAL");
}
