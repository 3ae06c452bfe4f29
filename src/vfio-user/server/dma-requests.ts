/** DMA between one client and the server: the client's mappings, and messages for memory without a descriptor. */
import { Errno } from "../../core/errno.js";
import { append } from "../../core/lists.js";
import { isInMemory } from "../../sys/guarded-memory.js";
import type { MappingBudget } from "../../sys/mapping-budget.js";
import { PAGE_SIZE, sealAgainstShrinking } from "../../sys/syscalls.js";
import { VfioUserProtocolError } from "../protocol/channel.js";
import {
  Command,
  DMA_READ,
  DMA_WRITE,
  dmaAccess,
  dmaMap,
  dmaUnmap,
  UNMAP_ALL,
  UNMAP_DIRTY_BITMAP,
  unmapBitmap,
} from "../protocol/protocol.js";
import { type ClientMemoryUse, DmaTable, type MessageDma } from "./client-dma.js";
import type { MemoryNotices } from "./memory-notices.js";
import { Refusal } from "./refusal.js";
import type { Reply } from "./reply.js";

/** What a server does with its clients' memory. */
export interface DmaOptions {
  /** Whether files that can't be sealed against shrinking are mapped. */
  readonly trustClients: boolean;
  readonly maxDmaMaps: number;
  readonly budget: MappingBudget;
  readonly notices: MemoryNotices;
}

/** Answers the DMA requests of one session, and sends the server's own to the client. */
export class DmaRequests implements MessageDma {
  readonly table: DmaTable;

  /**
   * @param maxTransferBytes data that the client takes with one message, as negotiated
   * @param ask sends a request to the client; the promise is its answer's payload
   */
  constructor(
    private readonly options: DmaOptions,
    private readonly maxTransferBytes: () => number,
    private readonly ask: (command: number, parts: readonly Uint8Array[]) => Promise<Uint8Array>,
  ) {
    this.table = new DmaTable(this, options.maxDmaMaps, options.budget);
  }

  /** VFIO_USER_DMA_MAP. @param fds stay the caller's @throws Refusal, DmaAccessError, ArgumentError, SysError */
  map(payload: Uint8Array, fds: readonly number[]): Reply {
    const { flags, offset, addr, size } = dmaMap.decode(payload);
    const [fd, ...more] = fds;
    if (more.length > 0) throw new Refusal(Errno.EINVAL);
    if (((offset | addr | size) & (BigInt(PAGE_SIZE) - 1n)) !== 0n) throw new Refusal(Errno.EINVAL);
    const use = this.useOf(fd);
    this.table.map({
      iova: addr,
      sizeBytes: size,
      readable: (flags & DMA_READ) !== 0,
      writable: (flags & DMA_WRITE) !== 0,
      ...(fd === undefined ? {} : { fd }),
      use,
      fdOffset: offset,
      who: "the client",
    });
    if (use === "copy") this.options.notices.copied();
    return {};
  }

  /** What to do with a file. @throws Refusal: EPERM for one that could end this process, or never give its pages */
  private useOf(fd: number | undefined): ClientMemoryUse {
    if (fd === undefined) return "messages";
    if (this.options.trustClients || sealAgainstShrinking(fd)) return "map";
    if (isInMemory(fd)) return "copy";
    this.options.notices.refused();
    throw new Refusal(Errno.EPERM);
  }

  /** VFIO_USER_DMA_UNMAP. @throws Refusal, DmaAccessError */
  unmap(payload: Uint8Array): Reply {
    const { flags, addr, size } = dmaUnmap.decode(payload);
    const parts: Uint8Array[] = [payload.slice(0, dmaUnmap.sizeBytes)];
    switch (flags) {
      case UNMAP_ALL:
        if (addr !== 0n || size !== 0n) throw new Refusal(Errno.EINVAL);
        this.table.unmapAll();
        return { parts };
      case UNMAP_DIRTY_BITMAP:
        append(parts, this.unmapDirty(payload));
        return { parts };
      case 0:
        if (this.table.unmap(addr, size) === 0) throw new Refusal(Errno.ENOENT);
        return { parts };
      default:
        throw new Refusal(Errno.EOPNOTSUPP);
    }
  }

  /** Unmaps one mapping. @returns the bitmap of pages written to, padded to the room that the client has */
  private unmapDirty(payload: Uint8Array): readonly Uint8Array[] {
    const { argsz, addr, size } = dmaUnmap.decode(payload);
    const { pgsize, size: roomBytes } = unmapBitmap.decode(payload, dmaUnmap.sizeBytes);
    const headerBytes = dmaUnmap.sizeBytes + unmapBitmap.sizeBytes;
    const most = Math.min(argsz, this.maxTransferBytes()) - headerBytes;
    if (roomBytes > BigInt(most)) throw new Refusal(Errno.EINVAL);
    if (!this.table.isMapping(addr, size)) throw new Refusal(Errno.ENOENT);
    const bitmap = this.table.reportLog(addr, size, pgsize, Number(roomBytes));
    this.table.unmap(addr, size);
    const header = payload.slice(dmaUnmap.sizeBytes, headerBytes);
    return [header, bitmap, new Uint8Array(Number(roomBytes) - bitmap.length)];
  }

  async dmaRead(iova: number, target: Uint8Array): Promise<void> {
    for (let done = 0; done < target.length; ) {
      const count = Math.min(target.length - done, this.maxTransferBytes());
      const request = dmaAccess.encode({ addr: BigInt(iova + done), count: BigInt(count) });
      const reply = await this.ask(Command.dmaRead, [request]);
      const data = reply.subarray(dmaAccess.sizeBytes);
      if (data.length !== count)
        throw new VfioUserProtocolError(
          `the client answered a DMA read of ${count} bytes with ${data.length}`,
        );
      target.set(data, done);
      done += count;
    }
  }

  async dmaWrite(iova: number, source: Uint8Array): Promise<void> {
    for (let done = 0; done < source.length; ) {
      const part = source.subarray(done, done + this.maxTransferBytes());
      const request = dmaAccess.encode({ addr: BigInt(iova + done), count: BigInt(part.length) });
      await this.ask(Command.dmaWrite, [request, part]);
      done += part.length;
    }
  }
}
