/** Maps memory into an iommufd address space (IOAS). */
import { SysError, UnsupportedError } from "../core/errors.js";
import type { Lease } from "../core/lifetime/lease.js";
import type { DmaAccess } from "../dma/access.js";
import { AddressChooser, takenError } from "../dma/address-chooser.js";
import { type Iova, type IovaRange, iova, iovaOfPage, pageOfIova } from "../dma/iova/address.js";
import type { IovaPlacement } from "../dma/iova/allocator.js";
import { IovaSpaceError } from "../dma/iova/error.js";
import type { DmaMapperExtensions, FileMapper, PageMapper } from "../dma/mapper.js";
import type { JoinableMapper, JoinedDevice } from "../vfio/joinable.js";
import { attachToIoas } from "./attach-device.js";
import type { Ioas } from "./ioas.js";

/**
 * The mapper of a DmaSpace on iommufd. At first the kernel chooses addresses (IOMMU_IOAS_MAP without
 * IOMMU_IOAS_MAP_FIXED_IOVA). It knows no limits or alignments, so after the first mapping that needs them an AddressChooser
 * chooses.
 */
export class IoasMapper implements JoinableMapper, PageMapper, FileMapper {
  readonly name = "iommufd";
  readonly mapsFilesOnly = false;
  readonly extensions: DmaMapperExtensions;
  private readonly chooser: AddressChooser;

  constructor(
    /** The address space. */
    readonly ioas: Ioas,
    /** The lifetime of the mapper: the address space's, unless a DmaSpace owns that. */
    readonly lease: Lease = ioas.lease,
  ) {
    this.chooser = new AddressChooser(() => ioas.iovaRanges());
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
    try {
      if (!this.chooser.isNeeded(fixed, placement)) {
        return this.ioas.map({ address, sizeBytes }, { access, iova: fixed });
      }
      return iovaOfPage(this.chooser.map(this.mapAt, address, sizeBytes, access, fixed, placement));
    } catch (error) {
      throw this.explain(error, sizeBytes, fixed);
    }
  }

  mapPages(address: number, sizeBytes: number, access: DmaAccess): number {
    try {
      return this.chooser.isNeeded(undefined, undefined)
        ? this.chooser.map(this.mapAt, address, sizeBytes, access, undefined, undefined)
        : this.ioas.mapPages(address, sizeBytes, access);
    } catch (error) {
      throw this.explain(error, sizeBytes, undefined);
    }
  }

  mapFile(
    fd: number,
    start: number,
    sizeBytes: number,
    access: DmaAccess,
    fixed: bigint | undefined,
    placement?: IovaPlacement,
  ): Iova {
    try {
      if (!this.chooser.isNeeded(fixed, placement)) {
        return this.ioas.mapFile(fd, start, sizeBytes, { access, iova: fixed });
      }
      const mapAt = (iovaPage: number): void => {
        this.ioas.mapFile(fd, start, sizeBytes, { access, iova: iovaOfPage(iovaPage) });
      };
      return iovaOfPage(this.chooser.map(mapAt, start, sizeBytes, access, fixed, placement));
    } catch (error) {
      if (!(error instanceof SysError) || error.code !== "EOPNOTSUPP") {
        throw this.explain(error, sizeBytes, fixed);
      }
      throw new UnsupportedError(
        "iommufd maps only memfds, and dma-bufs that vfio-pci exported in one range: map a udmabuf's memfd instead",
        { cause: error },
      );
    }
  }

  unmap(at: bigint, sizeBytes: number): void {
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

  private readonly mapAt = (
    iovaPage: number,
    address: number,
    sizeBytes: number,
    access: DmaAccess,
  ): void => {
    this.ioas.map({ address, sizeBytes }, { access, iova: iovaOfPage(iovaPage) });
  };

  /** ENOENT: the program has unmapped the range through the IOAS itself, so its address is free. */
  private releaseForgotten(error: unknown, iovaPage: number, sizeBytes: number): void {
    if (error instanceof SysError && error.code === "ENOENT") this.chooser.release(iovaPage, sizeBytes);
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
