/** Maps memory for devices behind a vfio-user server. */
import { checkBytes, checkInteger, checkLength, checkOffset, checkU64 } from "../../core/check.js";
import { Errno } from "../../core/errno.js";
import { ArgumentError, StateError, SysError, UnsupportedError } from "../../core/errors.js";
import { Lease } from "../../core/lifetime/lease.js";
import { checkAccess, type DmaAccess } from "../../dma/access.js";
import { AddressChooser } from "../../dma/address-chooser.js";
import { DirtyBitmap } from "../../dma/dirty-bitmap.js";
import { type Iova, type IovaRange, iova, iovaOfPage, pageOfIova } from "../../dma/iova/address.js";
import type { IovaPlacement } from "../../dma/iova/allocator.js";
import type { DmaMapper, DmaMapperExtensions, FileMapper } from "../../dma/mapper.js";
import { close, duplicate, memfd, PAGE_SIZE, pread, pwrite, sealSize } from "../../sys/syscalls.js";
import { closeFds, VfioUserProtocolError } from "../protocol/channel.js";
import {
  Command,
  DMA_READ,
  DMA_WRITE,
  dmaMap,
  dmaUnmap,
  UNMAP_ALL,
  UNMAP_DIRTY_BITMAP,
  unmapBitmap,
} from "../protocol/protocol.js";
import { checkClient, type VfioUserClient } from "./client.js";
import type { ClientDma } from "./exchange.js";
import { BufferSlabs } from "./slabs.js";

/** Not 0, which servers may take for no address; and exact as numbers. */
const FIRST = BigInt(PAGE_SIZE);
const LAST = 2n ** 47n - 1n;
/** With which a server may say that it takes no more mappings. libvfio-user says EINVAL, to other mistakes as well. */
const FULL: ReadonlySet<number> = new Set([Errno.EINVAL, Errno.ENOSPC, Errno.E2BIG, Errno.ENOMEM]);
/** No server is known that takes fewer mappings. */
const FEWEST_MAPPINGS = 8;
const ADVICE =
  "close memory that you mapped, or get it by alloc() without shared, pages, numaNode, lock and alignBytes: such buffers share mappings";

interface Mapping {
  readonly sizeBytes: number;
  /** A duplicate: the caller may close its own. */
  readonly fd: number;
  readonly start: number;
  readonly access: DmaAccess;
  /** Whether the server was told to map it, and not to unmap it since. */
  isSent: boolean;
}

/**
 * Each mapping is part of a file that the server maps as well. Anonymous memory can't be shared so: the DmaSpace makes memfds.
 */
export class VfioUserMapper implements DmaMapper, FileMapper, ClientDma {
  readonly name = "vfio-user";
  readonly mapsFilesOnly = true as const;
  readonly lease: Lease;
  readonly extensions: DmaMapperExtensions;
  private readonly chooser: AddressChooser;
  private readonly mappings = new Map<bigint, Mapping>();
  private readonly slabs: BufferSlabs;
  /** False once the server has refused UNMAP_ALL. */
  private unmapsAll = true;

  /** @throws ArgumentError, ClosedError */
  constructor(private readonly client: VfioUserClient) {
    checkClient(client);
    this.lease = client.lease;
    this.chooser = new AddressChooser(() => ({ ranges: this.iovaRanges(), alignmentBytes: PAGE_SIZE }));
    this.slabs = new BufferSlabs(this);
    this.extensions = { chooser: this.chooser, files: this, buffers: this.slabs };
    closeWith(client.lease, this.mappings);
    client.dma = this;
    client.onReconnect(() => this.remapAll());
  }

  iovaRanges(): IovaRange[] {
    return [{ start: iova(FIRST), last: iova(LAST) }];
  }

  /** The smallest page that the server maps, where it is larger than ours. */
  alignmentBytes(): number {
    const { pageSizes } = this.client.server;
    // No bit operation: sizes may have more than 32 bits.
    let unit = PAGE_SIZE;
    while (unit < pageSizes && Math.floor(pageSizes / unit) % 2 === 0) unit *= 2;
    return Math.floor(pageSizes / unit) % 2 === 0 ? PAGE_SIZE : unit;
  }

  map(): never {
    throw new UnsupportedError(
      "over vfio-user only memory in a file can be shared: alloc() it, or MappedMemory.memfd()",
    );
  }

