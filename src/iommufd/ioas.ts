/** I/O address spaces (IOMMU_IOAS_ALLOC and the requests on them). */
import { checkArray, checkKeys, checkLength, checkObject, checkOffset, checkU64 } from "../core/check.js";
import { Errno } from "../core/errno.js";
import { ArgumentError, SysError } from "../core/errors.js";
import { checkLeased } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import { loadU64, storeU64 } from "../core/struct.js";
import { checkAccess, type DmaAccess } from "../dma/access.js";
import {
  highOfPage,
  type Iova,
  type IovaRange,
  iova,
  iovaOfPage,
  lowOfPage,
  pageOfHalves,
} from "../dma/iova/address.js";
import { type IoctlRequest, PreparedIoctl, tryIoctl, tryIoctlAsync } from "../sys/ioctl.js";
import { addressOf, keepAlive } from "../sys/libc.js";
import { call, callError } from "./call.js";
import { destroying } from "./destroy.js";
import type { BoundDevice } from "./device-ref.js";
import { PagingHwpt, type PagingHwptOptions } from "./hwpt.js";
import type { Iommufd } from "./iommufd.js";
import {
  IOMMU_IOAS_ALLOC,
  IOMMU_IOAS_ALLOW_IOVAS,
  IOMMU_IOAS_COPY,
  IOMMU_IOAS_IOVA_RANGES,
  IOMMU_IOAS_MAP,
  IOMMU_IOAS_MAP_FILE,
  IOMMU_IOAS_MAP_FIXED_IOVA,
  IOMMU_IOAS_MAP_READABLE,
  IOMMU_IOAS_MAP_WRITEABLE,
  IOMMU_IOAS_NOIOMMU_GET_PA,
  IOMMU_IOAS_UNMAP,
  IOMMU_OPTION_HUGE_PAGES,
  IOMMU_OPTION_OP_GET,
  IOMMU_OPTION_OP_SET,
  iommu_ioas_alloc,
  iommu_ioas_allow_iovas,
  iommu_ioas_copy,
  iommu_ioas_iova_ranges,
  iommu_ioas_map,
  iommu_ioas_map_file,
  iommu_ioas_noiommu_get_pa,
  iommu_ioas_unmap,
  iommu_iova_range,
} from "./uapi.js";

/** A range of this process's memory, such as a `MappedMemory`. */
export interface UserRange {
  /** Virtual address. */
  readonly address: number;
  /** Length in bytes. */
  readonly sizeBytes: number;
}

/** Options of the mapping calls of {@link Ioas}. */
export interface IoasMapOptions {
  /** Fixed I/O virtual address; the kernel chooses by default. */
  readonly iova?: bigint | undefined;
  /** Access right of devices; `read-write` by default. */
  readonly access?: DmaAccess | undefined;
}

/** Ranges that an IOAS can map now (IOMMU_IOAS_IOVA_RANGES). */
export interface IoasIovaRanges {
  /** The usable ranges, ascending; they include `last`. */
  readonly ranges: IovaRange[];
  /** Addresses and lengths of mappings are multiples of this many bytes. */
  readonly alignmentBytes: number;
}

const ALL = 0xffff_ffff_ffff_ffffn;

// Positions of the variable fields in the prepared requests: in 32-bit words, and of the I/O virtual address, a bigint, in
// 64-bit words.
const MAP = iommu_ioas_map.words;
const MAP_IOVA = iommu_ioas_map.offsets.iova / 8;
const UNMAP_IOVA = iommu_ioas_unmap.offsets.iova / 8;
const UNMAP_LENGTH = iommu_ioas_unmap.words.length;

/** An I/O address space (IOAS): mappings that all attached devices share. */
export class Ioas extends Resource {
  // Prepared once, because map and unmap are frequent.
  private readonly mapRequest: PreparedIoctl;
  private readonly unmapRequest: PreparedIoctl;
  /** What {@link allowIovas} set last; empty: everything. */
  private allowed: readonly IovaRange[] = [];

