/** The error if I/O virtual addresses can't be allocated. */
import { IovaError } from "../../core/errors.js";

/**
 * Why an allocation failed: `full` (no free range fits size, alignment and limits), `taken` (a fixed address is mapped
 * already), `reserved` (a fixed address is reserved, or the IOMMU can't translate it).
 */
export type IovaSpaceReason = "full" | "taken" | "reserved";

/** No free range is large enough, or the requested one isn't free. The same on every backend. */
export class IovaSpaceError extends IovaError {
  constructor(
    /** Why the allocation failed. */
    readonly reason: IovaSpaceReason,
    message: string,
    options?: ErrorOptions,
  ) {
    super("ERR_IOVA_NO_SPACE", message, options);
  }
}
