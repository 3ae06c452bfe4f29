/** DMA logging of a device behind a vfio-user server. */
import { checkArray, checkInteger } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { checkLeased } from "../../core/lifetime/lease.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import { DirtyBitmap } from "../../dma/dirty-bitmap.js";
import {
  type DmaLoggingControl,
  encodeLoggedRanges,
  type LoggedRange,
  REPORT,
  START,
  STOP,
} from "../../vfio/dma-logging.js";
import { loggingControl, loggingReport } from "../protocol/protocol.js";
import { checkUserDevice, type VfioUserDevice } from "./device.js";
import { callFeature, hasFeature } from "./feature.js";
import { tooManyPages, VfioUserMapper } from "./mapper.js";

/** The server's record of what its device writes to our memory; as `DmaLogging` is of a device behind VFIO. */
export class VfioUserDmaLogging implements DmaLoggingControl {
  /** @throws ArgumentError */
  constructor(private readonly device: VfioUserDevice) {
    checkUserDevice(device);
  }

  /** Whether the server keeps such a record. */
  get supported(): boolean {
    return hasFeature(this.device, START, "set");
  }

  /**
   * Starts logging, all ranges with one page size.
   * @param pageSizeBytes a hint; the device may use a larger one
   * @param ranges everything where empty
   * @throws ArgumentError, UnsupportedError, SysError: EINVAL (overlap, logging already), E2BIG (too many ranges)
   */
  start(pageSizeBytes: number, ranges: readonly LoggedRange[]): void {
    checkArray("ranges", ranges);
    checkInteger("number of ranges", ranges.length, 0, 0xffff);
    const list = encodeLoggedRanges(pageSizeBytes, ranges);
    const control = loggingControl.encode({ page_size: BigInt(pageSizeBytes), num_ranges: ranges.length });
    const request = Buffer.concat([control, list]);
    callFeature(this.device, START, "set", request, request.length);
  }

  /** @throws UnsupportedError, SysError */
  stop(): void {
    callFeature(this.device, STOP, "set", new Uint8Array(0), 0);
  }

  /** Reads the record of a range and forgets it. @throws ArgumentError, UnsupportedError, SysError */
  report(at: bigint, sizeBytes: number, pageSizeBytes: number): DirtyBitmap {
    const bitmap = DirtyBitmap.of(at, sizeBytes, pageSizeBytes);
    const request = loggingReport.encode({
      iova: at,
      length: BigInt(sizeBytes),
      page_size: BigInt(pageSizeBytes),
    });
    const answer = callFeature(this.device, REPORT, "get", request, request.length + bitmap.bits.length);
    bitmap.bits.set(answer.subarray(request.length));
    return bitmap;
  }

  /**
   * Closes a buffer of the device's own space, and says which of its pages were written to until then. A buffer with a mapping of
   * its own (`shared: true`) is unmapped in the same step, so no write is lost in between.
   * @throws ArgumentError, BusyError (commands are in flight), ClosedError; SysError: EINVAL if nothing is logged;
   *   UnsupportedError where the server can't; with the buffer still open
   */
  closeDirty(buffer: DmaBuffer, pageSizeBytes: number): DirtyBitmap {
    checkLeased("buffer", buffer, "a DmaBuffer", { space: "object" });
    buffer.lease.assertOpen();
    const { mapper } = buffer.space;
    if (!(mapper instanceof VfioUserMapper) || mapper.lease !== this.device.connection) {
      throw new ArgumentError(`${buffer.lease.label} is of another device`);
    }
    buffer.lease.assertIdle();
    const bitmap = mapper.isShared(buffer.iova)
      ? this.reportOf(buffer, pageSizeBytes)
      : mapper.takeDirty(buffer.iova, pageSizeBytes);
    buffer.close();
    return bitmap;
  }

  private reportOf({ iova, memory }: DmaBuffer, pageSizeBytes: number): DirtyBitmap {
    const { maxTransferBytes } = this.device;
    const { length } = DirtyBitmap.of(iova, memory.sizeBytes, pageSizeBytes).bits;
    if (loggingReport.sizeBytes + length > maxTransferBytes)
      throw tooManyPages(memory.sizeBytes, pageSizeBytes);
    return this.report(iova, memory.sizeBytes, pageSizeBytes);
  }
}