  private constructor(
    /** The iommufd of this object. */
    readonly iommufd: Iommufd,
    /** The kernel's id, unique in its iommufd. */
    readonly id: number,
    /** Whether close() destroys it: this object has allocated it. */
    isOwn: boolean,
  ) {
    const { fd } = iommufd;
    const label = `ioas ${id} of ${iommufd.lease.label}`;
    super({ label, release: isOwn ? destroying(fd, id, label) : undefined, parents: [iommufd] });
    this.mapRequest = new PreparedIoctl(IOMMU_IOAS_MAP, iommu_ioas_map.encode({ ioas_id: id }));
    this.unmapRequest = new PreparedIoctl(IOMMU_IOAS_UNMAP, iommu_ioas_unmap.encode({ ioas_id: id }));
  }

  /**
   * See {@link Iommufd.allocIoas}.
   * @internal
   */
  static alloc(iommufd: Iommufd): Ioas {
    const request = iommu_ioas_alloc.encode({});
    call(iommufd.fd, IOMMU_IOAS_ALLOC, request, { object: iommufd.lease.label });
    return new Ioas(iommufd, iommu_ioas_alloc.decode(request).out_ioas_id, true);
  }

  /**
   * See {@link Iommufd.ioas}.
   * @internal
   */
  static borrow(iommufd: Iommufd, id: number): Ioas {
    const ioas = new Ioas(iommufd, id, false);
    try {
      // The kernel doesn't report an object's type, but rejects requests for other types.
      ioas.iovaRanges();
    } catch (error) {
      ioas.close();
      if (!(error instanceof SysError) || error.errno !== Errno.ENOENT) throw error;
      throw new ArgumentError(`${iommufd.lease.label} has no IOAS ${id}`, { cause: error });
    }
    return ioas;
  }

  /**
   * IOMMU_IOAS_IOVA_RANGES. Attaching a device reduces the ranges and may raise the alignment: call this again then.
   * @throws ClosedError, SysError
   */
  iovaRanges(): IoasIovaRanges {
    this.lease.assertOpen();
    let room = 8;
    for (;;) {
      const array = new Uint8Array(room * iommu_iova_range.sizeBytes);
      const request = iommu_ioas_iova_ranges.encode({
        ioas_id: this.id,
        num_iovas: room,
        allowed_iovas: BigInt(addressOf(array)),
      });
      const result = tryIoctl(this.iommufd.fd, IOMMU_IOAS_IOVA_RANGES, request);
      const answer = iommu_ioas_iova_ranges.decode(request);
      if (result === -Errno.EMSGSIZE) {
        // The number can grow again between two calls.
        room = answer.num_iovas + 4;
        continue;
      }
      if (result < 0) throw callError(IOMMU_IOAS_IOVA_RANGES, result, { object: this.lease.label });
      const ranges = Array.from({ length: answer.num_iovas }, (_, i) => {
        const range = iommu_iova_range.decode(array, i * iommu_iova_range.sizeBytes);
        return { start: iova(range.start), last: iova(range.last) };
      });
      return { ranges, alignmentBytes: Number(answer.out_iova_alignment) };
    }
  }

  /**
   * IOMMU_IOAS_ALLOW_IOVAS: restricts the kernel's choice of addresses to `ranges`, and that of a DmaSpace, but not fixed
   * addresses. Later attachments can't reduce these ranges. An empty list lifts the restriction.
   * @throws ClosedError, SysError: EADDRINUSE if a range is reserved
   */
  allowIovas(ranges: readonly { readonly start: bigint; readonly last: bigint }[]): void {
    this.lease.assertOpen();
    checkArray("ranges", ranges);
    for (const range of ranges) checkObject("range", range);
    const array = new Uint8Array(Math.max(1, ranges.length) * iommu_iova_range.sizeBytes);
    ranges.forEach(({ start, last }, i) => {
      array.set(iommu_iova_range.encode({ start, last }), i * iommu_iova_range.sizeBytes);
    });
    const request = iommu_ioas_allow_iovas.encode({
      ioas_id: this.id,
      num_iovas: ranges.length,
      allowed_iovas: BigInt(addressOf(array)),
    });
    call(this.iommufd.fd, IOMMU_IOAS_ALLOW_IOVAS, request, { object: this.lease.label });
    keepAlive(array);
    this.allowed = ranges.map(({ start, last }) => ({ start: iova(start), last: iova(last) }));
  }

  /**
   * The ranges of the last {@link allowIovas}: the same list until the next one. Empty: everything is allowed.
   * @internal
   */
  get allowedIovas(): readonly IovaRange[] {
    return this.allowed;
  }

