/** The error for I/O virtual addresses that can't be had. */
import { IovaError } from "../../core/errors.js";

/**
 * Why I/O virtual addresses can't be had: `full` (no free range is large enough where it may lie), `taken` (a fixed
 * address is mapped already), `reserved` (a fixed address is reserved or beyond what the IOMMU translates).
 */
export type IovaSpaceReason = "full" | "taken" | "reserved";

/** No free range is large enough, or the requested one isn't free. The same on every backend. */
export class IovaSpaceError extends IovaError {
  constructor(
    /** Why there is no address. */
    readonly reason: IovaSpaceReason,
    message: string,
    options?: ErrorOptions,
  ) {
    super("ERR_IOVA_NO_SPACE", message, options);
  }
}
