/** DMA address spaces: they allocate memory, map it, and find its address. */
import { activityPage, noteError, publishActivity } from "../activity/page.js";
import {
  checkInteger,
  checkKeys,
  checkLength,
  checkMembers,
  checkOffset,
  checkPowerOfTwo,
} from "../core/check.js";
import { ArgumentError, SysError, UnsupportedError } from "../core/errors.js";
import { Resource } from "../core/lifetime/resource.js";
import { append } from "../core/lists.js";
import { HUGE_PAGE_SIZES } from "../sys/huge-pages.js";
import { MappedMemory, mappedAddressOf } from "../sys/memory.js";
import { fileEnd, PAGE_SIZE } from "../sys/syscalls.js";
import { checkAccess, type DmaAccess, joinedAccess } from "./access.js";
import { allocateMemory, type BackingOptions, backingOptions, type PageChoice } from "./backing.js";
import { BufferLease, DmaBuffer } from "./buffer.js";
import { callSite } from "./call-site.js";
import { type Iova, type IovaRange, iova, iovaOfPage, pageOfIova } from "./iova/address.js";
import type { IovaPlacement } from "./iova/allocator.js";
import { IovaSpaceError } from "./iova/error.js";
import { keepShapes } from "./kept-shapes.js";
import { MappedIndex, type MemoryRecord } from "./mapped-index.js";
import { checkExtensions, type DmaMapper } from "./mapper.js";
import { assertMemlock, memlockErrorOf } from "./memlock.js";
import { cutSegments, type DmaSegment, joinSegments } from "./segments.js";
import { traceMap, traceUnmap } from "./trace.js";
import { DmaWindow, WindowLease } from "./window.js";

/** Options of {@link DmaSpace.map}. */
export interface MapOptions {
  /** Fixed I/O virtual address; the backend chooses by default. */
  readonly iova?: bigint | undefined;
  /** Access right of devices; by default what the devices named when they were opened, or `read-write`. */
  readonly access?: DmaAccess | undefined;
  /** Number n of the device's address bits, if fewer than the IOMMU's: the buffer lies below 2^n. */
  readonly addressBits?: number | undefined;
  /** Alignment of the I/O virtual address in bytes, a power of two. An IOMMU's huge pages of 2 MiB need 2 MiB. */
  readonly iovaAlignBytes?: number | undefined;
  /**
   * Without an IOMMU, pages may be physically scattered. True accepts that, and `buffer.segments` has the addresses. False
   * (default) rejects memory that isn't contiguous.
   */
  readonly scattered?: boolean | undefined;
}

/** Options of {@link DmaSpace.alloc}. */
export interface AllocOptions extends MapOptions, BackingOptions {}

/** Options of {@link DmaSpace.mapDmaBuf}. */
export interface DmaBufOptions extends MapOptions {
  /** Offset in the dma-buf, page aligned; 0 by default. */
  readonly offset?: number | undefined;
  /** Length, whole pages; the rest of the dma-buf by default. */
  readonly sizeBytes?: number | undefined;
}

const mapOptions: readonly (keyof MapOptions)[] = [
  "iova",
  "access",
  "addressBits",
  "iovaAlignBytes",
  "scattered",
];
/** The names of {@link AllocOptions}. */
export const allocOptions: readonly (keyof AllocOptions)[] = [...mapOptions, ...backingOptions];
const dmaBufOptions: readonly (keyof DmaBufOptions)[] = [...mapOptions, "offset", "sizeBytes"];

/** Bytes that devices can reach: a buffer, or a view into one. */
export type DmaPart = DmaBuffer | NodeJS.ArrayBufferView;

/** Fewest address bits of a device: with fewer, the only page is page 0, which is never used. */
const MIN_ADDRESS_BITS = 13;
const MAX_ADDRESS_BITS = 64;

/** @throws ArgumentError @internal */
export function checkAddressBits(bits: number): number {
  return checkInteger("addressBits", bits, MIN_ADDRESS_BITS, MAX_ADDRESS_BITS);
}

/**
 * An I/O address space, which its devices access. Memory is mapped into it once and used many times. It works in the same
 * way on every backend.
 */
export class DmaSpace extends Resource {
  private readonly mapped: MappedIndex;
  /** Address bits of the narrowest device, if fewer than the IOMMU's. */
  private addressBits: number | undefined = undefined;
  /** What the devices of the space need; undefined before the first one said so. */
  private access: DmaAccess | undefined = undefined;

