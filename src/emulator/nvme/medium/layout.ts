/** How a medium is divided into data, metadata, states of zones, and the record of namespaces. */

/** Namespaces start and end on multiples of this. */
export const UNIT_BYTES = 1 << 20;
/** Bytes of data for each byte of metadata: no format has more than 64 bytes for a block of 512. */
const METADATA_RATIO = 8;
/** Zones are no smaller than a unit, and take this much each. */
export const ZONE_RECORD_BYTES = 16;
/** There are two records of namespaces: if writing one is interrupted, the other is valid. */
export const STATE_SLOT_BYTES = 64 * 1024;
export const STATE_SLOTS = 2;

/** Calculates the place of each part from the place of the data, so that no table is needed. */
export class Layout {
  /** @param capacityBytes of data, a multiple of {@link UNIT_BYTES} */
  constructor(readonly capacityBytes: number) {}

  /** The whole medium. */
  get sizeBytes(): number {
    return this.stateAt(STATE_SLOTS);
  }

  /** The data's capacity in a medium of this size, or undefined if no layout has this size. */
  static capacityOf(sizeBytes: number): number | undefined {
    const perUnit = UNIT_BYTES + UNIT_BYTES / METADATA_RATIO + ZONE_RECORD_BYTES;
    const units = (sizeBytes - STATE_SLOTS * STATE_SLOT_BYTES) / perUnit;
    return Number.isInteger(units) && units > 0 ? units * UNIT_BYTES : undefined;
  }

  /** Length of all blocks and their metadata, which begin at 0. The parts behind them hold no data of the host. */
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
