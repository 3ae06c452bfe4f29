/**
 * How a medium is divided: the namespaces' data, their metadata, the state of zones, and a record of what namespaces
 * there are. Each part's place follows from the data's by arithmetic, so that nothing has to be looked up.
 */

/** Namespaces start and end on multiples of this. */
export const UNIT_BYTES = 1 << 20;
/** Metadata per data: 64 bytes for blocks of 512 are the most there is. */
const METADATA_RATIO = 8;
/** Zones are no smaller than a unit, and take this much each. */
const ZONE_RECORD_BYTES = 16;
/** The record of namespaces stands twice: a write that is cut off leaves the other. */
export const STATE_SLOT_BYTES = 64 * 1024;
export const STATE_SLOTS = 2;

export class Layout {
  /** @param capacityBytes of data, a multiple of {@link UNIT_BYTES} */
  constructor(readonly capacityBytes: number) {}

  /** The whole medium. */
  get sizeBytes(): number {
    return this.stateAt(STATE_SLOTS);
  }

  /** The data's capacity in a medium of this size, or undefined where no layout has this size. */
  static capacityOf(sizeBytes: number): number | undefined {
    const perUnit = UNIT_BYTES + UNIT_BYTES / METADATA_RATIO + ZONE_RECORD_BYTES;
    const units = (sizeBytes - STATE_SLOTS * STATE_SLOT_BYTES) / perUnit;
    return Number.isInteger(units) && units > 0 ? units * UNIT_BYTES : undefined;
  }

  /** All blocks and their metadata, from 0 on: what is behind them tells nothing of what was written. */
  get blocksBytes(): number {
    return this.zoneAt(0);
  }

  /** Metadata of the blocks whose data starts at `dataAt`. Of a namespace: for its first block. */
  metadataAt(dataAt: number): number {
    return this.capacityBytes + dataAt / METADATA_RATIO;
  }

  /** Record of the zone whose data starts at `dataAt`. */
  zoneAt(dataAt: number): number {
    return (
      this.capacityBytes +
      this.capacityBytes / METADATA_RATIO +
      Math.floor(dataAt / UNIT_BYTES) * ZONE_RECORD_BYTES
    );
  }

  stateAt(slot: number): number {
    return this.zoneAt(this.capacityBytes) + slot * STATE_SLOT_BYTES;
  }
}
