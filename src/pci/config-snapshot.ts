/** A copy of a configuration space, for functions that aren't opened: from sysfs, or from bytes. */
import { statSync } from "node:fs";
import { join } from "node:path";
import { checkBytes, checkInteger, checkString } from "../core/check.js";
import { ArgumentError, StateError } from "../core/errors.js";
import { kernelBytes } from "../sys/kernel-files.js";
import { devicePath } from "./address/device-path.js";
import { ConfigReader } from "./config-reader.js";

const HEADER_BYTES = 0x40;
const MAX_BYTES = 0x1000;

/** A configuration space as it was when it was read. It can't be written. */
export class ConfigSnapshot extends ConfigReader {
  /** How much was read: 64 bytes if the process lacks CAP_SYS_ADMIN, or else all. */
  readonly sizeBytes: number;
  private readonly view: DataView;

  /**
   * @param bytes from the start of configuration space, 64 to 4096
   * @param label names it in errors
   * @param fullSizeBytes length of the configuration space, if that is more
   * @throws ArgumentError
   */
  constructor(
    bytes: Uint8Array,
    readonly label = "the snapshot",
    readonly fullSizeBytes = bytes.length,
  ) {
    super();
    checkBytes("bytes", bytes);
    checkString("label", label);
    const { length } = bytes;
    checkInteger("length of a configuration space", length, HEADER_BYTES, MAX_BYTES);
    checkInteger("fullSizeBytes", fullSizeBytes, length, MAX_BYTES);
    this.sizeBytes = length;
    // Buffer.slice() would copy nothing.
    this.view = new DataView(new Uint8Array(bytes).buffer);
  }

  /**
   * Reads the configuration space of a function of this host from sysfs. No driver is disturbed. Without CAP_SYS_ADMIN the
   * kernel gives the first 64 bytes only.
   * @param bdf domain:bus:device.function
   * @throws ArgumentError (malformed, no such function), SysError
   */
  static read(bdf: string): ConfigSnapshot {
    const path = join(devicePath(bdf), "config");
    const bytes = kernelBytes(path, MAX_BYTES);
    const fullSizeBytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    return new ConfigSnapshot(
      bytes,
      `the configuration space of ${bdf}`,
      Math.max(fullSizeBytes, bytes.length),
    );
  }

  override read8(offset: number): number {
    return this.view.getUint8(this.checked(offset, 1));
  }

  override read16(offset: number): number {
    return this.view.getUint16(this.checked(offset, 2), true);
  }

  override read32(offset: number): number {
    return this.view.getUint32(this.checked(offset, 4), true);
  }

  override readBytes(offset: number, target: Uint8Array): void {
    checkBytes("target", target);
    checkInteger("offset", offset, 0, this.sizeBytes - target.length);
    target.set(new Uint8Array(this.view.buffer, offset, target.length));
  }

  /** @throws StateError */
  override write8(): void {
    throw this.readOnly();
  }

  /** @throws StateError */
  override write16(): void {
    throw this.readOnly();
  }

  /** @throws StateError */
  override write32(): void {
    throw this.readOnly();
  }

  protected override missing(): string | undefined {
    const { sizeBytes, fullSizeBytes } = this;
    if (sizeBytes >= fullSizeBytes) return undefined;
    return `only the first ${sizeBytes} of ${fullSizeBytes} bytes can be read: the rest needs CAP_SYS_ADMIN, so run this as root`;
  }

  private checked(offset: number, width: number): number {
    checkInteger("offset", offset, 0, this.sizeBytes - width);
    if (offset % width !== 0) throw new ArgumentError(`offset ${offset} is not a multiple of ${width}`);
    return offset;
  }

  private readOnly(): StateError {
    return new StateError(
      `${this.label} is a snapshot and can't be written: open the device with PciDevice.open()`,
    );
  }
}