  /** @param mapper the backend: a class of this library, or your own */
  constructor(mapper: DmaMapper);
  /**
   * @param owned closed after this space; must not be above it
   * @internal
   */
  constructor(mapper: DmaMapper, owned: Resource | undefined);
  constructor(
    /** What maps memory for this space: the backend. Page tables of iommufd are at `PciDevice.pageTables`. */
    readonly mapper: DmaMapper,
    owned?: Resource,
  ) {
    checkMembers("mapper", mapper, "a DmaMapper", {
      ...({ name: "string", map: "function", unmap: "function" } as const),
      ...({ iovaRanges: "function", alignmentBytes: "function" } as const),
    });
    checkExtensions(mapper.extensions);
    const mapped = new MappedIndex();
    super({
      label: `DMA space (${mapper.name})`,
      release: mapper.extensions?.chooser?.track(mapped),
      parents: [mapper],
      owns: owned === undefined ? undefined : [owned],
    });
    mapped.of(this.lease);
    publishActivity();
    this.mapped = mapped;
    const page = activityPage();
    if (page !== undefined) keepShapes((none) => DmaSpace.specimen(none, page));
  }

  /** A buffer in a space of its own, for {@link keepShapes}. @param memory of this thread for ever */
  private static specimen(mapper: DmaMapper, memory: MappedMemory): DmaBuffer {
    const space = new DmaSpace(mapper);
    space.relinquish();
    // Small numbers, as of most buffers: V8 stores larger ones differently.
    const lease = new BufferLease(space.lease, space.mapped, mapper, memory, 1, 1, undefined, false);
    return new DmaBuffer(space, lease, "");
  }

  /** The backend's name: `iommufd`, `type1`, ... */
  get backend(): string {
    return this.mapper.name;
  }

  /** Ranges that can be mapped now, without reserved regions. @throws ClosedError, SysError */
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
   * A device with so few address bits is attached: from now on what is mapped without `addressBits` lies below 2^addressBits.
   * @internal
   */
  narrow(addressBits: number): void {
    this.addressBits = Math.min(addressBits, this.addressBits ?? addressBits);
  }

  /**
   * A device that needs this access is attached: from now on what is mapped without `access` grants what the devices need.
   * @internal
   */
  admit(access: DmaAccess): void {
    this.access = joinedAccess(this.access, access);
  }

  /** Options with the limits of the devices. */
  private limited<T extends MapOptions | undefined>(given: T): T {
    const addressBits = given?.addressBits ?? this.addressBits;
    const access = given?.access ?? this.access;
    // Read and write access to all addresses is the default, and the plain case makes no object.
    if (addressBits === given?.addressBits && (access === given?.access || access === "read-write"))
      return given;
    return { ...given, addressBits, access };
  }

  /**
   * Allocates zeroed memory and maps it for this space's devices. It is outside V8's heap and never moves.
   * @param sizeBytes any length above 0; whole pages are mapped
   * @throws ArgumentError, SysError (too few huge pages, ...), IovaSpaceError, MemlockError, UnsupportedError (no contiguous
   *   memory without an IOMMU); with nothing mapped or allocated
   */
  alloc(sizeBytes: number, given: AllocOptions = {}): DmaBuffer {
    this.lease.assertOpen();
    checkKeys("options", given, allocOptions);
    const options = this.limited(given);
    checkLength("sizeBytes", sizeBytes);
    const site = callSite(this.alloc);
    const { physicalSegments, files } = this.mapper.extensions ?? {};
    if (physicalSegments === undefined) {
      const buffer = this.allocShared(sizeBytes, options, site);
      if (buffer !== undefined) return buffer;
    } else if (options.pages === undefined && !options.scattered) {
      return this.allocContiguous(sizeBytes, options, site);
    }
    const shared = files?.mapsFilesOnly === true ? { ...options, shared: true } : options;
    return this.allocFrom(sizeBytes, shared, site);
  }

  /**
   * Maps the caller's memory. Closing the result unmaps it and keeps the memory. Closing the memory closes the result first.
   * A mapped BAR of another device works too (peer to peer).
   * @throws ArgumentError, SysError, IovaSpaceError, MemlockError; with nothing mapped
   */
  map(memory: MappedMemory, given?: MapOptions): DmaBuffer {
    this.lease.assertOpen();
    if (given !== undefined) checkKeys("options", given, mapOptions);
    const options = this.limited(given);
    if (!(memory instanceof MappedMemory)) {
      throw new ArgumentError(
        "only MappedMemory can be mapped, because the garbage collector may move or free other memory: " +
          "use alloc() or MappedMemory",
      );
    }
    memory.lease.assertOpen();
    return this.bufferOf(memory, memory.sizeBytes, false, options, callSite(this.map));
  }

