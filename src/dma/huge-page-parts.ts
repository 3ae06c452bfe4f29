/**
 * Memory for buffers without an IOMMU, cut out of huge pages: what lies in one page is contiguous, and never moves.
 *
 * Each part of a page is given out once, so that a stale view never sees its successor. A page is freed with its last part.
 */
import { HUGE_PAGE_SIZES } from "../sys/huge-pages.js";
import { MappedMemory } from "../sys/memory.js";
import { PAGE_SIZE } from "../sys/syscalls.js";
import type { DmaAccess } from "./access.js";
import { iova } from "./iova/address.js";
import type { IovaPlacement } from "./iova/allocator.js";
import type { BufferMemory, MappedBytes } from "./mapper.js";
import { checkPlacement, type PhysicalMappings, type Pinned } from "./physical.js";

/** Pins memory for devices with this access. @throws SysError, UnsupportedError; with nothing pinned */
type Pin = (address: number, sizeBytes: number, access: DmaAccess) => Pinned;

/** One huge page, and what of it was given out. */
interface HugePage {
  readonly memory: MappedMemory;
  readonly access: DmaAccess;
  readonly pinned: Pinned;
  /** Its physical address. */
  readonly at: bigint;
  /** Everything from here on has never been given out, so it is zero. */
  next: number;
  /** Parts that are mapped. */
  mapped: number;
  /** Parts whose memory is open. */
  open: number;
  isPinned: boolean;
}

/** The huge pages of one mapper. */
export class HugePageParts implements BufferMemory {
  private readonly pages: HugePage[] = [];

  /** @param mappings where the parts are entered */
  constructor(
    private readonly pin: Pin,
    private readonly mappings: PhysicalMappings,
  ) {}

  take(
    sizeBytes: number,
    access: DmaAccess,
    fixed: bigint | undefined,
    placement: IovaPlacement,
  ): MappedBytes | undefined {
    const roundedBytes = Math.ceil(sizeBytes / PAGE_SIZE) * PAGE_SIZE;
    const kinds = HUGE_PAGE_SIZES.filter((pageBytes) => roundedBytes <= pageBytes);
    if (fixed !== undefined || kinds.length === 0) return undefined;
    const found = this.find(roundedBytes, access, placement);
    if (found !== undefined) return this.cut(found.page, found.offset, roundedBytes);
    const page = this.open(kinds, access);
    try {
      const segments = [{ iova: iova(page.at), sizeBytes: roundedBytes }];
      checkPlacement(segments, placement);
      return this.cut(page, 0, roundedBytes);
    } catch (error) {
      if (page.mapped === 0) this.unpin(page);
      if (page.open === 0) page.memory.close();
      throw error;
    }
  }

  private find(
    sizeBytes: number,
    access: DmaAccess,
    { alignBytes = 1, last }: IovaPlacement,
  ): { page: HugePage; offset: number } | undefined {
    for (const page of this.pages) {
      if (page.access !== access) continue;
      const unit = Math.max(alignBytes, PAGE_SIZE);
      // Huge pages are aligned to their size: an offset is as well aligned as its address.
      const offset = Math.ceil(page.next / unit) * unit;
      const end = offset + sizeBytes;
      if (unit > page.memory.sizeBytes || end > page.memory.sizeBytes) continue;
      if (last === undefined || page.at + BigInt(end) - 1n <= last) return { page, offset };
    }
    return undefined;
  }

  /** @throws SysError of the smallest kind of page, if there is none of any kind */
  private open(kinds: readonly number[], access: DmaAccess): HugePage {
    let failure: unknown;
    for (const pageBytes of kinds) {
      try {
        return this.openOne(pageBytes, access);
      } catch (error) {
        failure ??= error;
      }
    }
    throw failure;
  }

  private openOne(pageBytes: number, access: DmaAccess): HugePage {
    const memory = MappedMemory.anonymous(pageBytes, { hugePageBytes: pageBytes, lock: true });
    try {
      const pinned = this.pin(memory.address, pageBytes, access);
      const at = pinned.segments[0]?.iova ?? 0n;
      memory.relinquish();
      const page = { memory, access, pinned, at, next: 0, mapped: 0, open: 0, isPinned: true };
      this.pages.push(page);
      return page;
    } catch (error) {
      memory.close();
      throw error;
    }
  }

  private cut(page: HugePage, offset: number, sizeBytes: number): MappedBytes {
    const at = iova(page.at + BigInt(offset));
    const what = `${sizeBytes} bytes of a huge page`;
    const memory = MappedMemory.partOf(page.memory, offset, sizeBytes, what, () => {
      page.open -= 1;
      // What is still pinned must not be given back: a device may write to it.
      if (page.open === 0 && !page.isPinned) page.memory.close();
    });
    page.open += 1;
    page.mapped += 1;
    page.next = offset + sizeBytes;
    this.mappings.add({ segments: [{ iova: at, sizeBytes }], release: () => this.unmapPart(page) });
    return { memory, iova: at };
  }

  private unmapPart(page: HugePage): void {
    if (page.mapped === 1) this.unpin(page);
    page.mapped -= 1;
  }

  private unpin(page: HugePage): void {
    page.pinned.release();
    page.isPinned = false;
    this.pages.splice(this.pages.indexOf(page), 1);
  }
}
