/**
 * Memory that a device can reach: address spaces, buffers, pools, shared memory, and the allocator of I/O virtual addresses.
 *
 * @packageDocumentation
 */

export { Lease, type Release } from "../core/lifetime/lease.js";
export type { Resource } from "../core/lifetime/resource.js";
export type { DmaAccess } from "../dma/access.js";
export {
  AddressChooser,
  type MapAttempt,
  type MappableAddresses,
  type MappingList,
} from "../dma/address-chooser.js";
export type { BackingOptions, PageChoice } from "../dma/backing.js";
export { DmaBuffer } from "../dma/buffer.js";
export { DirtyBitmap, type DirtyRange } from "../dma/dirty-bitmap.js";
export { type Iova, type IovaRange, iova } from "../dma/iova/address.js";
export { IovaAllocator, type IovaAllocatorStats, type IovaPlacement } from "../dma/iova/allocator.js";
export { IovaSpaceError, type IovaSpaceReason } from "../dma/iova/error.js";
export type {
  BufferMemory,
  DmaMapper,
  DmaMapperExtensions,
  FileMapper,
  MappedBytes,
  PageMapper,
} from "../dma/mapper.js";
export { type MemlockAccount, MemlockError } from "../dma/memlock.js";
export {
  DmaPool,
  type DmaPoolOptions,
  type DmaPoolStats,
  PoolExhaustedError,
  type PoolHandle,
} from "../dma/pool.js";
export type { DmaSegment } from "../dma/segments.js";
export { BorrowedBuffer, type SharedBuffer } from "../dma/shared-buffer.js";
export {
  type AllocOptions,
  type DmaBufOptions,
  type DmaPart,
  DmaSpace,
  type MapOptions,
} from "../dma/space.js";
export type { DmaMapTrace, DmaUnmapTrace } from "../dma/trace.js";
export { exportUdmabuf, Udmabuf, type UdmabufOptions } from "../dma/udmabuf.js";
export { DmaWindow } from "../dma/window.js";
export {
  MappedMemory,
  type MemfdOptions,
  type MemoryBacking,
  type MemoryOptions,
  type MemorySource,
} from "../sys/memory.js";
