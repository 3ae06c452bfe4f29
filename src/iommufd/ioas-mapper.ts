import type { Iova, IovaRange } from "../dma/iova.js";
import type { DmaAccess, DmaMapper } from "../dma/mapper.js";
import type { Lease } from "../sys/resource.js";
import type { Ioas } from "./ioas.js";

/** An IOAS as the translator behind a DmaSpace. The kernel chooses addresses, so there is no state here. */
export class IoasMapper implements DmaMapper {
  readonly name = "iommufd";
  readonly lease: Lease;

  constructor(private readonly ioas: Ioas) {
    this.lease = ioas.lease;
  }

  iovaRanges(): IovaRange[] {
    return this.ioas.iovaRanges().ranges;
  }

  alignmentBytes(): number {
    return this.ioas.iovaRanges().alignmentBytes;
  }

  map(address: number, sizeBytes: number, access: DmaAccess, fixed: bigint | undefined): Iova {
    return this.ioas.map({ address, sizeBytes }, { access, iova: fixed });
  }

  unmap(iova: bigint, sizeBytes: number): void {
    this.ioas.unmap(iova, sizeBytes);
  }
}
