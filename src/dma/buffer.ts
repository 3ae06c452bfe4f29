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

/** The obligation to unmap, and to give memory back that was allocated for the buffer. */
class BufferLease extends Lease {
  /** Holds of other threads, once it is shared. */
  threads: ThreadHolds | undefined = undefined;
  private readonly iova: Iova;
  private readonly sizeBytes: number;
  private readonly unmap: () => void;
  private readonly ownMemory: Lease | undefined;

  constructor(space: Lease, memory: MappedMemory, origin: BufferOrigin) {
    super("", undefined);
    this.iova = origin.segments[0].iova;
    this.sizeBytes = origin.sizeBytes;
    this.unmap = origin.unmap;
    this.ownMemory = origin.ownsMemory ? memory.entrust() : undefined;
    this.dependOn(space);
    this.dependOn(memory.lease);
  }

  override get label(): string {
    return `DMA buffer of ${this.sizeBytes} bytes at iova 0x${this.iova.toString(16)}`;
  }

  protected override release(): void {
    this.threads?.end();
    try {
      this.unmap();
    } finally {
      this.ownMemory?.close();
    }
  }
}

/** Splits an address without making more bigints. */
const whole = new BigUint64Array(1);
const halves = new Uint32Array(whole.buffer);

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
  /** Made when first asked for: much of what is mapped is never looked at from here. */
  private allBytes: Uint8Array<SharedArrayBuffer> | undefined = undefined;
  private readonly pieces: readonly DmaSegment[];
  private readonly ownLease: BufferLease;

  /** Not for users: see {@link DmaSpace.alloc} and {@link DmaSpace.map}. */
  constructor(
    /** The address space this buffer is mapped in. */
    readonly space: DmaSpace,
    /** The memory behind it. */
    readonly memory: MappedMemory,
    origin: BufferOrigin,
  ) {
    const lease = new BufferLease(space.lease, memory, origin);
    super(lease, origin.site);
    const { segments, sizeBytes } = origin;
    this.ownLease = lease;
    this.sizeBytes = sizeBytes;
    this.iova = segments[0].iova;
    whole[0] = this.iova;
    this.iovaLow = halves[0] ?? 0;
    this.iovaHigh = halves[1] ?? 0;
    this.pieces = segments;
  }

  /** Where devices find all of it, in order. One segment, unless nothing translates and the memory lies scattered. */
  get segments(): readonly DmaSegment[] {
    return joinSegments(cutSegments(this.pieces, 0, this.sizeBytes));
  }

  /** What the memory is made of, as it was got: kind, page size, NUMA node. */
  get backing(): MemoryBacking {
    return this.memory.backing;
  }

  /** Whether devices find all of it from {@link iova} on: always, unless nothing translates. */
  get contiguous(): boolean {
    return (this.pieces[0]?.sizeBytes ?? 0) >= this.sizeBytes;
  }

  /** The bytes, shared with the device. @throws ClosedError, StateError where a file behind it was cut short */
  get bytes(): Uint8Array<SharedArrayBuffer> {
    this.lease.assertOpen();
    if (this.allBytes === undefined) {
      this.allBytes = this.memory.bytes.subarray(0, this.sizeBytes);
      ownerOfView.set(this.allBytes, this);
    } else this.memory.assertUsable();
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
    if (this.ownLease.threads === undefined) {
      this.ownLease.threads = new ThreadHolds();
      this.lease.setForeignHolders(this.ownLease.threads);
    }
    const { sizeBytes, iova } = this;
    return {
      memory,
      byteOffset,
      sizeBytes,
      iova,
      label: this.lease.label,
      state: this.ownLease.threads.state,
    };
  }
}
