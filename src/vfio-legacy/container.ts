/** VFIO containers: type1 address spaces. */
import {
  checkInteger,
  checkLength,
  checkOffset,
  checkString,
  checkU32,
  checkU64,
  lookUp,
} from "../core/check.js";
import { Errno, errnoName } from "../core/errno.js";
import { ArgumentError, StateError, SysError, UnsupportedError } from "../core/errors.js";
import { NODE_PERMISSION } from "../core/hints.js";
import { checkLeased, Lease } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import { loadU64, storeU64 } from "../core/struct.js";
import { checkAccess, type DmaAccess } from "../dma/access.js";
import { DirtyBitmap } from "../dma/dirty-bitmap.js";
import { highOfPage, type IovaRange, iova, iovaOfPage, lowOfPage } from "../dma/iova/address.js";
import { ioctl, ioctlWithNumber, PreparedIoctl, tryIoctl, tryIoctlAsync } from "../sys/ioctl.js";
import { addressOf } from "../sys/libc.js";
import { closing, O_RDWR, open } from "../sys/syscalls.js";
import { capabilityChain } from "../vfio/capability-chain.js";
import type { BindTarget } from "../vfio/device.js";
import {
  VFIO_API_VERSION,
  VFIO_CHECK_EXTENSION,
  VFIO_DMA_MAP_FLAG_READ,
  VFIO_DMA_MAP_FLAG_VADDR,
  VFIO_DMA_MAP_FLAG_WRITE,
  VFIO_DMA_UNMAP_FLAG_ALL,
  VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
  VFIO_DMA_UNMAP_FLAG_VADDR,
  VFIO_GET_API_VERSION,
  VFIO_IOMMU_DIRTY_PAGES,
  VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
  VFIO_IOMMU_DIRTY_PAGES_FLAG_START,
  VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP,
  VFIO_IOMMU_GET_INFO,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE,
  VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION,
  VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL,
  VFIO_IOMMU_UNMAP_DMA,
  VFIO_NOIOMMU_IOMMU,
  VFIO_SET_IOMMU,
  VFIO_TYPE1_IOMMU,
  VFIO_TYPE1v2_IOMMU,
  VFIO_UNMAP_ALL,
  VFIO_UPDATE_VADDR,
  vfio_bitmap,
  vfio_iommu_type1_dirty_bitmap,
  vfio_iommu_type1_dirty_bitmap_get,
  vfio_iommu_type1_dma_map,
  vfio_iommu_type1_dma_unmap,
  vfio_iommu_type1_info,
  vfio_iommu_type1_info_cap_iova_range,
  vfio_iommu_type1_info_cap_migration,
  vfio_iommu_type1_info_dma_avail,
  vfio_iova_range,
} from "./uapi.js";

export const CONTAINER_PATH = "/dev/vfio/vfio";

/**
 * The IOMMU drivers of a container. With v2, an unmap never splits a mapping; with v1 it can. `noiommu` maps nothing: the
 * device can access all of physical memory. It needs CAP_SYS_RAWIO.
 */
export type IommuType = "type1v2" | "type1" | "noiommu";

const iommuTypes: Readonly<Record<IommuType, number>> = {
  type1v2: VFIO_TYPE1v2_IOMMU,
  type1: VFIO_TYPE1_IOMMU,
  noiommu: VFIO_NOIOMMU_IOMMU,
};

/** VFIO_IOMMU_GET_INFO with its capabilities. */
export interface Type1Info {
  /** Page sizes of the IOMMU, one bit each. */
  readonly pageSizes: bigint;
  /** The addresses that can be mapped, without reserved regions; all addresses if the kernel doesn't say. */
  readonly iovaRanges: IovaRange[];
  /** How many more mappings the kernel allows (dma_entry_limit); undefined if it doesn't say. */
  readonly dmaAvailable: number | undefined;
  /** Dirty page tracking; undefined if there is none. */
  readonly migration:
    | {
        /** Page sizes that dirty pages can be reported in, one bit each. */
        readonly pageSizes: bigint;
        /** Longest bitmap that one request can return, in bytes. */
        readonly maxDirtyBitmapBytes: bigint;
      }
    | undefined;
}

