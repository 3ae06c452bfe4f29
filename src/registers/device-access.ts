/** Lets a driver reach a device in software directly, without a server between: for tests of the driver in one process. */
import type { RegisterAccess } from "./access.js";

/** A device in software that is read and written in bytes. */
interface ByteDevice {
  read(offset: number, target: Uint8Array): void;
  write(offset: number, source: Uint8Array): void;
}

/** @internal */
export class DirectAccess implements RegisterAccess {
  private readonly view = new DataView(new ArrayBuffer(8));

  constructor(
    private readonly device: ByteDevice,
    readonly label: string,
    readonly sizeBytes: number,
  ) {}

  read8(offset: number): number {
    return this.load(offset, 1).getUint8(0);
  }

  read16(offset: number): number {
    return this.load(offset, 2).getUint16(0, true);
  }

  read32(offset: number): number {
    return this.load(offset, 4).getUint32(0, true);
  }

  readWhole64(offset: number): bigint {
    return this.load(offset, 8).getBigUint64(0, true);
  }

  write8(offset: number, value: number): void {
    this.view.setUint8(0, value);
    this.store(offset, 1);
  }

  write16(offset: number, value: number): void {
    this.view.setUint16(0, value, true);
    this.store(offset, 2);
  }

  write32(offset: number, value: number): void {
    this.view.setUint32(0, value, true);
    this.store(offset, 4);
  }

  writeWhole64(offset: number, value: bigint): void {
    this.view.setBigUint64(0, value, true);
    this.store(offset, 8);
  }

  private load(offset: number, width: number): DataView {
    this.device.read(offset, new Uint8Array(this.view.buffer, 0, width));
    return this.view;
  }

  private store(offset: number, width: number): void {
    // A handler may write a register itself, which uses the view again.
    this.device.write(offset, new Uint8Array(this.view.buffer, 0, width).slice());
  }
}