  /**
   * Maps a dma-buf, without a view of it: memory of another device, exported by `exportDmaBuf` or in another process.
   * @param fd may be closed afterwards
   * @throws ArgumentError, IovaSpaceError, UnsupportedError (by the backend or the exporter), SysError (ENODEV: revoked)
   */
  mapDmaBuf(fd: number, given: DmaBufOptions = {}): DmaWindow {
    this.lease.assertOpen();
    checkKeys("options", given, dmaBufOptions);
    const options = this.limited(given);
    checkInteger("fd", fd, 0, 0x7fff_ffff);
    const site = callSite(this.mapDmaBuf);
    const { mapper } = this;
    const files = mapper.extensions?.files;
    if (files === undefined) {
      throw new UnsupportedError(
        `${mapper.name} can't map dma-bufs: map the device's BAR instead (device.mapRegion)`,
      );
    }
    const offset = checkOffset("offset", options.offset ?? 0);
    const sizeBytes = checkLength("sizeBytes", options.sizeBytes ?? fileEnd(fd) - offset);
    if (offset % PAGE_SIZE !== 0 || sizeBytes % PAGE_SIZE !== 0) {
      throw new ArgumentError(`a dma-buf is mapped in whole pages, not in ${sizeBytes} bytes at ${offset}`);
    }
    const { fixed, access, placement } = placementOf(options, sizeBytes);
    const at = files.mapFile(fd, offset, sizeBytes, access, fixed, placement);
    const iovaPage = pageOfIova(at);
    traceMap(mapper, iovaPage, sizeBytes, access, undefined);
    try {
      return new DmaWindow(this, new WindowLease(this.lease, this.mapped, mapper, iovaPage, sizeBytes), site);
    } catch (error) {
      mapper.unmap(at, sizeBytes);
      traceUnmap(mapper, iovaPage, sizeBytes);
      throw error;
    }
  }

  /**
   * I/O virtual address of a view into one of this space's buffers: `buffer.bytes`, `buffer.view()`, or a typed array of
   * them. The cost is logarithmic in the number of buffers. If memory is mapped several times, the newest mapping counts.
   * @throws ArgumentError if the view isn't inside a buffer of this space, or scattered (see {@link segments}); ClosedError
   */
  translate(view: NodeJS.ArrayBufferView): Iova {
    const { at, offset } = this.find(view);
    if (at.segments === undefined) return (iovaOfPage(at.iovaPage) + BigInt(offset)) as Iova;
    const [segment, ...more] = this.segments(view);
    if (segment === undefined || more.length > 0) {
      throw new ArgumentError("the view's memory is physically scattered: use segments()");
    }
    return segment.iova;
  }

  /**
   * Scatter-gather list of the parts, in order. Adjacent parts become one segment.
   * @throws ArgumentError if a part isn't inside a buffer of this space; ClosedError
   */
  segments(...parts: readonly DmaPart[]): DmaSegment[] {
    const segments: DmaSegment[] = [];
    for (const part of parts) {
      if (part instanceof DmaBuffer) {
        if (part.space !== this) throw new ArgumentError(`${part.lease.label} belongs to another DMA space`);
        part.lease.assertOpen();
        append(segments, part.segments);
      } else if (!ArrayBuffer.isView(part) || part.byteLength > 0) {
        const { at, offset } = this.find(part);
        const whole = at.segments ?? [{ iova: iovaOfPage(at.iovaPage), sizeBytes: at.mappedBytes }];
        append(segments, cutSegments(whole, offset, part.byteLength));
      }
    }
    return joinSegments(segments);
  }

  private find(view: NodeJS.ArrayBufferView): { at: MemoryRecord; offset: number } {
    this.lease.assertOpen();
    const address = ArrayBuffer.isView(view) ? mappedAddressOf(view) : undefined;
    if (address === undefined) {
      throw new ArgumentError(
        "devices can't reach this view: it must be a view into a buffer of this DMA space",
      );
    }
    const at = this.mapped.floor(address);
    const offset = address - (at?.memory.address ?? 0);
    if (at === undefined || offset + view.byteLength > at.mappedBytes) {
      throw new ArgumentError("the view must be inside an open buffer of this DMA space");
    }
    return { at, offset };
  }

