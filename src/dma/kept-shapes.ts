/** Keeps V8's hidden classes of buffers alive while no buffer is. */
import { Lease } from "../core/lifetime/lease.js";
import type { Resource } from "../core/lifetime/resource.js";
import type { Iova } from "./iova/address.js";
import type { DmaMapper } from "./mapper.js";

/** Maps nothing. */
const mapper: DmaMapper = {
  lease: new Lease("a mapper that maps nothing", undefined),
  name: "none",
  iovaRanges: () => [],
  alignmentBytes: () => 1,
  map: () => 0n as Iova,
  unmap: () => {},
};

let isDue = true;
/** Referenced, and so never collected. */
let specimen: Resource | undefined;

/**
 * Keeps a buffer that nobody uses as long as the thread. A full garbage collection that finds no object of a class drops the
 * hidden class, and with it everything compiled for it. Programs that map and close in turns would get slow code after each.
 * @param make makes the buffer; called once for each thread
 */
export function keepShapes(make: (mapper: DmaMapper) => Resource): void {
  if (!isDue) return;
  // First, because making the buffer's address space comes back here.
  isDue = false;
  specimen = make(mapper);
  specimen.relinquish();
}