const openHints: Readonly<Record<string, string>> = {
  ENOENT: "this kernel has no VFIO container: CONFIG_VFIO_CONTAINER is off or the vfio module is not loaded",
  EACCES: NODE_PERMISSION,
  ENODEV: "the vfio module is not loaded",
};

// Offsets of the fields that change in the prepared requests.
const MAP = vfio_iommu_type1_dma_map.words;
const MAP_IOVA = vfio_iommu_type1_dma_map.offsets.iova / 8;
const UNMAP = vfio_iommu_type1_dma_unmap.words;
const UNMAP_IOVA = vfio_iommu_type1_dma_unmap.offsets.iova / 8;

/** State that a container shares with its groups. They may outlive the VfioContainer, so this doesn't refer to it. */
export interface Occupancy {
  groups: number;
  /**
   * Lifetime of the IOMMU: from setIommu() until the last group leaves. The kernel then drops it and all mappings. Mappings
   * are its children.
   */
  iommu: Lease | undefined;
}

/** An open /dev/vfio/vfio: the address space of the groups in it. */
export class VfioContainer extends Resource {
  /** The descriptor; owned by this object. */
  readonly fd: number;
  /** Not part of the public API. */
  readonly occupancy: Occupancy = { groups: 0, iommu: undefined };
  private type: IommuType | undefined;
  // Made once: map and unmap are frequent.
  private readonly mapRequest = new PreparedIoctl(VFIO_IOMMU_MAP_DMA, vfio_iommu_type1_dma_map.encode({}));
  private readonly unmapRequest = new PreparedIoctl(
    VFIO_IOMMU_UNMAP_DMA,
    vfio_iommu_type1_dma_unmap.encode({}),
  );

  private constructor(fd: number, lease: Lease) {
    super(lease);
    this.fd = fd;
  }

  /**
   * A container whose requests an iommufd answers (the kernel's compatibility layer). Its address space is the iommufd's
   * VFIO IOAS: `Iommufd.setVfioIoas` sets it, or the kernel makes it with the first group.
   * @throws ArgumentError, ClosedError
   */
  static ofIommufd(iommufd: BindTarget): VfioContainer {
    checkLeased("iommufd", iommufd, "an Iommufd", { fd: "number" });
    iommufd.lease.assertOpen();
    const lease = new Lease(`container answered by ${iommufd.lease.label}`, () => {}, iommufd.lease);
    const container = new VfioContainer(iommufd.fd, lease);
    container.retain(iommufd);
    return container;
  }

  /** @throws ArgumentError, SysError, UnsupportedError if the kernel has another API version */
  static open(path: string = CONTAINER_PATH): VfioContainer {
    checkString("path", path);
    let fd: number;
    try {
      fd = open(path, O_RDWR);
    } catch (error) {
      throw error instanceof SysError ? error.with({ hint: openHints[error.code] }) : error;
    }
    const container = new VfioContainer(fd, new Lease(path, closing(fd)));
    try {
      const version = ioctlWithNumber(fd, VFIO_GET_API_VERSION, 0, { object: path });
      if (version !== VFIO_API_VERSION)
        throw new UnsupportedError(`${path} has VFIO API version ${version}, not 0`);
      return container;
    } catch (error) {
      container.close();
      throw error;
    }
  }