  /** @returns undefined if the buffer needs a mapping of its own */
  private allocShared(sizeBytes: number, options: AllocOptions, site: string): DmaBuffer | undefined {
    const { buffers } = this.mapper.extensions ?? {};
    if (buffers === undefined || !isOrdinary(options)) return undefined;
    const { fixed, access, placement } = placementOf(options, sizeBytes);
    const taken = buffers.take(sizeBytes, access, fixed, placement ?? {});
    if (taken === undefined) return undefined;
    const { memory, iova: at } = taken;
    if (options.populate === true) memory.bytes.fill(0);
    try {
      return this.bufferAt(pageOfIova(at), memory, sizeBytes, true, options, site);
    } catch (error) {
      memory.close();
      throw error;
    }
  }

  private allocFrom(sizeBytes: number, options: AllocOptions, site: string): DmaBuffer {
    const memory = allocateMemory(sizeBytes, options);
    try {
      return this.bufferOf(memory, sizeBytes, true, options, site);
    } catch (error) {
      memory.close();
      throw error;
    }
  }

  /**
   * Tries kinds of pages until the memory is contiguous, which one huge page always is.
   * @throws what the smallest huge page threw that the memory fits in, and otherwise what the last kind did
   */
  private allocContiguous(sizeBytes: number, options: AllocOptions, site: string): DmaBuffer {
    const by = (pages: PageChoice) => (): DmaBuffer =>
      this.allocFrom(sizeBytes, { ...options, pages, lock: true, populate: true }, site);
    const small = sizeBytes > PAGE_SIZE ? [by("base"), by("transparent")] : [by("base")];
    // Buffers share huge pages where nothing special is asked for.
    const shared = (): DmaBuffer | undefined => this.allocShared(sizeBytes, options, site);
    const alone = HUGE_PAGE_SIZES.filter((pageBytes) => sizeBytes <= pageBytes).map(by);
    const huge = isOrdinary(options) && this.mapper.extensions?.buffers !== undefined ? [shared] : alone;
    let failure: unknown;
    for (const [i, attempt] of [...small, ...huge].entries()) {
      try {
        const buffer = attempt();
        if (buffer !== undefined) return buffer;
      } catch (error) {
        if (error instanceof ArgumentError || error instanceof IovaSpaceError) throw error;
        if (i <= small.length) failure = error;
      }
    }
    throw failure;
  }

  private bufferOf(
    memory: MappedMemory,
    sizeBytes: number,
    ownsMemory: boolean,
    options: MapOptions | undefined,
    site: string,
  ): DmaBuffer {
    return this.bufferAt(this.mapRange(memory, options), memory, sizeBytes, ownsMemory, options, site);
  }

  /** Creates the buffer of mapped memory; unmaps the memory if that fails. */
  private bufferAt(
    iovaPage: number,
    memory: MappedMemory,
    sizeBytes: number,
    ownsMemory: boolean,
    options: MapOptions | undefined,
    site: string,
  ): DmaBuffer {
    const { mapper, mapped } = this;
    traceMap(mapper, iovaPage, memory.sizeBytes, options?.access ?? "read-write", memory.address);
    try {
      const segments =
        mapper.extensions?.physicalSegments === undefined
          ? undefined
          : this.segmentsOf(memory, iovaPage, sizeBytes, options);
      const lease = new BufferLease(
        this.lease,
        mapped,
        mapper,
        memory,
        iovaPage,
        sizeBytes,
        segments,
        ownsMemory,
      );
      return new DmaBuffer(this, lease, site);
    } catch (error) {
      mapper.unmap(iovaOfPage(iovaPage), memory.sizeBytes);
      traceUnmap(mapper, iovaPage, memory.sizeBytes);
      throw error;
    }
  }

  private segmentsOf(
    memory: MappedMemory,
    iovaPage: number,
    sizeBytes: number,
    options: MapOptions | undefined,
  ): [DmaSegment, ...DmaSegment[]] | undefined {
    const { mapper } = this;
    const [first, ...more] =
      mapper.extensions?.physicalSegments?.(memory.address, iovaOfPage(iovaPage), memory.sizeBytes) ?? [];
    if (first === undefined) return undefined;
    if (first.sizeBytes < sizeBytes && options?.scattered !== true) {
      throw new UnsupportedError(
        `${sizeBytes} bytes have ${1 + more.length} physical segments, and ${mapper.name} doesn't translate addresses: ` +
          "use huge pages (pages: 2 MiB), or scattered: true and buffer.segments",
      );
    }
    return [first, ...more];
  }