  mapFile(
    fd: number,
    start: number,
    sizeBytes: number,
    access: DmaAccess,
    fixed: bigint | undefined,
    placement?: IovaPlacement,
  ): Iova {
    checkInteger("fd", fd, 0, 2 ** 31 - 1);
    checkOffset("start", start);
    checkLength("sizeBytes", sizeBytes);
    checkAccess(access);
    if (fixed !== undefined) this.slabs.dropEmpty(iova(fixed), sizeBytes);
    this.assertRoom();
    const unit = this.alignmentBytes();
    if (sizeBytes % unit !== 0 || start % unit !== 0) {
      throw new UnsupportedError(`the server maps pages of ${unit} bytes: alloc() with pages: ${unit}`);
    }
    const iovaPage = this.chooser.take(start, sizeBytes, fixed, aligned(placement, unit));
    const at = iovaOfPage(iovaPage);
    const own = duplicate(fd);
    const mapping = { sizeBytes, fd: own, start, access, isSent: false };
    try {
      this.sendMap(at, mapping);
    } catch (error) {
      close(own);
      this.chooser.release(iovaPage, sizeBytes);
      throw this.explain(error);
    }
    this.mappings.set(at, mapping);
    return at;
  }

  /** @throws UnsupportedError if the server takes no further mapping */
  private assertRoom(): void {
    const { maxDmaMaps } = this.client.server;
    if (this.mappings.size >= maxDmaMaps) this.slabs.dropEmpty();
    if (this.mappings.size < maxDmaMaps) return;
    throw new UnsupportedError(
      `${this.lease.label} takes at most ${maxDmaMaps} DMA mappings, and all are in use: ${ADVICE}`,
    );
  }

  /** What a server answers that has a limit and didn't tell it. */
  private explain(error: unknown): unknown {
    const { size } = this.mappings;
    if (!(error instanceof SysError) || !FULL.has(error.errno) || size < FEWEST_MAPPINGS) return error;
    return error.with({
      hint: `the server may take no more than the ${size} mappings that it has: ${ADVICE}`,
    });
  }

  /**
   * See {@link BufferSlabs}.
   * @internal
   */
  mapSlab(sizeBytes: number, access: DmaAccess, placement: IovaPlacement): { at: Iova; fd: number } {
    const fd = memfd("iova", sizeBytes);
    try {
      sealSize(fd);
      const at = this.mapFile(fd, 0, sizeBytes, access, undefined, placement);
      const mapping = this.mappings.get(at);
      if (mapping !== undefined) return { at, fd: mapping.fd };
      throw new StateError(`nothing is mapped at iova 0x${at.toString(16)}`);
    } finally {
      close(fd);
    }
  }

  unmap(at: bigint, sizeBytes: number): void {
    checkU64("iova", at);
    checkLength("sizeBytes", sizeBytes);
    const slab = this.slabs.find(at);
    const { closing } = this.chooser;
    const isMany = slab !== undefined || this.mappings.size > 1;
    // All at once before the first is unmapped: closed memory must be out of the device's reach.
    if (closing && isMany && this.mappings.get(slab?.at ?? at)?.isSent === true) this.unmapAll();
    if (slab === undefined) this.unmapFile(at, sizeBytes);
    else this.slabs.release(slab, at, sizeBytes, closing);
  }

  /**
   * Whether a buffer shares its mapping with others, so that it can't be unmapped alone.
   * @internal
   */
  isShared(at: bigint): boolean {
    return this.slabs.find(at) !== undefined;
  }

  /**
   * Undoes one mapFile().
   * @internal
   */
  unmapFile(at: bigint, sizeBytes: number): void {
    const mapping = this.mappings.get(at);
    if (mapping === undefined || mapping.sizeBytes !== sizeBytes) {
      const object = `${this.lease.label}: ${sizeBytes} bytes at iova 0x${at.toString(16)}`;
      throw new SysError("VFIO_USER_DMA_UNMAP", Errno.ENOENT, { object, hint: "no map() made that range" });
    }
    this.mappings.delete(at);
    close(mapping.fd);
    this.chooser.release(pageOfIova(at), sizeBytes);
    // A server that has gone has nothing mapped.
    if (!this.client.connected || !mapping.isSent) return;
    this.request(dmaUnmap.encode({ argsz: dmaUnmap.sizeBytes, addr: at, size: BigInt(sizeBytes) }));
  }

