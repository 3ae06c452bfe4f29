/** A DmaMapper that translates nothing. */
import { SysError } from "../../src/core/errors.js";
import { Lease } from "../../src/core/lifetime/lease.js";
import type { DmaAccess } from "../../src/dma/access.js";
import { type Iova, type IovaRange, iova } from "../../src/dma/iova/address.js";
import type { DmaMapper } from "../../src/dma/mapper.js";

const ENOMEM = 12;

/**
 * A mapper that records mappings and puts memory at its own address. For tests of the layers above the mappers; guest tests
 * cover the kernel's.
 */
export class IdentityMapper implements DmaMapper {
  readonly name = "identity";
  readonly lease: Lease;
  readonly mapped = new Map<bigint, { readonly sizeBytes: number; readonly access: DmaAccess }>();
  /** Makes the next map() or unmap() fail as if the kernel were short of memory. */
  refuseNext = false;
  /** Address of the next map() without a fixed address, instead of the memory's own address. */
  next: bigint | undefined;

  constructor(private readonly onUnmap: (iova: bigint) => void = () => {}) {
    const { mapped } = this;
    this.lease = new Lease("identity mapper", () => mapped.clear());
  }

  iovaRanges(): IovaRange[] {
    return [{ start: iova(0n), last: iova(2n ** 47n - 1n) }];
  }

  alignmentBytes(): number {
    return 4096;
  }

  map(address: number, sizeBytes: number, access: DmaAccess, fixed: bigint | undefined): Iova {
    this.refuse("MAP");
    const at = iova(fixed ?? this.next ?? BigInt(address));
    this.next = undefined;
    this.mapped.set(at, { sizeBytes, access });
    return at;
  }

  unmap(at: bigint, sizeBytes: number): void {
    this.onUnmap(at);
    this.refuse("UNMAP");
    if (this.mapped.get(at)?.sizeBytes !== sizeBytes)
      throw new Error(`${sizeBytes} bytes at ${at} aren't mapped`);
    this.mapped.delete(at);
  }

  private refuse(what: string): void {
    if (!this.refuseNext) return;
    this.refuseNext = false;
    throw new SysError(what, ENOMEM, { object: this.lease.label });
  }
}
