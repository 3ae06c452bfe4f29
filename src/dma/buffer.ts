import { checkRange } from "../sys/check.js";
import type { MappedMemory, MemoryBacking } from "../sys/memory.js";
import { Lease, Resource } from "../sys/resource.js";
import type { Iova } from "./iova.js";
import { cutSegments, type DmaSegment, joinSegments } from "./segments.js";
import { type SharedBuffer, ThreadHolds } from "./shared-buffer.js";
import type { DmaSpace } from "./space.js";

/** How a {@link DmaBuffer} came to be. */
interface BufferOrigin {
  /** In bytes order; more than one only where nothing translates. */
  readonly segments: readonly [DmaSegment, ...DmaSegment[]];
  readonly sizeBytes: number;
  readonly ownsMemory: boolean;
  readonly site: string;
  /** Undoes the mapping. Must not refer to the buffer. */
  readonly unmap: () => void;
}

/** Views that callers keep; each keeps its buffer from being collected under it. */
const ownerOfView = new WeakMap<object, DmaBuffer>();

/**
 * Memory together with the address a device reaches it at.
 *
 * close() is refused while commands are in flight; otherwise it unmaps from the IOMMU first and replaces the pages
 * after. Views taken before then read zeros and reach nothing.
 */
export class DmaBuffer extends Resource {
  /** Length as asked for. The mapping covers whole pages. */
  readonly sizeBytes: number;
  /** Where devices find the first byte; the others follow where {@link contiguous}. */
  readonly iova: Iova;
  /** Low and high half of {@link iova}: the I/O path has no use for a bigint. */
  readonly iovaLow: number;
  readonly iovaHigh: number;
  /** Where devices find all of it, in order. One segment, unless nothing translates and the memory lies scattered. */
  readonly segments: readonly DmaSegment[];
  private readonly allBytes: Uint8Array<SharedArrayBuffer>;
  private readonly threads: { holds: ThreadHolds | undefined };

  /** Not for users: see {@link DmaSpace.alloc} and {@link DmaSpace.map}. */
  constructor(
    /** The address space this buffer is mapped in. */
    readonly space: DmaSpace,
    /** The memory behind it. */
    readonly memory: MappedMemory,
    origin: BufferOrigin,
  ) {
    const { ownsMemory, segments, unmap } = origin;
    const memoryLease = ownsMemory ? memory.entrust() : memory.lease;
    const threads: { holds: ThreadHolds | undefined } = { holds: undefined };
    const release = (): void => {
      threads.holds?.end();
      try {
        unmap();
      } finally {
        if (ownsMemory) memoryLease.close();
      }
    };
    const [{ iova }] = segments;
    const label = `DMA buffer of ${origin.sizeBytes} bytes at iova 0x${iova.toString(16)}`;
    super(new Lease(label, release, space.lease, memoryLease), origin.site);
    this.sizeBytes = origin.sizeBytes;
    this.iova = iova;
    this.iovaLow = Number(iova & 0xffff_ffffn);
    this.iovaHigh = Number(iova >> 32n);
    this.segments = joinSegments(cutSegments(segments, 0, this.sizeBytes));
    this.threads = threads;
    this.allBytes = memory.bytes.subarray(0, origin.sizeBytes);
    ownerOfView.set(this.allBytes, this);
  }

  /** What the memory is made of, as it was got: kind, page size, NUMA node. */
  get backing(): MemoryBacking {
    return this.memory.backing;
  }

  /** Whether devices find all of it from {@link iova} on: always, unless nothing translates. */
  get contiguous(): boolean {
    return this.segments.length === 1;
  }

  /** The bytes, shared with the device. @throws ClosedError, StateError where a file behind it was cut short */
  get bytes(): Uint8Array<SharedArrayBuffer> {
    this.lease.assertOpen();
    this.memory.assertUsable();
    return this.allBytes;
  }

  /** Part of the bytes, without copying. @throws ArgumentError, ClosedError, StateError as {@link bytes} */
  view(offset: number, length: number): Uint8Array<SharedArrayBuffer> {
    const { bytes } = this;
    checkRange("the buffer", offset, length, this.sizeBytes);
    const view = bytes.subarray(offset, offset + length);
    ownerOfView.set(view, this);
    return view;
  }

  /**
   * For `worker.postMessage`: the same memory in another thread, which makes a {@link BorrowedBuffer} of it. This thread
   * stays the owner; close() is refused while another thread holds the buffer. Keep the buffer for as long as it is lent.
   * @throws ClosedError
   */
  share(): SharedBuffer {
    const { buffer: memory, byteOffset } = this.bytes;
    if (this.threads.holds === undefined) {
      this.threads.holds = new ThreadHolds();
      this.lease.setForeignHolders(this.threads.holds);
    }
    const { sizeBytes, iova } = this;
    return { memory, byteOffset, sizeBytes, iova, label: this.lease.label, state: this.threads.holds.state };
  }
}