  /**
   * A container that another process opened, inherited or received over a socket. The result owns the descriptor; if this
   * throws, the caller keeps it. If that process has set its IOMMU, say which: what it maps there stays mapped.
   * @throws ArgumentError: closed, no VFIO container, or its IOMMU isn't as `iommu` says
   */
  static fromFd(fd: number, iommu?: Exclude<IommuType, "noiommu">): VfioContainer {
    checkInteger("descriptor", fd, 0, 0x7fff_ffff);
    const version = tryIoctl(fd, VFIO_GET_API_VERSION, null);
    if (version !== VFIO_API_VERSION) {
      const why = version < 0 ? errnoName(-version) : String(version);
      throw new ArgumentError(`descriptor ${fd} is not a VFIO container (VFIO_GET_API_VERSION: ${why})`);
    }
    if (iommu !== undefined) lookUp("iommu", iommu, iommuTypes);
    // EINVAL before VFIO_SET_IOMMU.
    const info = tryIoctl(fd, VFIO_IOMMU_GET_INFO, vfio_iommu_type1_info.encode({}));
    if (info >= 0 !== (iommu !== undefined))
      throw new ArgumentError(
        `the container of descriptor ${fd} has ${info >= 0 ? "an IOMMU already: say which" : "no IOMMU yet: call setIommu()"}`,
      );
    const container = new VfioContainer(fd, new Lease(`container of descriptor ${fd}`, closing(fd)));
    if (iommu !== undefined) container.haveIommu(iommu);
    return container;
  }

  /** The IOMMU driver; undefined before {@link setIommu}. */
  get iommuType(): IommuType | undefined {
    return this.occupancy.iommu === undefined ? undefined : this.type;
  }

  /** VFIO_CHECK_EXTENSION: one of the VFIO_*_IOMMU numbers. @throws ArgumentError, ClosedError, SysError */
  checkExtension(extension: number): boolean {
    this.lease.assertOpen();
    checkU32("extension", extension);
    return ioctlWithNumber(this.fd, VFIO_CHECK_EXTENSION, extension, { object: this.lease.label }) > 0;
  }

  /** VFIO_SET_IOMMU: call it once, after adding the first group. @throws ArgumentError, SysError: EINVAL without a group, ENODEV */
  setIommu(type: IommuType): void {
    this.lease.assertOpen();
    const number = lookUp("type", type, iommuTypes);
    ioctlWithNumber(this.fd, VFIO_SET_IOMMU, number, { object: `${this.lease.label} (${type})` });
    this.haveIommu(type);
  }

  private haveIommu(type: IommuType): void {
    this.type = type;
    this.occupancy.iommu = new Lease(`IOMMU of ${this.lease.label}`, () => {}, this.lease);
  }

  /** VFIO_IOMMU_GET_INFO. @throws StateError before setIommu(), ClosedError, SysError */
  info(): Type1Info {
    this.assertReady();
    let room = vfio_iommu_type1_info.sizeBytes + 256;
    for (;;) {
      const request = vfio_iommu_type1_info.encode({}, room - vfio_iommu_type1_info.sizeBytes);
      ioctl(this.fd, VFIO_IOMMU_GET_INFO, request, { object: this.lease.label });
      const argsz = vfio_iommu_type1_info.get(request, "argsz");
      if (argsz <= room) return decodeInfo(request);
      room = argsz;
    }
  }

  /**
   * VFIO_IOMMU_MAP_DMA. The caller chooses addresses and keeps the memory open (DmaSpace does both). The kernel pins the
   * pages at once.
   * @throws ArgumentError, StateError, ClosedError, SysError: EEXIST, EINVAL, EFAULT, ENOMEM, ENOSPC
   */
  map(memory: { readonly address: number; readonly sizeBytes: number }, at: bigint, access: DmaAccess): void {
    this.mapRange(memory, at, mapFlags(access));
  }

  /**
   * {@link map} off the JavaScript thread: pinning gigabytes takes seconds. The memory must stay open until then.
   * @throws as map(), as a rejection
   */
  async mapAsync(
    memory: { readonly address: number; readonly sizeBytes: number },
    at: bigint,
    access: DmaAccess,
  ): Promise<void> {
    const lease = this.assertReady();
    const { address, sizeBytes } = memory;
    const request = vfio_iommu_type1_dma_map.encode({
      flags: mapFlags(access),
      vaddr: BigInt(checkOffset("address", address)),
      iova: checkU64("iova", at),
      size: BigInt(checkLength("sizeBytes", sizeBytes)),
    });
    const result = await lease.during("a mapping under way", () =>
      tryIoctlAsync(this.fd, VFIO_IOMMU_MAP_DMA, request),
    );
    if (result < 0) throw this.mapError(result, sizeBytes, at);
  }