  /**
   * IOMMU_IOAS_MAP. The mapping isn't tied to the memory's lifetime (DmaSpace does that). The kernel pins the pages when a
   * device is attached.
   * @returns the I/O virtual address
   * @throws ArgumentError, ClosedError, SysError: EEXIST (fixed and taken), EINVAL (misaligned or reserved), EFAULT,
   *   ENOMEM (memlock limit), ENOSPC
   */
  map(memory: UserRange, options: IoasMapOptions = {}): Iova {
    this.lease.assertOpen();
    checkObject("memory", memory);
    checkKeys("options", options, ["iova", "access"]);
    checkOffset("address", memory.address);
    checkLength("sizeBytes", memory.sizeBytes);
    const fixed = options.iova;
    const { words, quads } = this.mapRequest;
    words[MAP.flags] = mapFlags(options.access, fixed);
    storeU64(words, MAP.user_va, memory.address);
    storeU64(words, MAP.length, memory.sizeBytes);
    quads[MAP_IOVA] = fixed === undefined ? 0n : checkU64("iova", fixed);
    const result = this.mapRequest.call(this.iommufd.fd);
    if (result < 0) throw this.mapError(IOMMU_IOAS_MAP, result, memory.sizeBytes, fixed);
    return (quads[MAP_IOVA] ?? 0n) as Iova;
  }

  /**
   * {@link map} without checks, at an address of the kernel's choice, counted in IOVA_PAGEs; not for users.
   * @throws ClosedError, SysError
   */
  mapPages(address: number, sizeBytes: number, access: DmaAccess): number {
    this.lease.assertOpen();
    const { words } = this.mapRequest;
    words[MAP.flags] = mapFlags(access, undefined);
    storeU64(words, MAP.user_va, address);
    storeU64(words, MAP.length, sizeBytes);
    words[MAP.iova] = 0;
    words[MAP.iova + 1] = 0;
    const result = this.mapRequest.call(this.iommufd.fd);
    if (result < 0) throw this.mapError(IOMMU_IOAS_MAP, result, sizeBytes, undefined);
    return pageOfHalves(words[MAP.iova] ?? 0, words[MAP.iova + 1] ?? 0);
  }

  /** {@link map} without checks, at a fixed address that is counted in IOVA_PAGEs; not for users. @throws as map() */
  mapPagesAt(iovaPage: number, address: number, sizeBytes: number, access: DmaAccess): void {
    this.lease.assertOpen();
    const { words } = this.mapRequest;
    words[MAP.flags] = mapFlags(access, 0n);
    storeU64(words, MAP.user_va, address);
    storeU64(words, MAP.length, sizeBytes);
    words[MAP.iova] = lowOfPage(iovaPage);
    words[MAP.iova + 1] = highOfPage(iovaPage);
    const result = this.mapRequest.call(this.iommufd.fd);
    if (result < 0) throw this.mapError(IOMMU_IOAS_MAP, result, sizeBytes, iovaOfPage(iovaPage));
  }

  /** {@link unmap} of one {@link mapPages}. @throws ClosedError, SysError */
  unmapPages(iovaPage: number, sizeBytes: number): void {
    this.lease.assertOpen();
    const { words } = this.unmapRequest;
    storeU64(words, UNMAP_LENGTH, sizeBytes);
    words[UNMAP_IOVA * 2] = lowOfPage(iovaPage);
    words[UNMAP_IOVA * 2 + 1] = highOfPage(iovaPage);
    const result = this.unmapRequest.call(this.iommufd.fd);
    if (result < 0) throw this.unmapError(result, iovaOfPage(iovaPage));
  }

  /**
   * {@link map} off the JavaScript thread: pinning gigabytes takes seconds. The memory must stay open until then.
   * @throws as map(), as a rejection
   */
  async mapAsync(memory: UserRange, options: IoasMapOptions = {}): Promise<Iova> {
    this.lease.assertOpen();
    checkObject("memory", memory);
    checkKeys("options", options, ["iova", "access"]);
    checkOffset("address", memory.address);
    checkLength("sizeBytes", memory.sizeBytes);
    const fixed = options.iova;
    const request = iommu_ioas_map.encode({
      flags: mapFlags(options.access, fixed),
      ioas_id: this.id,
      user_va: BigInt(memory.address),
      length: BigInt(memory.sizeBytes),
      iova: fixed ?? 0n,
    });
    const result = await this.lease.during("a mapping under way", () =>
      tryIoctlAsync(this.iommufd.fd, IOMMU_IOAS_MAP, request),
    );
    if (result < 0) throw this.mapError(IOMMU_IOAS_MAP, result, memory.sizeBytes, fixed);
    return iova(iommu_ioas_map.get(request, "iova"));
  }

