import { IovaError } from "../../core/errors.js";
import type { PciDevice } from "../../pci/device.js";
import type { MappedMemory } from "../../sys/memory.js";
import type { DeviceIo } from "../../vfio/device-io.js";
import { DOORBELL_BASE } from "../spec/registers.js";

const BAR = 0;

/**
 * A controller's doorbell registers as queues write them: mapped, where they can be; otherwise an array, whose changes are
 * passed on, together where that is possible. A device behind a socket may offer nothing to map.
 */
export class Doorbells {
  /** Indexed by 4-byte words from the first doorbell on. */
  readonly words: Uint32Array;
  /** To be called after ringing; undefined where that is all there is to it. @throws what the device's access throws */
  readonly afterRing: (() => void) | undefined;
  /**
   * The same, at the end of this turn, for whoever has several queues or rings several times: what was completed and what was
   * submitted thereupon goes with one message. A device that has gone says so itself (onPresence).
   */
  readonly afterTurn: (() => void) | undefined;
  /** What was passed on. */
  private readonly told: Uint32Array | undefined;

  /** @throws SysError */
  constructor(device: PciDevice) {
    const mapped = mapDoorbells(device);
    if (mapped !== undefined) {
      this.words = mapped.words;
      this.afterRing = undefined;
      this.afterTurn = undefined;
      mapped.entrust();
      device.keep(mapped);
      return;
    }
    const words = new Uint32Array((device.bar(BAR).sizeBytes - DOORBELL_BASE) / 4);
    const told = new Uint32Array(words.length);
    this.words = words;
    this.told = told;
    const tell = (): void => passOn(device.io, words, told);
    let isDue = false;
    const tellLater = (): void => {
      isDue = false;
      try {
        tell();
      } catch (error) {
        if (!(error instanceof IovaError)) throw error;
      }
    };
    this.afterRing = tell;
    this.afterTurn = () => {
      if (isDue) return;
      isDue = true;
      // Ticks come when the queue of microtasks, where commands are submitted and completed, is empty.
      queueMicrotask(() => process.nextTick(tellLater));
    };
  }

  /** After a reset all doorbells are 0 again. */
  forget(): void {
    if (this.told === undefined) return;
    this.told.fill(0);
    this.words.fill(0);
  }
}

/** @throws DeviceGoneError, TimeoutError, ClosedError, SysError */
function passOn(io: DeviceIo, words: Uint32Array, told: Uint32Array): void {
  const writes: { readonly offset: number; readonly source: Uint8Array }[] = [];
  for (let i = 0; i < words.length; i++) {
    const value = words[i] ?? 0;
    if (value === told[i]) continue;
    told[i] = value;
    writes.push({ offset: DOORBELL_BASE + 4 * i, source: new Uint8Array(Uint32Array.of(value).buffer) });
  }
  if (io.writeRegions !== undefined) io.writeRegions(BAR, writes);
  else for (const { offset, source } of writes) io.writeRegion(BAR, offset, source);
}

function mapDoorbells(device: PciDevice): MappedMemory | undefined {
  const { mappable, sizeBytes } = device.io.regionInfo(BAR);
  const area = mappable.find(
    ({ offset, sizeBytes: length }) => offset <= DOORBELL_BASE && offset + length > DOORBELL_BASE,
  );
  if (area === undefined) return undefined;
  const end = Math.min(area.offset + area.sizeBytes, sizeBytes);
  return device.bar(BAR).map(DOORBELL_BASE, end - DOORBELL_BASE);
}