  private mapRange(
    memory: { readonly address: number; readonly sizeBytes: number },
    at: bigint,
    flags: number,
  ): void {
    this.assertReady();
    checkOffset("address", memory.address);
    checkLength("sizeBytes", memory.sizeBytes);
    const { words, quads } = this.mapRequest;
    words[MAP.flags] = flags;
    storeU64(words, MAP.vaddr, memory.address);
    quads[MAP_IOVA] = checkU64("iova", at);
    storeU64(words, MAP.size, memory.sizeBytes);
    const result = this.mapRequest.call(this.fd);
    if (result < 0) throw this.mapError(result, memory.sizeBytes, at);
  }

  /** {@link map} without range checks, at an address counted in IOVA_PAGEs; not public. @throws as map() */
  mapPages(address: number, sizeBytes: number, iovaPage: number, access: DmaAccess): void {
    this.assertReady();
    const { words } = this.mapRequest;
    words[MAP.flags] = mapFlags(access);
    storeU64(words, MAP.vaddr, address);
    words[MAP.iova] = lowOfPage(iovaPage);
    words[MAP.iova + 1] = highOfPage(iovaPage);
    storeU64(words, MAP.size, sizeBytes);
    const result = this.mapRequest.call(this.fd);
    if (result < 0) throw this.mapError(result, sizeBytes, iovaOfPage(iovaPage));
  }

  /** {@link unmap} of one {@link mapPages}. @throws as unmap() */
  unmapPages(iovaPage: number, sizeBytes: number): void {
    this.assertReady();
    const { words } = this.unmapRequest;
    words[UNMAP.flags] = 0;
    words[UNMAP.iova] = lowOfPage(iovaPage);
    words[UNMAP.iova + 1] = highOfPage(iovaPage);
    storeU64(words, UNMAP.size, sizeBytes);
    const result = this.unmapRequest.call(this.fd);
    if (result < 0) this.assertForgotten(result, iovaOfPage(iovaPage));
  }

  private mapError(result: number, sizeBytes: number, at: bigint): SysError {
    const object = `${this.lease.label}: ${sizeBytes} bytes at iova 0x${at.toString(16)}`;
    return new SysError("VFIO_IOMMU_MAP_DMA", -result, { object });
  }

  /**
   * VFIO_IOMMU_UNMAP_DMA: removes every mapping that lies wholly in the range.
   * @returns bytes unmapped; 0 if nothing was mapped
   * @throws StateError, ClosedError, SysError: EINVAL if it would split a v2 mapping
   */
  unmap(at: bigint, sizeBytes: number): number {
    checkLength("sizeBytes", sizeBytes);
    this.unmapRange(0, at, sizeBytes);
    return loadU64(this.unmapRequest.words, UNMAP.size);
  }

  /** {@link unmap} off the JavaScript thread. @throws as unmap(), as a rejection */
  async unmapAsync(at: bigint, sizeBytes: number): Promise<number> {
    const lease = this.assertReady();
    const request = vfio_iommu_type1_dma_unmap.encode({
      iova: checkU64("iova", at),
      size: BigInt(checkLength("sizeBytes", sizeBytes)),
    });
    const result = await lease.during("an unmapping under way", () =>
      tryIoctlAsync(this.fd, VFIO_IOMMU_UNMAP_DMA, request),
    );
    if (result < 0) {
      this.assertForgotten(result, at);
      return 0;
    }
    return Number(vfio_iommu_type1_dma_unmap.get(request, "size"));
  }

