/** Maps memory for devices without an IOMMU, by character device. */
import type { Lease } from "../core/lifetime/lease.js";
import type { DmaAccess } from "../dma/access.js";
import { HugePageParts } from "../dma/huge-page-parts.js";
import { type Iova, type IovaRange, iova } from "../dma/iova/address.js";
import type { IovaPlacement } from "../dma/iova/allocator.js";
import type { DmaMapperExtensions } from "../dma/mapper.js";
import {
  ALL_ADDRESSES,
  checkPlacement,
  PhysicalMappings,
  type Pinned,
  refuseFixed,
} from "../dma/physical.js";
import type { DmaSegment } from "../dma/segments.js";
import { PAGE_SIZE } from "../sys/syscalls.js";
import type { JoinableMapper, JoinedDevice } from "../vfio/joinable.js";
import { attachToIoas } from "./attach-device.js";
import type { Ioas } from "./ioas.js";

/**
 * Devices without an IOMMU, by character device. The IOAS pins memory and returns its physical addresses
 * (IOMMU_IOAS_NOIOMMU_GET_PA). Devices use these addresses, and nothing restricts their access.
 */
export class NoiommuIoasMapper implements JoinableMapper {
  readonly name = "noiommu";
  readonly lease: Lease;
  readonly extensions: DmaMapperExtensions;
  private readonly mappings = new PhysicalMappings();

  constructor(
    /** The address space. */
    readonly ioas: Ioas,
  ) {
    this.lease = ioas.lease;
    this.extensions = {
      buffers: new HugePageParts((...range) => this.pin(...range), this.mappings),
      physicalSegments: (_address, at) => [...this.mappings.get(at).segments],
      memlockAccount: () => ioas.iommufd.rlimitMode,
    };
  }

  attach(bdf: string, token: string | undefined): JoinedDevice {
    return attachToIoas(this.ioas, bdf, token, true);
  }

  iovaRanges(): IovaRange[] {
    return ALL_ADDRESSES;
  }

  alignmentBytes(): number {
    return PAGE_SIZE;
  }

  map(
    address: number,
    sizeBytes: number,
    access: DmaAccess,
    fixed: bigint | undefined,
    placement?: IovaPlacement,
  ): Iova {
    refuseFixed(fixed);
    const pinned = this.pin(address, sizeBytes, access);
    try {
      checkPlacement(pinned.segments, placement);
      return this.mappings.add(pinned);
    } catch (error) {
      pinned.release();
      throw error;
    }
  }

  unmap(at: bigint): void {
    this.mappings.release(at);
  }

  /** @throws SysError, UnsupportedError; with nothing pinned */
  private pin(address: number, sizeBytes: number, access: DmaAccess): Pinned {
    const { ioas } = this;
    const at = ioas.map({ address, sizeBytes }, { access });
    try {
      const segments: DmaSegment[] = [];
      for (let done = 0; done < sizeBytes; ) {
        const found = ioas.noiommuPhysicalAddress(at + BigInt(done), sizeBytes - done);
        segments.push({ iova: iova(found.physicalAddress), sizeBytes: found.sizeBytes });
        done += found.sizeBytes;
      }
      return { segments, release: () => ioas.unmap(at, sizeBytes) };
    } catch (error) {
      ioas.unmap(at, sizeBytes);
      throw error;
    }
  }
}