  /** @returns the address in IOVA_PAGEs */
  private mapRange(memory: MappedMemory, options: MapOptions | undefined): number {
    const { mapper } = this;
    memory.assertUsable();
    // The kernel doesn't pin a device's registers, and doesn't count them.
    const counted = memory.backing.kind !== "device";
    if (counted) assertMemlock(memory.sizeBytes, mapper);
    try {
      const pages = mapper.extensions?.pages;
      return options === undefined && memory.source === undefined && pages !== undefined
        ? pages.mapPages(memory.address, memory.sizeBytes, "read-write")
        : pageOfIova(this.mapPlaced(memory, options ?? {}, counted));
    } catch (cause) {
      const error = explain(cause, memory, mapper);
      noteError(this.lease.label, error);
      throw error;
    }
  }

  private mapPlaced(memory: MappedMemory, options: MapOptions, counted: boolean): Iova {
    const { mapper } = this;
    const { sizeBytes, source } = memory;
    const { fixed, access, placement } = placementOf(options, sizeBytes);
    const byAddress = (): Iova => mapper.map(memory.address, sizeBytes, access, fixed, placement);
    const files = mapper.extensions?.files;
    if (source === undefined || files === undefined) return byAddress();
    try {
      return source.withFile((fd, offset) => files.mapFile(fd, offset, sizeBytes, access, fixed, placement));
    } catch (error) {
      // iommufd maps files since Linux 6.13. Memory, unlike registers, can be mapped by address instead.
      if (counted && !files.mapsFilesOnly && error instanceof UnsupportedError) return byAddress();
      throw error;
    }
  }
}

/** Whether the options allow any zeroed pages. */
function isOrdinary({
  pages = "base",
  shared,
  alignBytes = PAGE_SIZE,
  numaNode,
  lock,
}: AllocOptions): boolean {
  const isPlain = pages === "base" && shared !== true && numaNode === undefined && lock !== true;
  return isPlain && (alignBytes === 1 || alignBytes === PAGE_SIZE);
}

/** @throws ArgumentError */
function placementOf(
  options: MapOptions,
  sizeBytes: number,
): { fixed: bigint | undefined; access: DmaAccess; placement: IovaPlacement | undefined } {
  const { addressBits, iovaAlignBytes } = options;
  const access = checkAccess(options.access ?? "read-write");
  const fixed = options.iova === undefined ? undefined : iova(options.iova);
  const unit = BigInt(PAGE_SIZE);
  if (fixed !== undefined && fixed % unit !== 0n) {
    throw new ArgumentError(`iova 0x${fixed.toString(16)} is not a multiple of the page size ${PAGE_SIZE}`);
  }
  if (addressBits === undefined && iovaAlignBytes === undefined)
    return { fixed, access, placement: undefined };
  const bits = checkAddressBits(addressBits ?? 64);
  const last = (1n << BigInt(bits)) - 1n;
  const alignBytes = checkPowerOfTwo("iovaAlignBytes", iovaAlignBytes ?? PAGE_SIZE, 1, 2 ** 52);
  if (fixed !== undefined) {
    if (fixed % BigInt(alignBytes) !== 0n) {
      throw new ArgumentError(`iova 0x${fixed.toString(16)} is not a multiple of ${alignBytes}`);
    }
    if (fixed + BigInt(sizeBytes) - 1n > last) {
      throw new IovaSpaceError(
        "reserved",
        `${sizeBytes} bytes at iova 0x${fixed.toString(16)} exceed the device's ${bits} address bits`,
      );
    }
  }
  const placement = { alignBytes, ...(bits < 64 ? { last } : {}) };
  return { fixed, access, placement };
}

/** Adds the reason if the errno of a mapping is ambiguous. */
function explain(error: unknown, memory: MappedMemory, mapper: DmaMapper): unknown {
  if (!(error instanceof SysError)) return error;
  if (error.code === "ENOMEM") return memlockErrorOf(error, memory.sizeBytes, mapper) ?? error;
  if (error.code === "EFAULT" && memory.backing.kind === "file") {
    return error.with({
      hint: 'devices can\'t write to files of most file systems: use a file on tmpfs or hugetlbfs, or access: "read"',
    });
  }
  return error;
}
