/** Allocates buffers in the controller's own memory, in a BAR. */
import { checkLength } from "../../core/check.js";
import { UnsupportedError } from "../../core/errors.js";
import type { Lease } from "../../core/lifetime/lease.js";
import { BufferLease, DmaBuffer } from "../../dma/buffer.js";
import { type Iova, type IovaRange, iova, pageOfIova } from "../../dma/iova/address.js";
import { IovaAllocator } from "../../dma/iova/allocator.js";
import { MappedIndex } from "../../dma/mapped-index.js";
import type { DmaMapper } from "../../dma/mapper.js";
import type { PciDevice } from "../../pci/device.js";
import { PAGE_SIZE } from "../../sys/syscalls.js";

/** Location of a controller's memory, for the host and for commands. */
export interface DeviceMemoryPlace {
  readonly bar: number;
  /** First byte in the BAR. */
  readonly offset: number;
  readonly sizeBytes: number;
  /** Address of the first byte in PRPs and SGLs. */
  readonly base: bigint;
}

/** Allocates the addresses of memory on a controller. Registers of the controller define them, so nothing is mapped. */
class DeviceMapper implements DmaMapper {
  readonly name = "memory on the controller";
  private readonly free: IovaAllocator;

  constructor(
    readonly lease: Lease,
    private readonly range: IovaRange,
  ) {
    this.free = new IovaAllocator([range], PAGE_SIZE);
  }

  iovaRanges(): IovaRange[] {
    return [this.range];
  }

  alignmentBytes(): number {
    return PAGE_SIZE;
  }

  take(sizeBytes: number): Iova {
    return this.free.alloc(sizeBytes);
  }

  map(): never {
    throw new UnsupportedError("other memory can't be mapped at the addresses of memory on a controller");
  }

  unmap(at: bigint, sizeBytes: number): void {
    this.free.release(at, sizeBytes);
  }
}

/** Memory on the controller (CMB, PMR), allocated in whole pages. Commands take its buffers like those of a DMA space. */
export class DeviceMemory {
  private readonly mapper: DeviceMapper;
  private readonly index = new MappedIndex();

  constructor(
    private readonly device: PciDevice,
    readonly place: DeviceMemoryPlace,
  ) {
    const { base, sizeBytes } = place;
    const last = iova(base + BigInt(sizeBytes) - 1n);
    this.mapper = new DeviceMapper(device.io.lease, { start: iova(base), last });
  }

  get sizeBytes(): number {
    return this.place.sizeBytes;
  }

  /**
   * Allocates a part and maps it. It isn't zeroed. Each access goes over the bus: write in order, and read rarely. Use plain
   * loads and stores, because a copy may use instructions that a virtual machine can't emulate.
   * @throws ArgumentError, IovaSpaceError if there is no room, UnsupportedError if the BAR can't be mapped, SysError
   */
  alloc(sizeBytes: number): DmaBuffer {
    checkLength("sizeBytes", sizeBytes);
    const { device, place, mapper, index } = this;
    const { dma } = device;
    const rounded = Math.ceil(sizeBytes / PAGE_SIZE) * PAGE_SIZE;
    const at = mapper.take(rounded);
    try {
      const memory = device.bar(place.bar).map(place.offset + Number(at - place.base), rounded);
      const iovaPage = pageOfIova(at);
      const lease = new BufferLease(dma.lease, index, mapper, memory, iovaPage, sizeBytes, undefined, true);
      return new DmaBuffer(dma, lease, "");
    } catch (error) {
      mapper.unmap(at, rounded);
      throw error;
    }
  }
}
