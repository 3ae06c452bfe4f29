/** Keeps V8's hidden classes of buffers alive while no buffer is. */
import { Lease } from "../core/lifetime/lease.js";
import type { MappedMemory } from "../sys/memory.js";
import { BufferLease, DmaBuffer } from "./buffer.js";
import type { Iova } from "./iova/address.js";
import { MappedIndex } from "./mapped-index.js";
import type { DmaMapper } from "./mapper.js";
import type { DmaSpace } from "./space.js";

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
let specimen: DmaBuffer | undefined;

/**
 * Makes a buffer that nobody uses and that stays as long as the thread. A full garbage collection that finds no object of a
 * class drops the hidden class, and with it everything compiled for it. Programs that map and close in turns would get
 * slow code after each.
 * @param memory of this thread for ever
 */
export function keepShapes(
  makeSpace: (mapper: DmaMapper) => DmaSpace,
  memory: MappedMemory | undefined,
): void {
  if (!isDue || memory === undefined) return;
  // First, because makeSpace() comes back here.
  isDue = false;
  const space = makeSpace(mapper);
  space.relinquish();
  // Small numbers, as of most buffers: V8 stores larger ones differently.
  const lease = new BufferLease(space.lease, new MappedIndex(), mapper, memory, 1, 1, undefined, false);
  specimen = new DmaBuffer(space, lease, "");
  specimen.relinquish();
}
