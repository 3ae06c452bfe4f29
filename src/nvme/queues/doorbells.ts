/** A controller's doorbell registers, mapped or passed on by message. */
import { IovaError, UnsupportedError } from "../../core/errors.js";
import type { MappedMemory } from "../../sys/memory.js";
import type { DeviceIo } from "../../vfio/device-io.js";
import { DOORBELL_BASE } from "../spec/registers.js";

const BAR = 0;
/** Both doorbells of the admin queue, with the smallest stride. */
const ADMIN_DOORBELL_BYTES = 8;
/** Marks a word without a change. No doorbell can have this value: its upper 16 bits are reserved. */
const NOTHING = 0xffff_ffff;

/** What doorbells need of a device. */
export interface DoorbellDevice {
  readonly io: Pick<DeviceIo, "regionInfo" | "writeRegion" | "writeRegions">;
  bar(index: number): { readonly sizeBytes: number; map(offset: number, sizeBytes: number): MappedMemory };
  retain(owned: MappedMemory): void;
}

/**
 * Doorbells are mapped if the device allows it. Otherwise queues write to an array, and its changes are passed on to the
 * device, several in one message if possible. A device behind a socket may offer nothing to map.
 */
export class Doorbells {
  /** Indexed by 4-byte words from the first doorbell on. A queue must {@link add} a doorbell before it writes it. */
  readonly words: Uint32Array;
  /** To be called after ringing. Undefined if the doorbells are mapped. @throws what the device's access throws */
  readonly afterRing: (() => void) | undefined;
  /**
   * Passes on all doorbells of this turn at its end, in one message: heads of completion queues and tails of submission
   * queues. Doesn't throw if the device has gone: the device reports that itself (onPresence).
   */
  readonly afterTurn: (() => void) | undefined;
  /** Indexes of the queues' doorbells. The other words are never read: BAR 0 may be large. */
  private readonly inUse = new Set<number>();

  /** @throws SysError, UnsupportedError if BAR 0 ends before the first doorbells */
  constructor(private readonly device: DoorbellDevice) {
    const { sizeBytes } = device.bar(BAR);
    if (sizeBytes < DOORBELL_BASE + ADMIN_DOORBELL_BYTES) {
      throw new UnsupportedError(`BAR 0 has ${sizeBytes} bytes: too few for an NVMe controller's doorbells`);
    }
    const mapped = mapDoorbells(device);
    if (mapped !== undefined) {
      this.words = mapped.words;
      this.afterRing = undefined;
      this.afterTurn = undefined;
      mapped.relinquish();
      device.retain(mapped);
      return;
    }
    this.words = new Uint32Array((sizeBytes - DOORBELL_BASE) / 4);
    let isDue = false;
    const passOnLater = (): void => {
      isDue = false;
      try {
        this.passOn();
      } catch (error) {
        if (!(error instanceof IovaError)) throw error;
      }
    };
    this.afterRing = () => this.passOn();
    this.afterTurn = () => {
      if (isDue) return;
      isDue = true;
      // Ticks run when the microtask queue is empty; microtasks submit and complete commands.
      queueMicrotask(() => process.nextTick(passOnLater));
    };
  }

  /** Registers a doorbell that a queue uses. @returns {@link words} */
  add(index: number): Uint32Array {
    if (this.afterRing !== undefined) {
      this.inUse.add(index);
      this.words[index] = NOTHING;
    }
    return this.words;
  }

  /**
   * How many I/O queue pairs have both doorbells in BAR 0. The admin queue has the first two.
   * @param strideBytes from one doorbell to the next
   */
  maxQueues(strideBytes: number): number {
    return Math.floor((this.words.length * 4) / (2 * strideBytes)) - 1;
  }

  /** Drops changes that weren't passed on. Call it after a reset. */
  forget(): void {
    for (const index of this.inUse) this.words[index] = NOTHING;
  }

  /** @throws DeviceGoneError, TimeoutError, ClosedError, SysError */
  private passOn(): void {
    const { words } = this;
    const { io } = this.device;
    const writes: { readonly offset: number; readonly source: Uint8Array }[] = [];
    for (const index of this.inUse) {
      const value = words[index] ?? NOTHING;
      // The value alone doesn't show a change: a burst may go round the whole ring.
      if (value === NOTHING) continue;
      words[index] = NOTHING;
      const source = new Uint8Array(Uint32Array.of(value).buffer);
      writes.push({ offset: DOORBELL_BASE + 4 * index, source });
    }
    if (io.writeRegions !== undefined) io.writeRegions(BAR, writes);
    else for (const { offset, source } of writes) io.writeRegion(BAR, offset, source);
  }
}

function mapDoorbells(device: DoorbellDevice): MappedMemory | undefined {
  const { mappable, sizeBytes } = device.io.regionInfo(BAR);
  const area = mappable.find(
    ({ offset, sizeBytes: length }) => offset <= DOORBELL_BASE && offset + length > DOORBELL_BASE,
  );
  if (area === undefined) return undefined;
  const end = Math.min(area.offset + area.sizeBytes, sizeBytes);
  return device.bar(BAR).map(DOORBELL_BASE, end - DOORBELL_BASE);
}
