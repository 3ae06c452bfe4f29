/** Registers that a driver in the same process reaches through faults. */
import type { RegisterAccess } from "../../registers/access.js";
import { DirectAccess } from "../../registers/device-access.js";

/** What faults do to accesses. */
interface AccessFaults {
  read(bar: number, offset: number, target: Uint8Array, read: () => void): void;
  write(bar: number, offset: number, length: number, write: () => void): void;
  /** Whether configuration space reads all ones. */
  isGone(): boolean;
}

/** Registers with faults. They are never mapped, so that each access is a call. */
export class FaultyAccess extends DirectAccess {
  readonly waitSignal?: () => AbortSignal;

  /** @param bar that the registers stand for */
  constructor(
    private readonly inner: RegisterAccess,
    private readonly faults: AccessFaults,
    bar: number,
  ) {
    const device = {
      read: (offset: number, target: Uint8Array): void =>
        faults.read(bar, offset, target, () => readBytes(inner, offset, target)),
      write: (offset: number, source: Uint8Array): void =>
        faults.write(bar, offset, source.length, () => writeBytes(inner, offset, source)),
    };
    super(device, `${inner.label} with faults`, inner.sizeBytes);
    if (inner.waitSignal !== undefined) this.waitSignal = inner.waitSignal.bind(inner);
  }

  isGone(): boolean {
    return this.faults.isGone() || this.inner.isGone?.() === true;
  }
}

function readBytes(access: RegisterAccess, offset: number, target: Uint8Array): void {
  const view = new DataView(target.buffer, target.byteOffset, target.length);
  if (target.length === 1) view.setUint8(0, access.read8(offset));
  else if (target.length === 2) view.setUint16(0, access.read16(offset), true);
  else if (target.length === 4) view.setUint32(0, access.read32(offset), true);
  else view.setBigUint64(0, access.readWhole64(offset), true);
}

function writeBytes(access: RegisterAccess, offset: number, source: Uint8Array): void {
  const view = new DataView(source.buffer, source.byteOffset, source.length);
  if (source.length === 1) access.write8(offset, view.getUint8(0));
  else if (source.length === 2) access.write16(offset, view.getUint16(0, true));
  else if (source.length === 4) access.write32(offset, view.getUint32(0, true));
  else access.writeWhole64(offset, view.getBigUint64(0, true));
}
