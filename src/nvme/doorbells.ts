import type { PciDevice } from "../pci/device.js";
import type { MappedMemory } from "../sys/memory.js";
import { DOORBELL_BASE } from "./spec/registers.js";

const BAR = 0;

/**
 * A controller's doorbell registers as queues write them: mapped, where they can be; otherwise an array, whose changes are
 * passed on one by one. A device behind a socket may offer nothing to map.
 */
export class Doorbells {
  /** Indexed by 4-byte words from the first doorbell on. */
  readonly words: Uint32Array;
  /** To be called after ringing; undefined where that is all there is to it. */
  readonly afterRing: (() => void) | undefined;
  /** What was passed on. */
  private readonly told: Uint32Array | undefined;

  /** @throws SysError */
  constructor(device: PciDevice) {
    const mapped = mapDoorbells(device);
    if (mapped !== undefined) {
      this.words = mapped.words;
      this.afterRing = undefined;
      mapped.entrust();
      device.keep(mapped);
      return;
    }
    const bar = device.bar(BAR);
    const words = new Uint32Array((bar.sizeBytes - DOORBELL_BASE) / 4);
    const told = new Uint32Array(words.length);
    this.words = words;
    this.told = told;
    this.afterRing = () => {
      for (let i = 0; i < words.length; i++) {
        const value = words[i] ?? 0;
        if (value === told[i]) continue;
        told[i] = value;
        bar.write32(DOORBELL_BASE + 4 * i, value);
      }
    };
  }

  /** After a reset all doorbells are 0 again. */
  forget(): void {
    if (this.told === undefined) return;
    this.told.fill(0);
    this.words.fill(0);
  }
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