  /** Removes all mappings. @returns bytes unmapped @throws UnsupportedError before Linux 5.12, SysError */
  unmapAll(): bigint {
    this.assertReady();
    if (!this.checkExtension(VFIO_UNMAP_ALL)) throw new UnsupportedError("VFIO_UNMAP_ALL needs Linux 5.12");
    this.unmapRange(VFIO_DMA_UNMAP_FLAG_ALL, 0n, 0);
    return this.unmapRequest.quads[UNMAP.size / 2] ?? 0n;
  }

  /**
   * Invalidates the virtual addresses of all mappings, for a process that replaces itself. Devices go on using the pages.
   * {@link setVaddr} sets new addresses.
   * @throws UnsupportedError if the kernel can't, or a mediated device is attached; SysError
   */
  invalidateVaddrs(): void {
    this.assertReady();
    if (!this.checkExtension(VFIO_UPDATE_VADDR))
      throw new UnsupportedError(
        "this kernel does not support VFIO_UPDATE_VADDR, or not with mediated devices",
      );
    this.unmapRange(VFIO_DMA_UNMAP_FLAG_ALL | VFIO_DMA_UNMAP_FLAG_VADDR, 0n, 0);
  }

  /** Sets the virtual address of a mapping after {@link invalidateVaddrs}. @throws SysError: EINVAL, ENOENT */
  setVaddr(memory: { readonly address: number; readonly sizeBytes: number }, at: bigint): void {
    this.mapRange(memory, at, VFIO_DMA_MAP_FLAG_VADDR);
  }