  /**
   * IOMMU_IOAS_MAP_FILE: maps [start, start + sizeBytes) of a memfd or of a dma-buf that vfio-pci exported.
   * @throws ArgumentError, ClosedError, SysError as {@link map}, and EBADF, EINVAL (no such file, or too short)
   */
  mapFile(fd: number, start: number, sizeBytes: number, options: IoasMapOptions = {}): Iova {
    this.lease.assertOpen();
    checkOffset("start", start);
    checkLength("sizeBytes", sizeBytes);
    checkKeys("options", options, ["iova", "access"]);
    const fixed = options.iova;
    const request = iommu_ioas_map_file.encode({
      flags: mapFlags(options.access, fixed),
      ioas_id: this.id,
      fd,
      start: BigInt(start),
      length: BigInt(sizeBytes),
      iova: fixed ?? 0n,
    });
    const result = tryIoctl(this.iommufd.fd, IOMMU_IOAS_MAP_FILE, request);
    if (result < 0) throw this.mapError(IOMMU_IOAS_MAP_FILE, result, sizeBytes, fixed);
    return iova(iommu_ioas_map_file.decode(request).iova);
  }

  /**
   * IOMMU_IOAS_COPY: maps the memory that `source` maps at [sourceIova, + sizeBytes). The pages are pinned and charged once.
   * @throws ArgumentError (an IOAS of another iommufd), ClosedError, SysError: ENOENT if the range isn't completely mapped,
   *   EPERM for write access to memory that is mapped for reading
   */
  copyFrom(source: Ioas, sourceIova: bigint, sizeBytes: number, options: IoasMapOptions = {}): Iova {
    this.lease.assertOpen();
    checkLeased("source", source, "an Ioas", { id: "number" });
    source.lease.assertOpen();
    if (source.iommufd !== this.iommufd)
      throw new ArgumentError("both address spaces must belong to the same iommufd");
    checkLength("sizeBytes", sizeBytes);
    checkKeys("options", options, ["iova", "access"]);
    const fixed = options.iova;
    const request = iommu_ioas_copy.encode({
      flags: mapFlags(options.access, fixed),
      dst_ioas_id: this.id,
      src_ioas_id: source.id,
      length: BigInt(sizeBytes),
      dst_iova: fixed ?? 0n,
      src_iova: checkU64("sourceIova", sourceIova),
    });
    const result = tryIoctl(this.iommufd.fd, IOMMU_IOAS_COPY, request);
    if (result < 0) throw this.mapError(IOMMU_IOAS_COPY, result, sizeBytes, fixed);
    return iova(iommu_ioas_copy.decode(request).dst_iova);
  }

  /**
   * IOMMU_IOAS_UNMAP: removes all mappings in [at, at + sizeBytes).
   * @returns bytes unmapped
   * @throws ClosedError, SysError: ENOENT if nothing is mapped, or a mapping lies only partly in the range
   */
  unmap(at: bigint, sizeBytes: number): number {
    this.lease.assertOpen();
    checkLength("sizeBytes", sizeBytes);
    const { words } = this.unmapRequest;
    storeU64(words, UNMAP_LENGTH, sizeBytes);
    this.unmapFrom(at);
    return loadU64(words, UNMAP_LENGTH);
  }

  /** {@link unmap} off the JavaScript thread. @throws as unmap(), as a rejection */
  async unmapAsync(at: bigint, sizeBytes: number): Promise<number> {
    this.lease.assertOpen();
    const request = iommu_ioas_unmap.encode({
      ioas_id: this.id,
      iova: checkU64("iova", at),
      length: BigInt(checkLength("sizeBytes", sizeBytes)),
    });
    const result = await this.lease.during("an unmapping under way", () =>
      tryIoctlAsync(this.iommufd.fd, IOMMU_IOAS_UNMAP, request),
    );
    if (result < 0) throw this.unmapError(result, at);
    return Number(iommu_ioas_unmap.get(request, "length"));
  }

