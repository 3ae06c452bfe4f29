/** The Supported Capacity Configuration List log (LID 11h), whose descriptors contain further ones. */
import { NvmeProtocolError } from "../command/error.js";
import {
  CAPACITY_LOG_HEADER_BYTES,
  capacityChannel,
  capacityConfiguration,
  capacityGroup,
  capacityMediaUnit,
  capacityWord,
} from "../spec/log-pages.js";

/** A channel of an endurance group, in a capacity configuration. */
export interface CapacityChannel {
  /** Channel identifier. */
  readonly channelId: number;
  /** Media units of the channel. */
  readonly mediaUnits: readonly {
    /** Media unit identifier. */
    readonly mediaUnitId: number;
    /** Media Unit Descriptor Length (MUDL), as the controller reports it. */
    readonly descriptorLength: number;
  }[];
}

/** An endurance group, in a capacity configuration. */
export interface CapacityGroup {
  /** Endurance group identifier. */
  readonly enduranceGroupId: number;
  /** Capacity adjustment factor, in percent. */
  readonly capacityAdjustment: number;
  /** Total capacity, in bytes. */
  readonly totalCapacity: bigint;
  /** Spare capacity, in bytes. */
  readonly spareCapacity: bigint;
  /** Estimate of the bytes that can be written over its life, in units of a billion; 0: not reported. */
  readonly enduranceEstimate: bigint;
  /** NVM sets of the group. */
  readonly nvmSets: readonly number[];
  /** Channels of the group. */
  readonly channels: readonly CapacityChannel[];
}

/** A configuration that Capacity Management can select. */
export interface CapacityConfiguration {
  /** Capacity configuration identifier. */
  readonly configurationId: number;
  /** Domain that it is for; 0: the subsystem has no domains. */
  readonly domainId: number;
  /** Endurance groups that it makes. */
  readonly groups: readonly CapacityGroup[];
}

/** Largest log that is read. */
const MOST_BYTES = 1 << 20;

/** Goes through the bytes of a log that may not all be read yet. */
class Cursor {
  private at = CAPACITY_LOG_HEADER_BYTES;
  /** Something lies beyond the bytes. */
  isShort = false;

  constructor(private readonly page: Uint8Array) {}

  /** The next structure; zeros beyond the bytes. */
  take<T>({ sizeBytes, decode }: { sizeBytes: number; decode(source: Uint8Array): T }): T {
    const start = this.at;
    this.at += sizeBytes;
    if (this.at <= this.page.length) return decode(this.page.subarray(start));
    this.isShort = true;
    return decode(new Uint8Array(sizeBytes));
  }

  list<T>(count: number, next: () => T): T[] {
    const list: T[] = [];
    while (list.length < count && !this.isShort) list.push(next());
    return list;
  }
}

function walk(page: Uint8Array): { configurations: CapacityConfiguration[]; isShort: boolean } {
  const cursor = new Cursor(page);
  const configurations = cursor.list(page[0] ?? 0, (): CapacityConfiguration => {
    const { groups, ...configuration } = cursor.take(capacityConfiguration);
    return {
      ...configuration,
      groups: cursor.list(groups, (): CapacityGroup => {
        const { nvmSets, ...group } = cursor.take(capacityGroup);
        const sets = cursor.list(nvmSets, () => cursor.take(capacityWord).value);
        const channels = cursor.list(cursor.take(capacityWord).value, (): CapacityChannel => {
          const { channelId, mediaUnits } = cursor.take(capacityChannel);
          return { channelId, mediaUnits: cursor.list(mediaUnits, () => cursor.take(capacityMediaUnit)) };
        });
        return { ...group, nvmSets: sets, channels };
      }),
    };
  });
  return { configurations, isShort: cursor.isShort };
}

/** The log's configurations. @internal */
export function capacityConfigurations(page: Uint8Array): readonly CapacityConfiguration[] {
  return walk(page).configurations;
}

/** Bytes of the log that are needed at least, by those read so far. @throws NvmeProtocolError @internal */
export function capacityBytes(page: Uint8Array): number {
  if (!walk(page).isShort) return page.length;
  if (page.length < MOST_BYTES) return page.length * 2;
  throw new NvmeProtocolError(`the Supported Capacity Configuration List is longer than ${MOST_BYTES} bytes`);
}
