/** DMA logging of VFIO devices, and parts that vfio-user's DMA logging shares. */
import { checkArray, checkInteger, checkLength, checkObject, checkU64 } from "../core/check.js";
import { DirtyBitmap } from "../dma/dirty-bitmap.js";
import { addressOf, keepAlive } from "../sys/libc.js";
import type { VfioDevice } from "./device.js";
import { callFeature, type Feature, hasFeature } from "./feature.js";
import {
  VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
  VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
  VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP,
  vfio_device_feature_dma_logging_control,
  vfio_device_feature_dma_logging_range,
  vfio_device_feature_dma_logging_report,
} from "./uapi-feature.js";

/** @internal */
export const START: Feature = { id: VFIO_DEVICE_FEATURE_DMA_LOGGING_START, name: "DMA logging" };
/** @internal */
export const STOP: Feature = { id: VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, name: "DMA logging stop" };
/** @internal */
export const REPORT: Feature = { id: VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, name: "DMA logging report" };

/** A range to log. */
export interface LoggedRange {
  /** First I/O virtual address, a multiple of the page size. */
  readonly iova: bigint;
  /** Length in bytes, a multiple of the page size. */
  readonly sizeBytes: number;
}

/**
 * Encodes the ranges of VFIO_DEVICE_FEATURE_DMA_LOGGING_START as consecutive structs.
 * @throws ArgumentError
 * @internal
 */
export function encodeLoggedRanges(pageSizeBytes: number, ranges: readonly LoggedRange[]): Uint8Array {
  checkInteger("pageSizeBytes", pageSizeBytes, 1, 2 ** 40);
  checkArray("ranges", ranges);
  for (const range of ranges) checkObject("range", range);
  const size = vfio_device_feature_dma_logging_range.sizeBytes;
  const list = new Uint8Array(ranges.length * size);
  ranges.forEach(({ iova, sizeBytes }, i) => {
    const range = { iova: checkU64("iova", iova), length: BigInt(checkLength("sizeBytes", sizeBytes)) };
    list.set(vfio_device_feature_dma_logging_range.encode(range), i * size);
  });
  return list;
}

/** A device's log of the pages that it writes, on any backend. */
export interface DmaLoggingControl {
  readonly supported: boolean;
  start(pageSizeBytes: number, ranges: readonly LoggedRange[]): void;
  stop(): void;
  report(at: bigint, sizeBytes: number, pageSizeBytes: number): DirtyBitmap;
}

/** A device's own log of the pages that it writes, as opposed to the IOMMU's dirty tracking. */
export class DmaLogging implements DmaLoggingControl {
  constructor(private readonly device: VfioDevice) {}

  /** Whether the device can log its writes. */
  get supported(): boolean {
    return hasFeature(this.device, START, "set");
  }

  /**
   * Starts logging. All ranges have one page size.
   * @param pageSizeBytes a hint; the device may use a larger one
   * @throws ArgumentError, UnsupportedError, SysError: EINVAL (overlap), E2BIG (too many ranges)
   */
  start(pageSizeBytes: number, ranges: readonly LoggedRange[]): void {
    const list = encodeLoggedRanges(pageSizeBytes, ranges);
    const control = vfio_device_feature_dma_logging_control.encode({
      page_size: BigInt(pageSizeBytes),
      num_ranges: ranges.length,
      ranges: list.length === 0 ? 0n : BigInt(addressOf(list)),
    });
    callFeature(this.device, START, "set", control);
    keepAlive(list);
  }

  /** Stops logging. @throws UnsupportedError, SysError */
  stop(): void {
    callFeature(this.device, STOP, "set");
  }

  /** Reads and clears the log of a range. @throws ArgumentError, UnsupportedError, SysError */
  report(at: bigint, sizeBytes: number, pageSizeBytes: number): DirtyBitmap {
    const bitmap = DirtyBitmap.of(at, sizeBytes, pageSizeBytes);
    const request = vfio_device_feature_dma_logging_report.encode({
      iova: at,
      length: BigInt(sizeBytes),
      page_size: BigInt(pageSizeBytes),
      bitmap: BigInt(addressOf(bitmap.bits)),
    });
    callFeature(this.device, REPORT, "get", request);
    return bitmap;
  }
}