  /**
   * Unmaps on the server, which reports what its device wrote there. unmap() has to follow.
   * @throws ArgumentError (more pages than one message can report), SysError: EINVAL if nothing is logged;
   *   UnsupportedError, VfioUserProtocolError, DeviceGoneError, TimeoutError; with nothing changed
   */
  takeDirty(at: bigint, pageSizeBytes: number): DirtyBitmap {
    const mapping = this.mappings.get(checkU64("iova", at));
    if (mapping === undefined) throw new ArgumentError(`nothing is mapped at iova 0x${at.toString(16)}`);
    const { sizeBytes } = mapping;
    const bitmap = DirtyBitmap.of(at, sizeBytes, pageSizeBytes);
    const { length } = bitmap.bits;
    const headerBytes = dmaUnmap.sizeBytes + unmapBitmap.sizeBytes;
    if (headerBytes + length > this.client.server.maxTransferBytes) {
      throw tooManyPages(sizeBytes, pageSizeBytes);
    }
    const request = {
      argsz: headerBytes + length,
      flags: UNMAP_DIRTY_BITMAP,
      addr: at,
      size: BigInt(sizeBytes),
    };
    const header = unmapBitmap.encode({ pgsize: BigInt(pageSizeBytes), size: BigInt(length) });
    const { payload, fds } = this.client.request(Command.dmaUnmap, [dmaUnmap.encode(request), header]);
    closeFds(fds);
    mapping.isSent = false;
    if (payload.length !== headerBytes + length) {
      throw new VfioUserProtocolError(
        `${this.lease.label} sent ${payload.length} bytes about written pages instead of ${headerBytes + length}`,
      );
    }
    bitmap.bits.set(payload.subarray(headerBytes));
    return bitmap;
  }

  read(at: bigint, target: Uint8Array): boolean {
    checkU64("iova", at);
    checkBytes("target", target);
    const found = this.find(at, target.length, "write");
    return found !== undefined && pread(found.fd, target, found.offset) === target.length;
  }

  write(at: bigint, source: Uint8Array): boolean {
    checkU64("iova", at);
    checkBytes("source", source);
    const found = this.find(at, source.length, "read");
    // pwrite needs memory that doesn't move.
    return found !== undefined && pwrite(found.fd, Buffer.from(source), found.offset) === source.length;
  }

  /** Maps everything on a server that came back, at the same addresses. */
  private remapAll(): void {
    if (this.mappings.size > this.client.server.maxDmaMaps) {
      throw new UnsupportedError(
        `${this.lease.label} now takes at most ${this.client.server.maxDmaMaps} DMA mappings, and ${this.mappings.size} are in use: ${ADVICE}`,
      );
    }
    // A server that wrongly kept mappings of the previous connection would refuse new ones.
    this.unmapAll();
    for (const [at, mapping] of this.mappings) this.sendMap(at, mapping);
  }

  /** Sends UNMAP_ALL, which some servers lack. */
  private unmapAll(): void {
    if (!this.unmapsAll || !this.client.connected) return;
    try {
      this.request(dmaUnmap.encode({ argsz: dmaUnmap.sizeBytes, flags: UNMAP_ALL }));
    } catch (error) {
      if (!(error instanceof SysError) && !(error instanceof UnsupportedError)) throw error;
      this.unmapsAll = false;
      return;
    }
    for (const mapping of this.mappings.values()) mapping.isSent = false;
  }

  /** Sends an unmap; fine if the server goes meanwhile. */
  private request(unmap: Uint8Array): void {
    try {
      closeFds(this.client.request(Command.dmaUnmap, [unmap]).fds);
    } catch (error) {
      if (this.client.connected) throw error;
    }
  }

  private sendMap(at: bigint, mapping: Mapping): void {
    const { sizeBytes, fd, start, access } = mapping;
    const request = dmaMap.encode({
      argsz: dmaMap.sizeBytes,
      flags: (access === "write" ? 0 : DMA_READ) | (access === "read" ? 0 : DMA_WRITE),
      offset: BigInt(start),
      addr: at,
      size: BigInt(sizeBytes),
    });
    closeFds(this.client.request(Command.dmaMap, [request], [fd]).fds);
    mapping.isSent = true;
  }

  private find(
    at: bigint,
    length: number,
    forbidden: DmaAccess,
  ): { readonly fd: number; readonly offset: number } | undefined {
    for (const [start, mapping] of this.mappings) {
      if (at < start || at + BigInt(length) > start + BigInt(mapping.sizeBytes)) continue;
      if (mapping.access === forbidden) return undefined;
      return { fd: mapping.fd, offset: mapping.start + Number(at - start) };
    }
    return undefined;
  }
}

/** The error for a report that doesn't fit into one message. */
export function tooManyPages(sizeBytes: number, pageSizeBytes: number): ArgumentError {
  return new ArgumentError(
    `${sizeBytes} bytes in pages of ${pageSizeBytes} are more than one message can report: choose a larger pageSizeBytes`,
  );
}

/** Slabs that hold no buffer stay mapped as long as the client: their descriptors close with it. */
function closeWith(lease: Lease, mappings: Map<bigint, Mapping>): void {
  const release = (): void => {
    for (const { fd } of mappings.values()) close(fd);
    mappings.clear();
  };
  new Lease("memory of a vfio-user client", release, lease);
}

function aligned(placement: IovaPlacement | undefined, unit: number): IovaPlacement | undefined {
  if (unit === PAGE_SIZE) return placement;
  return { ...placement, alignBytes: Math.max(unit, placement?.alignBytes ?? unit) };
}
