/** DMA buffers: memory that is mapped for devices. */
import { checkBytes, checkOffset, checkRange } from "../core/check.js";
import type { Lease } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import { copyBytes, MIN_BYTES } from "../sys/copy.js";
import type { MappedMemory, MemoryBacking } from "../sys/memory.js";
import { highOfPage, type Iova, iovaOfPage, lowOfPage } from "./iova/address.js";
import { type MappedIndex, MappedRecord } from "./mapped-index.js";
import type { DmaMapper } from "./mapper.js";
import { cutSegments, type DmaSegment, joinSegments } from "./segments.js";
import { type SharedBuffer, ThreadHolds } from "./shared-buffer.js";
import type { DmaSpace } from "./space.js";
import { traceUnmap } from "./trace.js";

/** Buffers by their views: a view that is alive keeps its buffer from being collected. */
const ownerOfView = new WeakMap<object, DmaBuffer>();

/**
 * The obligation to unmap a buffer, and to free the memory that was allocated for it. It is also the mapping's record in the
 * space's index. It doesn't refer to the buffer, so that a forgotten buffer can be collected.
 */
export class BufferLease extends MappedRecord {
  private readonly ownMemory: Lease | undefined;

  /** @param ownsMemory whether the memory was allocated for the buffer, and closes with it */
  constructor(
    space: Lease,
    index: MappedIndex,
    private readonly mapper: DmaMapper,
    readonly memory: MappedMemory,
    iovaPage: number,
    /** Requested length. */
    readonly sizeBytes: number,
    readonly segments: readonly [DmaSegment, ...DmaSegment[]] | undefined,
    ownsMemory: boolean,
  ) {
    super(space, "", index, iovaPage);
    this.ownMemory = ownsMemory ? memory.relinquish() : undefined;
    this.dependOn(memory.lease);
    index.add(this);
  }

  get mappedBytes(): number {
    return this.memory.sizeBytes;
  }

  override get label(): string {
    return `DMA buffer of ${this.sizeBytes} bytes at iova 0x${iovaOfPage(this.iovaPage).toString(16)}`;
  }

  /** Holds of other threads, after the buffer was shared. */
  get threads(): ThreadHolds | undefined {
    return this.foreign instanceof ThreadHolds ? this.foreign : undefined;
  }

  protected override release(): void {
    const { index, mapper, memory, ownMemory } = this;
    this.threads?.end();
    try {
      index.delete(this);
      const pages = mapper.extensions?.pages;
      if (pages === undefined) mapper.unmap(iovaOfPage(this.iovaPage), memory.sizeBytes);
      else pages.unmapPages(this.iovaPage, memory.sizeBytes);
      traceUnmap(mapper, this.iovaPage, memory.sizeBytes);
    } finally {
      ownMemory?.close();
    }
  }
}

/**
 * Memory with its I/O virtual address.
 *
 * close() throws a BusyError while commands are in flight. Otherwise it unmaps the memory from the IOMMU, and then replaces
 * the pages. Old views then read zeros, and don't reach the device.
 */
export class DmaBuffer extends Resource {
  /** Requested length. The mapping covers whole pages. */
  readonly sizeBytes: number;
  /** Low 32 bits of {@link iova}: the I/O path avoids bigints. */
  readonly iovaLow: number;
  /** High 32 bits of {@link iova}. */
  readonly iovaHigh: number;
  declare readonly lease: BufferLease;
  /** Created at first use: many programs never access their buffers from JavaScript. */
  private allBytes: Uint8Array<SharedArrayBuffer> | undefined = undefined;

  /** Not for users: see {@link DmaSpace.alloc} and {@link DmaSpace.map}. */
  constructor(
    /** The address space this buffer is mapped in. */
    readonly space: DmaSpace,
    lease: BufferLease,
    site: string,
  ) {
    super(lease, site);
    const { iovaPage } = lease;
    this.sizeBytes = lease.sizeBytes;
    this.iovaLow = lowOfPage(iovaPage);
    this.iovaHigh = highOfPage(iovaPage);
  }

  /** The memory of the buffer. */
  get memory(): MappedMemory {
    return this.lease.memory;
  }

  /** I/O virtual address of the first byte. The others follow it if the buffer is {@link contiguous}. */
  get iova(): Iova {
    return iovaOfPage(this.lease.iovaPage);
  }

  /** I/O virtual addresses of the buffer, in order: one segment, unless memory without an IOMMU is scattered. */
  get segments(): readonly DmaSegment[] {
    const { segments } = this.lease;
    if (segments === undefined) return [{ iova: this.iova, sizeBytes: this.sizeBytes }];
    return joinSegments(cutSegments(segments, 0, this.sizeBytes));
  }

  /** What the memory consists of: kind, page size, NUMA node. */
  get backing(): MemoryBacking {
    return this.memory.backing;
  }

  /** Whether the I/O virtual addresses are contiguous: always, except without an IOMMU. */
  get contiguous(): boolean {
    const { segments } = this.lease;
    return segments === undefined || segments[0].sizeBytes >= this.sizeBytes;
  }

  /** The bytes, shared with the device. @throws ClosedError, StateError if the memory's file was truncated */
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
   * Copies bytes into the buffer. Faster than `bytes.set()`, which copies shared memory word by word or byte by byte.
   * @param offset where in the buffer, in bytes
   * @throws ArgumentError, ClosedError, StateError as {@link bytes}
   */
  write(source: Uint8Array, offset = 0): void {
    const { bytes } = this;
    this.checkCopy("source", source, offset);
    // The range is checked: copyBytes would do it once more, which a short copy feels.
    if (source.length < MIN_BYTES) bytes.set(source, offset);
    else copyBytes(bytes, offset, source, 0, source.length);
  }

  /**
   * Fills `target` with bytes of the buffer, as {@link write} copies.
   * @param offset where in the buffer, in bytes
   * @throws as write()
   */
  read(target: Uint8Array, offset = 0): void {
    const { bytes } = this;
    this.checkCopy("target", target, offset);
    copyBytes(target, 0, bytes, offset, target.length);
  }

  /**
   * Shares the memory with another thread: post the result to it (`worker.postMessage`), and create a {@link BorrowedBuffer}
   * there. This thread stays the owner: keep the buffer meanwhile. close() throws while another thread holds it.
   * @throws ClosedError
   */
  share(): SharedBuffer {
    const { buffer: memory, byteOffset } = this.bytes;
    const { lease, sizeBytes, iova } = this;
    const threads = lease.threads ?? new ThreadHolds();
    lease.setForeignHolders(threads);
    return {
      memory,
      byteOffset,
      sizeBytes,
      iova,
      label: lease.label,
      state: threads.state,
    };
  }

  private checkCopy(name: string, memory: Uint8Array, offset: number): void {
    checkBytes(name, memory);
    if (memory.length > 0) checkRange("the buffer", offset, memory.length, this.sizeBytes);
    else checkOffset("offset", offset, this.sizeBytes);
  }
}
