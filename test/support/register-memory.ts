/** Registers in plain memory, with every access counted by width: what a device without a BAR could offer. */
import { checkInteger } from "../../src/core/check.js";
import type { RegisterAccess } from "../../src/registers/access.js";

/** One access. */
export interface RegisterCall {
  readonly kind: "read" | "write";
  readonly width: 8 | 16 | 32 | 64;
  readonly offset: number;
}

/** Registers in memory that are reached by calls, as a BAR is that can't be mapped. */
export class RegisterMemory implements RegisterAccess {
  readonly label = "test memory";
  readonly calls: RegisterCall[] = [];
  readonly view: DataView;
  /** What {@link isGone} answers. */
  gone = false;
  /** Runs after each access. */
  after: (call: RegisterCall) => void = () => {};

  constructor(readonly sizeBytes: number) {
    this.view = new DataView(new ArrayBuffer(sizeBytes));
  }

  isGone(): boolean {
    return this.gone;
  }

  read8(offset: number): number {
    return this.note("read", 8, offset, () => this.view.getUint8(offset));
  }

  read16(offset: number): number {
    return this.note("read", 16, offset, () => this.view.getUint16(offset, true));
  }

  read32(offset: number): number {
    return this.note("read", 32, offset, () => this.view.getUint32(offset, true));
  }

  readWhole64(offset: number): bigint {
    return this.note("read", 64, offset, () => this.view.getBigUint64(offset, true));
  }

  write8(offset: number, value: number): void {
    checkInteger("value", value, 0, 0xff);
    this.note("write", 8, offset, () => this.view.setUint8(offset, value));
  }

  write16(offset: number, value: number): void {
    checkInteger("value", value, 0, 0xffff);
    this.note("write", 16, offset, () => this.view.setUint16(offset, value, true));
  }

  write32(offset: number, value: number): void {
    checkInteger("value", value, 0, 0xffff_ffff);
    this.note("write", 32, offset, () => this.view.setUint32(offset, value, true));
  }

  writeWhole64(offset: number, value: bigint): void {
    this.note("write", 64, offset, () => this.view.setBigUint64(offset, value, true));
  }

  private note<T>(kind: RegisterCall["kind"], width: RegisterCall["width"], offset: number, act: () => T): T {
    const result = act();
    const call = { kind, width, offset };
    this.calls.push(call);
    this.after(call);
    return result;
  }
}
