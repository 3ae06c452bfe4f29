/** Common parts of the no-IOMMU backends. Devices use physical addresses, which can't be chosen. */
import { ArgumentError } from "../core/errors.js";
import { type Iova, iova } from "./iova/address.js";
import type { IovaPlacement } from "./iova/allocator.js";
import { IovaSpaceError } from "./iova/error.js";
import type { DmaSegment } from "./segments.js";

/** The mappable ranges: all physical addresses. */
export const ALL_ADDRESSES = [{ start: iova(0n), last: iova(0xffff_ffff_ffff_ffffn) }];

/** @throws ArgumentError */
export function refuseFixed(fixed: bigint | undefined): void {
  if (fixed !== undefined) {
    throw new ArgumentError("iova can't be chosen without an IOMMU: devices use physical addresses");
  }
}

/** @throws IovaSpaceError if the memory's physical addresses don't fit the placement */
export function checkPlacement(segments: readonly DmaSegment[], placement: IovaPlacement = {}): void {
  const { last, alignBytes = 1 } = placement;
  for (const [i, { iova: at, sizeBytes }] of segments.entries()) {
    if (last !== undefined && at + BigInt(sizeBytes) - 1n > last) {
      throw new IovaSpaceError(
        "full",
        `the memory has the physical address 0x${at.toString(16)}, above the device's limit 0x${last.toString(16)}`,
      );
    }
    if (i === 0 && at % BigInt(alignBytes) !== 0n) {
      throw new IovaSpaceError(
        "full",
        `the memory has the physical address 0x${at.toString(16)}, which isn't aligned to ${alignBytes}`,
      );
    }
  }
}

/** Memory that stays where it is until it is released. */
export interface Pinned {
  /** Its physically contiguous parts, in order. */
  readonly segments: readonly DmaSegment[];
  /** Lets the kernel move it again. */
  release(): void;
}

/** Mappings by physical address. The same memory can be mapped several times. */
export class PhysicalMappings {
  private readonly byAddress = new Map<bigint, Pinned[]>();

  add(mapping: Pinned): Iova {
    const at = mapping.segments[0]?.iova ?? iova(0n);
    const same = this.byAddress.get(at);
    if (same === undefined) this.byAddress.set(at, [mapping]);
    else same.push(mapping);
    return at;
  }

  /** The newest mapping that starts at an address. @throws ArgumentError if there is none */
  get(at: bigint): Pinned {
    const mapping = this.byAddress.get(at)?.at(-1);
    if (mapping === undefined) throw new ArgumentError(`nothing is mapped at 0x${at.toString(16)}`);
    return mapping;
  }

  /** Releases the newest mapping that starts at an address. @throws as {@link get}; whatever the release throws, with nothing removed */
  release(at: bigint): void {
    this.get(at).release();
    const same = this.byAddress.get(at);
    same?.pop();
    if (same?.length === 0) this.byAddress.delete(at);
  }
}
