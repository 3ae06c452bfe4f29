/** The live configuration space of an emulated function. */
import {
  CAPABILITY_MSI,
  CAPABILITY_MSIX,
  MESSAGE_CONTROL,
  MSI_ENABLE,
  MSIX_ENABLE,
  MSIX_FUNCTION_MASK,
} from "../../vfio/message-interrupts.js";
import { pciCapabilities } from "../../vfio/pci-capabilities.js";
import type { EmulatedBar } from "./emulated-device.js";

const COMMAND = 0x04;
/** I/O, memory, bus master, parity, SERR#, INTx disable. */
const COMMAND_WRITABLE = 0x0547;
const COMMAND_BUS_MASTER = 0x04;
const COMMAND_INTERRUPT_DISABLE = 0x0400;
const CACHE_LINE = 0x0c;
const BARS = 0x10;
const INTERRUPT_LINE = 0x3c;
const CAPABILITY_EXPRESS = 0x10;
const MSIX_SIZE = 0x07ff;
/** Table and pending bits: the BAR in bits 2:0, the offset above. */
const MSIX_TABLE = 4;
const MSIX_PENDING = 8;
/** Device Control of PCI Express, and its bit that starts a function-level reset. */
const EXPRESS_CONTROL = 8;
const INITIATE_FLR = 0x8000;

/** Where a structure of MSI-X lies. */
interface BarPlace {
  readonly bar: number;
  readonly offset: number;
}

/** MSI-X as its capability describes it. */
export interface MsixLayout {
  readonly vectors: number;
  readonly table: BarPlace;
  readonly pendingBits: BarPlace;
}

/**
 * The live configuration space of an emulated function: what can be written, and what a write starts. Base address
 * registers tell their size as a real one's do, by the bits that can't be set.
 */
export class EmulatedConfigSpace {
  private readonly bytes: Uint8Array;
  private readonly writable: Uint8Array;
  private readonly flrAt: number | undefined;
  private msiAt: number | undefined;
  private msixAt: number | undefined;
  /** Where MSI-X is, if the function has it. */
  readonly msix: MsixLayout | undefined;

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
    if (this.msixAt !== undefined)
      this.msix = layoutOf(this.word(this.msixAt + MESSAGE_CONTROL), this.initial, this.msixAt);
  }

  get sizeBytes(): number {
    return this.bytes.length;
  }

  /** Whether the function may read and write memory by itself. */
  get busMaster(): boolean {
    return ((this.bytes[COMMAND] ?? 0) & COMMAND_BUS_MASTER) !== 0;
  }

  /** Whether the driver keeps the function from asserting its pin. */
  get interruptDisabled(): boolean {
    return (this.word(COMMAND) & COMMAND_INTERRUPT_DISABLE) !== 0;
  }

  get msixEnabled(): boolean {
    return this.msixAt !== undefined && (this.word(this.msixAt + MESSAGE_CONTROL) & MSIX_ENABLE) !== 0;
  }

  /** Function Mask: all vectors of MSI-X are masked. */
  get msixMasked(): boolean {
    return this.msixAt !== undefined && (this.word(this.msixAt + MESSAGE_CONTROL) & MSIX_FUNCTION_MASK) !== 0;
  }

  /** Vectors of MSI that the driver enabled; 0 where MSI is off. */
  get msiVectors(): number {
    if (this.msiAt === undefined) return 0;
    const control = this.word(this.msiAt + MESSAGE_CONTROL);
    return (control & MSI_ENABLE) === 0 ? 0 : 1 << ((control >> 4) & 7);
  }

  /** Vectors of MSI that the function has. */
  get mostMsiVectors(): number {
    return this.msiAt === undefined ? 0 : 1 << ((this.word(this.msiAt + MESSAGE_CONTROL) >> 1) & 7);
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
    const read = (offset: number, target: Uint8Array): void =>
      target.set(this.initial.subarray(offset, offset + target.length));
    for (const { id, offset: at } of pciCapabilities(read, this.initial.length)) {
      // One that is cut off works for no driver.
      if (at + lengthOf(id, at, this.initial) > this.initial.length) continue;
      switch (id) {
        case CAPABILITY_MSIX:
          this.msixAt = at;
          mask.setUint16(at + 2, 0xc000, true);
          break;
        case CAPABILITY_MSI: {
          this.msiAt = at;
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
    }
    return flrAt;
  }

  private word(offset: number): number {
    return (this.bytes[offset] ?? 0) | ((this.bytes[offset + 1] ?? 0) << 8);
  }
}

/** Bytes of the structures that the server knows. */
function lengthOf(id: number, at: number, config: Uint8Array): number {
  switch (id) {
    case CAPABILITY_MSIX:
      return 12;
    case CAPABILITY_MSI:
      return ((config[at + MESSAGE_CONTROL] ?? 0) & 0x80) !== 0 ? 14 : 10;
    case CAPABILITY_EXPRESS:
      return EXPRESS_CONTROL + 2;
    default:
      return 2;
  }
}

function layoutOf(control: number, config: Uint8Array, at: number): MsixLayout {
  const view = new DataView(config.buffer, config.byteOffset, config.byteLength);
  const place = (offset: number): BarPlace => {
    const value = view.getUint32(at + offset, true);
    return { bar: value & 7, offset: (value & ~7) >>> 0 };
  };
  return { vectors: (control & MSIX_SIZE) + 1, table: place(MSIX_TABLE), pendingBits: place(MSIX_PENDING) };
}
