/** The pages of a BAR that can be mapped, if those aren't all of it: each area is mapped at its first access. */
import type { MappedMemory } from "../sys/memory.js";
import type { RegionArea } from "../vfio/device-io.js";

/** A part of a BAR that is mapped. */
interface BarPart {
  /** Where it starts in the BAR, in bytes. */
  readonly offset: number;
  readonly memory: MappedMemory;
}

/** The mapped parts of one BAR. An aligned access lies in one page, so it never lies half in a part. */
export class BarParts {
  private readonly mapped: (BarPart | undefined)[] = [];

  /**
   * @param areas whole pages
   * @param map maps one of them
   */
  constructor(
    private readonly areas: readonly RegionArea[],
    private readonly map: (offset: number, sizeBytes: number) => MappedMemory,
  ) {}

  /** The part at an offset; undefined if it can't be mapped. @throws as `map` does */
  at(offset: number): BarPart | undefined {
    const index = this.areas.findIndex(
      (area) => area.offset <= offset && offset < area.offset + area.sizeBytes,
    );
    const area = this.areas[index];
    if (area === undefined) return undefined;
    const known = this.mapped[index];
    if (known !== undefined) return known;
    const part = { offset: area.offset, memory: this.map(area.offset, area.sizeBytes) };
    this.mapped[index] = part;
    return part;
  }

  /** Whether any byte of a range is in a part. */
  touches(offset: number, length: number): boolean {
    return this.areas.some((area) => offset < area.offset + area.sizeBytes && offset + length > area.offset);
  }

  /** Ends the mappings until the next access. */
  unmap(): void {
    for (const part of this.mapped.splice(0)) part?.memory.close();
  }
}
