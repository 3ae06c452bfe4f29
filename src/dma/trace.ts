/**
 * Diagnostics channels of DMA mappings: `iova:dma:map` and `iova:dma:unmap`. Messages are created only for subscribers. The page of
 * activity counts all.
 */
import type { Channel } from "node:diagnostics_channel";
import { countMapped, countUnmapped } from "../activity/page.js";
import { debugChannel } from "../sys/debug-log.js";
import type { DmaAccess } from "./access.js";
import { type Iova, iovaOfPage } from "./iova/address.js";
import type { DmaMapper } from "./mapper.js";

/** Message of `iova:dma:unmap`: a range that was unmapped. */
export interface DmaUnmapTrace {
  /** The mapper's name: `iommufd`, `type1`, ... */
  readonly backend: string;
  /** First I/O virtual address. */
  readonly iova: Iova;
  /** Mapped length, in whole pages. */
  readonly sizeBytes: number;
}

/** Message of `iova:dma:map`: a range that was mapped. */
export interface DmaMapTrace extends DmaUnmapTrace {
  /** Access right of devices. */
  readonly access: DmaAccess;
  /** Virtual address of the memory in this process; undefined for a dma-buf, which has none. */
  readonly address: number | undefined;
}

const mapChannel: Channel = debugChannel("iova:dma:map");
const unmapChannel: Channel = debugChannel("iova:dma:unmap");

/** Counts a mapping, and publishes to `iova:dma:map`. @param iovaPage first I/O virtual address in IOVA_PAGEs */
export function traceMap(
  mapper: DmaMapper,
  iovaPage: number,
  sizeBytes: number,
  access: DmaAccess,
  address: number | undefined,
): void {
  countMapped(sizeBytes);
  if (!mapChannel.hasSubscribers) return;
  mapChannel.publish({
    backend: mapper.name,
    iova: iovaOfPage(iovaPage),
    sizeBytes,
    access,
    address,
  } satisfies DmaMapTrace);
}

/** Counts its end, and publishes to `iova:dma:unmap`. @param iovaPage first I/O virtual address in IOVA_PAGEs */
export function traceUnmap(mapper: DmaMapper, iovaPage: number, sizeBytes: number): void {
  countUnmapped(sizeBytes);
  if (!unmapChannel.hasSubscribers) return;
  unmapChannel.publish({
    backend: mapper.name,
    iova: iovaOfPage(iovaPage),
    sizeBytes,
  } satisfies DmaUnmapTrace);
}
