/** Maps memory for devices behind a vfio-user server. */
import { ArgumentError, SysError, UnsupportedError } from "../../core/errors.js";
import type { Lease } from "../../core/lifetime/lease.js";
import type { DmaAccess } from "../../dma/access.js";
import { AddressChooser } from "../../dma/address-chooser.js";
import { DirtyBitmap } from "../../dma/dirty-bitmap.js";
import { type Iova, type IovaRange, iova, iovaOfPage, pageOfIova } from "../../dma/iova/address.js";
import type { IovaPlacement } from "../../dma/iova/allocator.js";
import type { DmaMapper, DmaMapperExtensions, FileMapper } from "../../dma/mapper.js";
import { close, duplicate, PAGE_SIZE, pread, pwrite } from "../../sys/syscalls.js";
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
import type { VfioUserClient } from "./client.js";
import type { ClientDma } from "./connection.js";

/** Addresses that servers can tell apart from nothing, and that are exact as numbers. */
const FIRST = BigInt(PAGE_SIZE);
const LAST = 2n ** 47n - 1n;

interface Mapping {
  readonly sizeBytes: number;
  /** Ours: the caller may close its own. */
  readonly fd: number;
  readonly start: number;
  readonly access: DmaAccess;
  /** The server has it mapped, as far as it was told. */
  isSent: boolean;
}

/**
 * The server's view of our memory as the translator behind a DmaSpace: each mapping is a file that the server maps as well.
 * Anonymous memory can't be shared so: the DmaSpace makes memfds.
 */
export class VfioUserMapper implements DmaMapper, FileMapper, ClientDma {
  readonly name = "vfio-user";
  readonly mapsFilesOnly = true as const;
  readonly lease: Lease;
  readonly extensions: DmaMapperExtensions;
  private readonly chooser: AddressChooser;
  private readonly mappings = new Map<bigint, Mapping>();
  /** The server takes UNMAP_ALL, as far as is known. */
  private unmapsAll = true;

  constructor(private readonly client: VfioUserClient) {
    this.lease = client.lease;
    this.chooser = new AddressChooser(() => ({ ranges: this.iovaRanges(), alignmentBytes: PAGE_SIZE }));
    this.extensions = { chooser: this.chooser, files: this };
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
    if (this.mappings.size >= this.client.server.maxDmaMaps) {
      throw new UnsupportedError(`the server takes no more than ${this.client.server.maxDmaMaps} mappings`);
    }
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
      throw error;
    }
    this.mappings.set(at, mapping);
    return at;
  }

  unmap(at: bigint, sizeBytes: number): void {
    const mapping = this.mappings.get(at);
    // Before the first of many goes, not after the last: what is closed is out of the device's reach at once.
    if (mapping?.isSent === true && this.mappings.size > 1 && this.chooser.closing) this.unmapAll();
    this.mappings.delete(at);
    if (mapping !== undefined) close(mapping.fd);
    this.chooser.release(pageOfIova(at), sizeBytes);
    // A server that has gone has nothing mapped.
    if (!this.client.connected || mapping?.isSent !== true) return;
    this.request(dmaUnmap.encode({ argsz: dmaUnmap.sizeBytes, addr: at, size: BigInt(sizeBytes) }));
  }

  /**
   * Takes a mapping from the server, which tells what its device wrote there. unmap() has to follow.
   * @throws ArgumentError (more pages than one message tells of), SysError: EINVAL where nothing is logged;
   *   UnsupportedError, VfioUserProtocolError, DeviceGoneError, TimeoutError; with nothing changed
   */
  takeDirty(at: bigint, pageSizeBytes: number): DirtyBitmap {
    const mapping = this.mappings.get(at);
    if (mapping === undefined) throw new ArgumentError(`nothing is mapped at iova 0x${at.toString(16)}`);
    const { sizeBytes } = mapping;
    const bitmap = DirtyBitmap.of(at, sizeBytes, pageSizeBytes);
    const { length } = bitmap.bits;
    const headerBytes = dmaUnmap.sizeBytes + unmapBitmap.sizeBytes;
    if (headerBytes + length > this.client.server.maxTransferBytes) {
      throw new ArgumentError(
        `${bitmap.pages} pages are more than one message tells of: choose larger ones than ${pageSizeBytes}`,
      );
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
        `${this.lease.label} tells of ${payload.length} bytes about what was written where ${headerBytes + length} were due`,
      );
    }
    bitmap.bits.set(payload.subarray(headerBytes));
    return bitmap;
  }

  read(at: bigint, target: Uint8Array): boolean {
    const found = this.find(at, target.length, "write");
    return found !== undefined && pread(found.fd, target, found.offset) === target.length;
  }

  write(at: bigint, source: Uint8Array): boolean {
    const found = this.find(at, source.length, "read");
    // pwrite wants memory that doesn't move.
    return found !== undefined && pwrite(found.fd, Buffer.from(source), found.offset) === source.length;
  }

  /** To a server that came back: all that is mapped, at the same addresses. */
  private remapAll(): void {
    if (this.mappings.size > this.client.server.maxDmaMaps) {
      throw new UnsupportedError(
        `the server takes ${this.client.server.maxDmaMaps} mappings now, and there are ${this.mappings.size}`,
      );
    }
    // One that has kept what a connection before had mapped, as it shouldn't, would refuse it all.
    this.unmapAll();
    for (const [at, mapping] of this.mappings) this.sendMap(at, mapping);
  }

  /** UNMAP_ALL, which not every server knows. */
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

  /** To a server that may go meanwhile. */
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

function aligned(placement: IovaPlacement | undefined, unit: number): IovaPlacement | undefined {
  if (unit === PAGE_SIZE) return placement;
  return { ...placement, alignBytes: Math.max(unit, placement?.alignBytes ?? unit) };
}
