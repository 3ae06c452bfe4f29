import { checkLength } from "../sys/check.js";
import { ArgumentError } from "../sys/errors.js";
import { MappedMemory } from "../sys/memory.js";
import { Lease, Resource } from "../sys/resource.js";
import { PAGE_SIZE } from "../sys/syscalls.js";
import { DmaBuffer } from "./buffer.js";
import { callSite } from "./call-site.js";
import { type Iova, type IovaRange, iova } from "./iova.js";
import type { DmaAccess, DmaMapper } from "./mapper.js";

/** Options of {@link DmaSpace.map}. */
export interface MapOptions {
  /** Fixed I/O virtual address; left out, the backend chooses. */
  readonly iova?: bigint;
  /** What the device may do; both by default. */
  readonly access?: DmaAccess;
}

/** Options of {@link DmaSpace.alloc}. */
export interface AllocOptions extends MapOptions {
  /** Alignment of the memory's virtual address in bytes, a power of two. */
  readonly alignBytes?: number;
}

/**
 * An I/O address space: what the devices attached to it see. Memory is mapped into it once and used many times.
 * Which backend translates is no concern of its users.
 */
export class DmaSpace extends Resource {
  constructor(private readonly mapper: DmaMapper) {
    super(new Lease(`DMA space (${mapper.name})`, () => {}, mapper.lease));
  }

  /** The backend's name: `iommufd`, `type1`, ... */
  get backend(): string {
    return this.mapper.name;
  }

  /** What can be mapped now, reserved regions cut out. @throws ClosedError, SysError */
  iovaRanges(): IovaRange[] {
    this.lease.assertOpen();
    return this.mapper.iovaRanges();
  }

  /** Unit of mappings in bytes. @throws ClosedError, SysError */
  alignmentBytes(): number {
    this.lease.assertOpen();
    return this.mapper.alignmentBytes();
  }

  /**
   * Zeroed memory that this space's devices can reach, outside V8's heap and never moved.
   * @param sizeBytes any length above 0; whole pages are mapped
   * @throws ArgumentError, SysError, IovaSpaceError with nothing left behind
   */
  alloc(sizeBytes: number, options: AllocOptions = {}): DmaBuffer {
    this.lease.assertOpen();
    checkLength("sizeBytes", sizeBytes);
    const site = callSite(this.alloc);
    const memory = MappedMemory.anonymous(sizeBytes, { alignBytes: options.alignBytes });
    try {
      const at = this.mapRange(memory, options);
      return new DmaBuffer(this, this.mapper, memory, { iova: at, sizeBytes, ownsMemory: true, site });
    } catch (error) {
      memory.close();
      throw error;
    }
  }

  /**
   * Maps memory the caller already has. Closing the result unmaps it and leaves the memory alone; closing the
   * memory closes the result first.
   * @throws ArgumentError, SysError, IovaSpaceError with nothing mapped
   */
  map(memory: MappedMemory, options: MapOptions = {}): DmaBuffer {
    this.lease.assertOpen();
    if (!(memory instanceof MappedMemory)) {
      throw new ArgumentError(
        "only memory of this library can be mapped: the garbage collector may move or free anything else " +
          "(use alloc(), or MappedMemory)",
      );
    }
    memory.lease.assertOpen();
    const site = callSite(this.map);
    const at = this.mapRange(memory, options);
    return new DmaBuffer(this, this.mapper, memory, {
      iova: at,
      sizeBytes: memory.sizeBytes,
      ownsMemory: false,
      site,
    });
  }

  private mapRange(memory: MappedMemory, options: MapOptions): Iova {
    const fixed = options.iova === undefined ? undefined : iova(options.iova);
    if (fixed !== undefined && fixed % BigInt(PAGE_SIZE) !== 0n) {
      throw new ArgumentError(`iova 0x${fixed.toString(16)} is not a multiple of the page size ${PAGE_SIZE}`);
    }
    return this.mapper.map(memory.address, memory.sizeBytes, options.access ?? "read-write", fixed);
  }
}
