import { checkRange } from "../sys/check.js";
import type { MappedMemory } from "../sys/memory.js";
import { Lease, Resource } from "../sys/resource.js";
import type { Iova } from "./iova.js";
import type { DmaMapper } from "./mapper.js";
import type { DmaSpace } from "./space.js";

/** How a {@link DmaBuffer} came to be. */
interface BufferOrigin {
  readonly iova: Iova;
  readonly sizeBytes: number;
  readonly ownsMemory: boolean;
  readonly site: string;
}

/** Splits an address without making more bigints. */
const whole = new BigUint64Array(1);
const halves = new Uint32Array(whole.buffer);

/** Views that callers keep; each keeps its buffer from being collected under it. */
const ownerOfView = new WeakMap<object, DmaBuffer>();

/** The obligation to unmap, and to give memory back that was allocated for the buffer. */
class BufferLease extends Lease {
  private readonly iova: Iova;
  private readonly sizeBytes: number;
  private readonly mappedBytes: number;
  private readonly ownMemory: Lease | undefined;

  constructor(
    space: Lease,
    private readonly mapper: DmaMapper,
    memory: MappedMemory,
    origin: BufferOrigin,
  ) {
    super("", undefined);
    this.iova = origin.iova;
    this.sizeBytes = origin.sizeBytes;
    this.mappedBytes = memory.sizeBytes;
    this.ownMemory = origin.ownsMemory ? memory.entrust() : undefined;
    this.dependOn(space);
    this.dependOn(memory.lease);
  }

  override get label(): string {
    return `DMA buffer of ${this.sizeBytes} bytes at iova 0x${this.iova.toString(16)}`;
  }

  protected override release(): void {
    try {
      this.mapper.unmap(this.iova, this.mappedBytes);
    } finally {
      this.ownMemory?.close();
    }
  }
}

/**
 * Memory together with the address a device reaches it at.
 *
 * close() is refused while commands are in flight; otherwise it unmaps from the IOMMU first and replaces the pages
 * after. Views taken before then read zeros and reach nothing.
 */
export class DmaBuffer extends Resource {
  /** Length as asked for. The mapping covers whole pages. */
  readonly sizeBytes: number;
  /** Where devices find the first byte. */
  readonly iova: Iova;
  /** Low and high half of {@link iova}: the I/O path has no use for a bigint. */
  readonly iovaLow: number;
  readonly iovaHigh: number;
  /** Made when first asked for, as is the label: much of what is mapped is never looked at from here. */
  private allBytes: Uint8Array<SharedArrayBuffer> | undefined;

  /** Not for users: see {@link DmaSpace.alloc} and {@link DmaSpace.map}. */
  constructor(
    /** The address space this buffer is mapped in. */
    readonly space: DmaSpace,
    mapper: DmaMapper,
    /** The memory behind it. */
    readonly memory: MappedMemory,
    origin: BufferOrigin,
  ) {
    super(new BufferLease(space.lease, mapper, memory, origin), origin.site);
    const { iova, sizeBytes } = origin;
    this.sizeBytes = sizeBytes;
    this.iova = iova;
    whole[0] = iova;
    this.iovaLow = halves[0] ?? 0;
    this.iovaHigh = halves[1] ?? 0;
    this.allBytes = undefined;
  }

  /** The bytes, shared with the device. @throws ClosedError */
  get bytes(): Uint8Array<SharedArrayBuffer> {
    this.lease.assertOpen();
    if (this.allBytes === undefined) {
      this.allBytes = this.memory.bytes.subarray(0, this.sizeBytes);
      ownerOfView.set(this.allBytes, this);
    }
    return this.allBytes;
  }

  /** Part of the bytes, without copying. @throws ArgumentError, ClosedError */
  view(offset: number, length: number): Uint8Array<SharedArrayBuffer> {
    this.lease.assertOpen();
    checkRange("the buffer", offset, length, this.sizeBytes);
    const view = this.memory.bytes.subarray(offset, offset + length);
    ownerOfView.set(view, this);
    return view;
  }
}