  /** Removes all mappings. @returns bytes unmapped @throws ClosedError, SysError */
  unmapAll(): bigint {
    this.lease.assertOpen();
    const { quads } = this.unmapRequest;
    quads[UNMAP_LENGTH / 2] = ALL;
    this.unmapFrom(0n);
    return quads[UNMAP_LENGTH / 2] ?? 0n;
  }

  /**
   * IOMMU_HWPT_ALLOC: a page table of this address space for the IOMMU of `device`. If a device is attached to the address
   * space itself, the kernel allocates a plain one.
   * @throws ArgumentError (bound elsewhere), ClosedError, UnsupportedError, SysError: EOPNOTSUPP if the IOMMU lacks an
   *   option, EADDRINUSE if it can't translate a mapping, EFAULT or ENOMEM if one can't be pinned
   */
  allocHwpt(device: BoundDevice, options: PagingHwptOptions = {}): PagingHwpt {
    this.lease.assertOpen();
    return PagingHwpt.alloc(this, device, options);
  }

  /**
   * IOMMU_IOAS_NOIOMMU_GET_PA: physical address of mapped memory, for devices without an IOMMU.
   * @returns the physical address, and the number of contiguous bytes (at most `sizeBytes`)
   * @throws ArgumentError, ClosedError, UnsupportedError, SysError: EPERM without CAP_SYS_RAWIO, ENOENT (unmapped),
   *   EOPNOTSUPP if an IOMMU translates
   */
  noiommuPhysicalAddress(
    at: bigint,
    sizeBytes: number,
  ): {
    /** Physical address of the first byte. */
    physicalAddress: bigint;
    /** Number of contiguous bytes from there, at most the requested number. */
    sizeBytes: number;
  } {
    this.lease.assertOpen();
    const request = iommu_ioas_noiommu_get_pa.encode({
      ioas_id: this.id,
      iova: checkU64("iova", at),
      length: BigInt(checkLength("sizeBytes", sizeBytes)),
    });
    call(this.iommufd.fd, IOMMU_IOAS_NOIOMMU_GET_PA, request, { object: this.lease.label });
    const { out_phys, length } = iommu_ioas_noiommu_get_pa.decode(request);
    return { physicalAddress: out_phys, sizeBytes: Number(length) };
  }

  /** IOMMU_OPTION_HUGE_PAGES: whether the IOMMU's page tables may use large pages. @throws ClosedError, SysError */
  get hugePages(): boolean {
    this.lease.assertOpen();
    return this.iommufd.option(IOMMU_OPTION_OP_GET, IOMMU_OPTION_HUGE_PAGES, this.id, 0n) === 1n;
  }

  /** @throws SysError: EINVAL if devices and mappings exist, EADDRINUSE if a mapping is not page aligned */
  set hugePages(allowed: boolean) {
    this.lease.assertOpen();
    this.iommufd.option(IOMMU_OPTION_OP_SET, IOMMU_OPTION_HUGE_PAGES, this.id, allowed ? 1n : 0n);
  }

  /** The caller has set the request's length. The kernel replaces it with the number of unmapped bytes. */
  private unmapFrom(at: bigint): void {
    this.unmapRequest.quads[UNMAP_IOVA] = checkU64("iova", at);
    const result = this.unmapRequest.call(this.iommufd.fd);
    if (result < 0) throw this.unmapError(result, at);
  }

  private unmapError(result: number, at: bigint): Error {
    return callError(IOMMU_IOAS_UNMAP, result, { object: `${this.lease.label} at 0x${at.toString(16)}` });
  }

  private mapError(
    request: IoctlRequest,
    result: number,
    sizeBytes: number,
    fixed: bigint | undefined,
  ): Error {
    const where = fixed === undefined ? "" : ` at iova 0x${fixed.toString(16)}`;
    const object = `${this.lease.label}: ${sizeBytes} bytes${where}`;
    return callError(request, result, { object });
  }
}

function mapFlags(access: DmaAccess = "read-write", fixed: bigint | undefined): number {
  checkAccess(access);
  return (
    (fixed === undefined ? 0 : IOMMU_IOAS_MAP_FIXED_IOVA) |
    (access === "read" ? 0 : IOMMU_IOAS_MAP_WRITEABLE) |
    (access === "write" ? 0 : IOMMU_IOAS_MAP_READABLE)
  );
}
