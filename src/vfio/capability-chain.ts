/** The capability chains of VFIO's info structs. */
import { ArgumentError } from "../core/errors.js";
import { vfio_info_cap_header } from "./uapi.js";

/** One capability of a VFIO info structure. */
export interface InfoCapability {
  readonly id: number;
  readonly version: number;
  /** From the capability's header to the end of the info structure. */
  readonly bytes: Uint8Array;
}

/**
 * Reads the capability chain of a VFIO info structure. Offsets count from the structure's start; the order has no meaning.
 * @param info the whole structure from the kernel
 * @param first its cap_offset; 0 means no capabilities
 * @throws ArgumentError if the chain leaves the structure or loops
 */
export function capabilityChain(info: Uint8Array, first: number): InfoCapability[] {
  const capabilities: InfoCapability[] = [];
  for (let at = first; at !== 0; ) {
    if (capabilities.length * vfio_info_cap_header.sizeBytes > info.length) {
      throw new ArgumentError("the capability chain loops");
    }
    const { id, version, next } = vfio_info_cap_header.decode(info, at);
    capabilities.push({ id, version, bytes: info.subarray(at) });
    at = next;
  }
  return capabilities;
}
