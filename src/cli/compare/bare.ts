/** The bare ioctls with prepared requests: what mapping costs without the library. */

import { SysError } from "../../core/errors.js";
import { storeU64 } from "../../core/struct.js";
import type { Ioas } from "../../iommufd/ioas.js";
import {
  IOMMU_IOAS_MAP,
  IOMMU_IOAS_MAP_READABLE,
  IOMMU_IOAS_MAP_WRITEABLE,
  IOMMU_IOAS_UNMAP,
  iommu_ioas_map,
  iommu_ioas_unmap,
} from "../../iommufd/uapi.js";
import { PreparedIoctl } from "../../sys/ioctl.js";
import type { VfioContainer } from "../../vfio-legacy/container.js";
import {
  VFIO_DMA_MAP_FLAG_READ,
  VFIO_DMA_MAP_FLAG_WRITE,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_UNMAP_DMA,
  vfio_iommu_type1_dma_map,
  vfio_iommu_type1_dma_unmap,
} from "../../vfio-legacy/uapi.js";

/** Mappings by slot: slot i is the i-th of several mappings of one size. */
export interface BareCalls {
  /** @throws SysError */
  map(slot: number, address: number, sizeBytes: number): void;
  /** Undoes the map() of the same slot and size. @throws SysError */
  unmap(slot: number, sizeBytes: number): void;
  /** Low and high half of the address where a slot was mapped last. */
  addressOf(slot: number): readonly [number, number];
}

/** The kernel chooses addresses; they are kept as two 32-bit halves. */
export function bareIoas(ioas: Ioas): BareCalls {
  const { fd } = ioas.iommufd;
  const flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE;
  const map = new PreparedIoctl(IOMMU_IOAS_MAP, iommu_ioas_map.encode({ ioas_id: ioas.id, flags }));
  const unmap = new PreparedIoctl(IOMMU_IOAS_UNMAP, iommu_ioas_unmap.encode({ ioas_id: ioas.id }));
  const mapAt = iommu_ioas_map.words;
  const unmapAt = iommu_ioas_unmap.words;
  const low: number[] = [];
  const high: number[] = [];
  return {
    map(slot, address, sizeBytes) {
      const { words } = map;
      storeU64(words, mapAt.user_va, address);
      storeU64(words, mapAt.length, sizeBytes);
      words[mapAt.iova] = 0;
      words[mapAt.iova + 1] = 0;
      check(map, map.call(fd));
      low[slot] = words[mapAt.iova] ?? 0;
      high[slot] = words[mapAt.iova + 1] ?? 0;
    },
    unmap(slot, sizeBytes) {
      const { words } = unmap;
      words[unmapAt.iova] = low[slot] ?? 0;
      words[unmapAt.iova + 1] = high[slot] ?? 0;
      storeU64(words, unmapAt.length, sizeBytes);
      check(unmap, unmap.call(fd));
    },
    addressOf: (slot) => [low[slot] ?? 0, high[slot] ?? 0],
  };
}

const TWO_32 = 2 ** 32;

/** Most bytes that one measurement maps. */
export const MAX_TOTAL_BYTES = 1024 ** 3;

/** Addresses are chosen here: slot after slot, from a multiple of 1 GiB on, so that the IOMMU can use its largest pages. */
export function bareContainer(container: VfioContainer): BareCalls {
  const flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
  const map = new PreparedIoctl(VFIO_IOMMU_MAP_DMA, vfio_iommu_type1_dma_map.encode({ flags }));
  const unmap = new PreparedIoctl(VFIO_IOMMU_UNMAP_DMA, vfio_iommu_type1_dma_unmap.encode({}));
  const mapAt = vfio_iommu_type1_dma_map.words;
  const unmapAt = vfio_iommu_type1_dma_unmap.words;
  const base = firstGigabyte(container);
  const mapped: number[] = [];
  return {
    map(slot, address, sizeBytes) {
      const { words } = map;
      storeU64(words, mapAt.vaddr, address);
      const iova = base + slot * sizeBytes;
      mapped[slot] = iova;
      storeU64(words, mapAt.iova, iova);
      storeU64(words, mapAt.size, sizeBytes);
      check(map, map.call(container.fd));
    },
    unmap(slot, sizeBytes) {
      const { words } = unmap;
      storeU64(words, unmapAt.iova, base + slot * sizeBytes);
      storeU64(words, unmapAt.size, sizeBytes);
      check(unmap, unmap.call(container.fd));
    },
    addressOf: (slot) => [(mapped[slot] ?? 0) % TWO_32, Math.floor((mapped[slot] ?? 0) / TWO_32)],
  };
}

/** Start of the first whole, aligned gibibyte that can be mapped, other than at address 0. */
function firstGigabyte(container: VfioContainer): number {
  const gib = BigInt(MAX_TOTAL_BYTES);
  for (const { start, last } of container.info().iovaRanges) {
    const aligned = start === 0n ? gib : ((start + gib - 1n) / gib) * gib;
    if (aligned + gib - 1n <= last) return Number(aligned);
  }
  return MAX_TOTAL_BYTES;
}

function check({ request }: PreparedIoctl, result: number): void {
  if (result < 0) throw new SysError(request.name, -result, { object: "a measurement" });
}