  /**
   * VFIO_IOMMU_DIRTY_PAGES: starts tracking. Every pinned page counts as dirty, unless devices help.
   * @throws StateError, ClosedError, UnsupportedError if iommufd answers, SysError
   */
  startDirtyTracking(): void {
    this.dirtyPages(VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
  }

  /** @throws StateError, ClosedError, SysError */
  stopDirtyTracking(): void {
    this.dirtyPages(VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
  }

  /**
   * The pages of a range that were written to since the last reading.
   * @param pageSizeBytes the IOMMU's smallest page
   * @throws ArgumentError, StateError, ClosedError, SysError: EINVAL (not tracking, or wrong page size)
   */
  readDirty(at: bigint, sizeBytes: number, pageSizeBytes: number): DirtyBitmap {
    const bitmap = DirtyBitmap.of(at, sizeBytes, pageSizeBytes);
    const tail = vfio_iommu_type1_dirty_bitmap_get.encode({
      iova: at,
      size: BigInt(sizeBytes),
      bitmap: bitmapArgument(bitmap),
    });
    this.dirtyPages(VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP, tail);
    return bitmap;
  }

  /**
   * Unmaps a range, and returns which of its pages were written to.
   * @throws ArgumentError, StateError, ClosedError, SysError: EINVAL if tracking is off
   */
  unmapDirty(at: bigint, sizeBytes: number, pageSizeBytes: number): DirtyBitmap {
    this.assertReady();
    const bitmap = DirtyBitmap.of(at, sizeBytes, pageSizeBytes);
    const values = {
      flags: VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
      iova: at,
      size: BigInt(sizeBytes),
    };
    const request = vfio_iommu_type1_dma_unmap.encode(values, vfio_bitmap.sizeBytes);
    request.set(vfio_bitmap.encode(bitmapArgument(bitmap)), vfio_iommu_type1_dma_unmap.sizeBytes);
    ioctl(this.fd, VFIO_IOMMU_UNMAP_DMA, request, { object: `${this.lease.label} at 0x${at.toString(16)}` });
    return bitmap;
  }

  private dirtyPages(flags: number, tail: Uint8Array = new Uint8Array(0)): void {
    this.assertReady();
    const request = vfio_iommu_type1_dirty_bitmap.encode({ flags }, tail.length);
    request.set(tail, vfio_iommu_type1_dirty_bitmap.sizeBytes);
    const result = tryIoctl(this.fd, VFIO_IOMMU_DIRTY_PAGES, request);
    if (result === -Errno.ENOTTY) {
      throw new UnsupportedError(`${this.lease.label} can't track dirty pages: iommufd tracks them per HWPT`);
    }
    if (result < 0) {
      throw new SysError(VFIO_IOMMU_DIRTY_PAGES.name, -result, { object: this.lease.label });
    }
  }

  /** The kernel replaces the request's size with the number of bytes unmapped. */
  private unmapRange(flags: number, at: bigint, sizeBytes: number): void {
    this.assertReady();
    const { words, quads } = this.unmapRequest;
    words[UNMAP.flags] = flags;
    quads[UNMAP_IOVA] = checkU64("iova", at);
    storeU64(words, UNMAP.size, sizeBytes);
    const result = this.unmapRequest.call(this.fd);
    if (result >= 0) return;
    this.assertForgotten(result, at);
    storeU64(words, UNMAP.size, 0);
  }

  /**
   * Accepts an unmapping that failed because the mappings are gone. When the host removes a group's last device, the kernel
   * takes the group out, and with the last group all mappings.
   * @throws SysError for any other reason
   */
  private assertForgotten(result: number, at: bigint): void {
    if (result === -Errno.EINVAL && !this.hasIommu()) return;
    throw new SysError("VFIO_IOMMU_UNMAP_DMA", -result, {
      object: `${this.lease.label} at 0x${at.toString(16)}`,
    });
  }

  /**
   * Whether the kernel still has the container's IOMMU, and its mappings.
   * @internal
   */
  hasIommu(): boolean {
    return tryIoctl(this.fd, VFIO_IOMMU_GET_INFO, vfio_iommu_type1_info.encode({})) !== -Errno.EINVAL;
  }

  /** Lifetime of the IOMMU: ends when the last group leaves. @throws StateError before setIommu(), ClosedError */
  assertReady(): Lease {
    this.lease.assertOpen();
    const { iommu } = this.occupancy;
    if (iommu === undefined)
      throw new StateError(`${this.lease.label} has no IOMMU yet: add a group and call setIommu() first`);
    return iommu;
  }
}

/** @throws ArgumentError */
function mapFlags(access: DmaAccess): number {
  checkAccess(access);
  return (
    (access === "write" ? 0 : VFIO_DMA_MAP_FLAG_READ) | (access === "read" ? 0 : VFIO_DMA_MAP_FLAG_WRITE)
  );
}

/** A bitmap as type1's requests describe it. */
function bitmapArgument({ bits, pageSizeBytes }: DirtyBitmap): {
  pgsize: bigint;
  size: bigint;
  data: bigint;
} {
  return { pgsize: BigInt(pageSizeBytes), size: BigInt(bits.length), data: BigInt(addressOf(bits)) };
}

function decodeInfo(info: Uint8Array): Type1Info {
  const { iova_pgsizes, cap_offset } = vfio_iommu_type1_info.decode(info);
  let iovaRanges = [{ start: iova(0n), last: iova(0xffff_ffff_ffff_ffffn) }];
  let dmaAvailable: number | undefined;
  let migration: Type1Info["migration"];
  for (const { id, bytes } of capabilityChain(info, cap_offset)) {
    if (id === VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE) {
      const { nr_iovas } = vfio_iommu_type1_info_cap_iova_range.decode(bytes);
      iovaRanges = Array.from({ length: nr_iovas }, (_, i) => {
        const at = vfio_iommu_type1_info_cap_iova_range.sizeBytes + i * vfio_iova_range.sizeBytes;
        const range = vfio_iova_range.decode(bytes, at);
        return { start: iova(range.start), last: iova(range.end) };
      });
    } else if (id === VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL) {
      dmaAvailable = vfio_iommu_type1_info_dma_avail.decode(bytes).avail;
    } else if (id === VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION) {
      const decoded = vfio_iommu_type1_info_cap_migration.decode(bytes);
      migration = { pageSizes: decoded.pgsize_bitmap, maxDirtyBitmapBytes: decoded.max_dirty_bitmap_size };
    }
  }
  return { pageSizes: iova_pgsizes, iovaRanges, dmaAvailable, migration };
}
