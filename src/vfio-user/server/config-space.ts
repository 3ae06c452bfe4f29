import type { EmulatedBar } from "./emulated-device.js";

const COMMAND = 0x04;
/** I/O, memory, bus master, parity, SERR#, INTx disable. */
const COMMAND_WRITABLE = 0x0547;
const COMMAND_BUS_MASTER = 0x04;
const CACHE_LINE = 0x0c;
const BARS = 0x10;
const CAPABILITIES = 0x34;
const INTERRUPT_LINE = 0x3c;
const CAPABILITY_MSI = 0x05;
const CAPABILITY_EXPRESS = 0x10;
const CAPABILITY_MSIX = 0x11;
/** Device Control of PCI Express, and its bit that starts a function-level reset. */
const EXPRESS_CONTROL = 8;
const INITIATE_FLR = 0x8000;

/**
 * The live configuration space of an emulated function: what can be written, and what a write starts. Base address
 * registers tell their size as a real one's do, by the bits that can't be set.
 */
export class EmulatedConfigSpace {
  private readonly bytes: Uint8Array;
  private readonly writable: Uint8Array;
  private readonly flrAt: number | undefined;

  constructor(
    private readonly initial: Uint8Array,
    bars: readonly (EmulatedBar | undefined)[],
  ) {
    this.bytes = initial.slice();
    this.writable = new Uint8Array(initial.length);
    const mask = new DataView(this.writable.buffer);
    mask.setUint16(COMMAND, COMMAND_WRITABLE, true);
    mask.setUint16(CACHE_LINE, 0xffff, true);
    this.writable[INTERRUPT_LINE] = 0xff;
    bars.forEach((bar, index) => {
      if (bar === undefined) return;
      const typeBits = bar.isIo === true ? 3 : 15;
      mask.setUint32(BARS + 4 * index, (-bar.sizeBytes & ~typeBits) >>> 0, true);
      if (bar.is64Bit === true && index < 5) {
        const high = bar.sizeBytes >= 2 ** 32 ? -Math.floor(bar.sizeBytes / 2 ** 32) >>> 0 : 0xffff_ffff;
        mask.setUint32(BARS + 4 * index + 4, high, true);
      }
    });
    this.flrAt = this.openCapabilities(mask);
  }

  get sizeBytes(): number {
    return this.bytes.length;
  }

  /** Whether the function may read and write memory by itself. */
  get busMaster(): boolean {
    return ((this.bytes[COMMAND] ?? 0) & COMMAND_BUS_MASTER) !== 0;
  }

  /** As at power-on. */
  reset(): void {
    this.bytes.set(this.initial);
  }

  /** Whether these could be the bytes of this function: they differ only where it can be written. */
  accepts(bytes: Uint8Array): boolean {
    const { initial, writable } = this;
    if (bytes.length !== initial.length) return false;
    return bytes.every((byte, i) => ((byte ^ (initial[i] ?? 0)) & ~(writable[i] ?? 0)) === 0);
  }

  /** @param bytes that {@link accepts} took */
  load(bytes: Uint8Array): void {
    this.bytes.set(bytes);
  }

  read(offset: number, target: Uint8Array): void {
    target.set(this.bytes.subarray(offset, offset + target.length));
  }

  /** @returns whether the write asks for a function-level reset */
  write(offset: number, source: Uint8Array): boolean {
    const { bytes, writable, flrAt } = this;
    source.forEach((value, i) => {
      const at = offset + i;
      const mask = writable[at] ?? 0;
      bytes[at] = ((bytes[at] ?? 0) & ~mask) | (value & mask);
    });
    if (flrAt === undefined || offset > flrAt + 1 || offset + source.length <= flrAt + 1) return false;
    return ((source[flrAt + 1 - offset] ?? 0) & (INITIATE_FLR >> 8)) !== 0;
  }

  /** Makes writable what drivers write in capabilities. @returns where Device Control is, where resets can be had */
  private openCapabilities(mask: DataView): number | undefined {
    const view = new DataView(this.initial.buffer, this.initial.byteOffset, this.initial.byteLength);
    let flrAt: number | undefined;
    const seen = new Set<number>();
    for (let at = (this.initial[CAPABILITIES] ?? 0) & ~3; at >= 0x40 && at < 0x100 && !seen.has(at); ) {
      seen.add(at);
      switch (this.initial[at]) {
        case CAPABILITY_MSIX:
          mask.setUint16(at + 2, 0xc000, true);
          break;
        case CAPABILITY_MSI: {
          const is64Bit = (view.getUint16(at + 2, true) & 0x80) !== 0;
          mask.setUint16(at + 2, 0x0071, true);
          for (let i = 4; i < (is64Bit ? 14 : 10); i++) this.writable[at + i] = 0xff;
          break;
        }
        case CAPABILITY_EXPRESS:
          mask.setUint16(at + EXPRESS_CONTROL, 0x7fff, true);
          if ((view.getUint32(at + 4, true) & (1 << 28)) !== 0) flrAt = at + EXPRESS_CONTROL;
          break;
      }
      at = (this.initial[at + 1] ?? 0) & ~3;
    }
    return flrAt;
  }
}
