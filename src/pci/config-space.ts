/** The configuration space of a PCI function. */
import { checkBytes, checkInteger } from "../core/check.js";
import { ArgumentError, DeviceGoneError, StateError } from "../core/errors.js";
import { checkDeviceIo, type DeviceIo } from "../vfio/device-io.js";
import { VFIO_PCI_CONFIG_REGION_INDEX } from "../vfio/uapi.js";
import { ConfigReader } from "./config-reader.js";

/** Offsets of the common header (PCI Local Bus 3.0, 6.1). */
export const PciRegister = {
  /** Vendor id, 16 bits. */
  vendorId: 0x00,
  /** Device id, 16 bits. */
  deviceId: 0x02,
  /** Command register, 16 bits; see {@link PciCommand}. */
  command: 0x04,
  /** Status register, 16 bits. */
  status: 0x06,
  /** Revision id, 8 bits. */
  revision: 0x08,
  /** Programming interface, subclass and class, 8 bits each. */
  classCode: 0x09,
  /** Header type, 8 bits; bit 7 is set for a device of several functions. */
  headerType: 0x0e,
  /** Offset of the first capability, 8 bits. */
  capabilities: 0x34,
} as const;

/** Bits of the command register. */
export const PciCommand = {
  /** The function answers to its I/O port BARs. */
  ioSpace: 1 << 0,
  /** The function answers to its memory BARs. */
  memorySpace: 1 << 1,
  /** The function may start DMA, and so may send MSI. */
  busMaster: 1 << 2,
  /** The function must not assert INTx. */
  interruptDisable: 1 << 10,
} as const;

/** Length of the header; capabilities follow. */
const HEADER_BYTES = 0x40;
/** The control register of power management and its deepest state (PCI Power Management 1.2, 3.2). */
const POWER_CONTROL = 4;
const POWER_STATE = 3;
const POWER_STATE_D3_HOT = 3;

/** A function's configuration space, as VFIO shows it: it emulates BARs and the control of MSI and MSI-X. */
export class ConfigSpace extends ConfigReader {
  /** 256, or 4096 with PCI Express. */
  readonly sizeBytes: number;
  /** Offset of the power state; null if the function has none, undefined before the first write. */
  private powerControl: number | null | undefined;

  /** @throws ArgumentError, ClosedError, SysError */
  constructor(private readonly io: DeviceIo) {
    super();
    checkDeviceIo(io);
    this.sizeBytes = io.regionInfo(VFIO_PCI_CONFIG_REGION_INDEX).sizeBytes;
  }

  /** Names it in errors. */
  get label(): string {
    return `the configuration space of ${this.io.lease.label}`;
  }

  /** @throws ArgumentError outside the space or misaligned, ClosedError, SysError */
  override read8(offset: number): number {
    return this.access(offset, 1).getUint8(0);
  }

  /** @param offset bytes, multiple of 2 @throws as read8 */
  override read16(offset: number): number {
    return this.access(offset, 2).getUint16(0, true);
  }

  /** @param offset bytes, multiple of 4 @throws as read8 */
  override read32(offset: number): number {
    return this.access(offset, 4).getUint32(0, true);
  }

  override readBytes(offset: number, target: Uint8Array): void {
    checkBytes("target", target);
    checkInteger("offset", offset, 0, this.sizeBytes - target.length);
    this.io.readRegion(VFIO_PCI_CONFIG_REGION_INDEX, offset, target);
  }

  /** @throws as read8, and StateError for a write that would disable access to the BARs */
  override write8(offset: number, value: number): void {
    checkInteger("value", value, 0, 0xff);
    this.store(offset, Uint8Array.of(value));
  }

  /** @param offset bytes, multiple of 2 @throws as write8 */
  override write16(offset: number, value: number): void {
    checkInteger("value", value, 0, 0xffff);
    this.store(offset, Uint8Array.of(value & 0xff, value >> 8));
  }

  /** @param offset bytes, multiple of 4 @throws as write8 */
  override write32(offset: number, value: number): void {
    checkInteger("value", value, 0, 0xffff_ffff);
    this.store(offset, new Uint8Array(Uint32Array.of(value).buffer));
  }

  /** Allows the function to start DMA, or forbids it. Forbidding it to a function that has gone does nothing. */
  set busMaster(enabled: boolean) {
    try {
      this.setCommand(PciCommand.busMaster, enabled);
    } catch (error) {
      if (enabled || !(error instanceof DeviceGoneError)) throw error;
    }
  }

  /** Whether the function may start DMA. */
  get busMaster(): boolean {
    return (this.read16(PciRegister.command) & PciCommand.busMaster) !== 0;
  }

  /** Forbids the function to assert INTx, or allows it. */
  set interruptDisable(disabled: boolean) {
    this.setCommand(PciCommand.interruptDisable, disabled);
  }

  /** Whether the function must not assert INTx. */
  get interruptDisable(): boolean {
    return (this.read16(PciRegister.command) & PciCommand.interruptDisable) !== 0;
  }

  private setCommand(bit: number, isSet: boolean): void {
    const command = this.read16(PciRegister.command);
    this.write16(PciRegister.command, isSet ? command | bit : command & ~bit);
  }

  private access(offset: number, width: number): DataView {
    this.checkAligned(offset, width);
    const bytes = new Uint8Array(width);
    this.io.readRegion(VFIO_PCI_CONFIG_REGION_INDEX, offset, bytes);
    return new DataView(bytes.buffer);
  }

  private store(offset: number, bytes: Uint8Array): void {
    this.checkAligned(offset, bytes.length);
    const commandByte = bytes[PciRegister.command - offset];
    const isOff = commandByte !== undefined && (commandByte & PciCommand.memorySpace) === 0;
    // A function without registers in memory may never have decoded any.
    if (isOff && (this.read8(PciRegister.command) & PciCommand.memorySpace) !== 0) {
      // An access to a mapped BAR would then raise SIGBUS, which kills the process.
      throw new StateError("memory decoding can't be switched off: mapped registers would fault");
    }
    // Finding a capability costs messages or system calls. Most writes are to the header, which has none.
    const control = offset + bytes.length > HEADER_BYTES ? this.findPowerControl() : null;
    const powerByte = control === null ? undefined : bytes[control - offset];
    if (powerByte !== undefined && (powerByte & POWER_STATE) === POWER_STATE_D3_HOT) {
      throw new StateError("the function can't be put to sleep: mapped registers would fault");
    }
    this.io.writeRegion(VFIO_PCI_CONFIG_REGION_INDEX, offset, bytes);
  }

  private findPowerControl(): number | null {
    if (this.powerControl === undefined) {
      const power = this.capabilities().find(({ name }) => name === "pm");
      this.powerControl = power === undefined ? null : power.offset + POWER_CONTROL;
    }
    return this.powerControl;
  }

  private checkAligned(offset: number, width: number): void {
    checkInteger("offset", offset, 0, this.sizeBytes - width);
    if (offset % width !== 0) throw new ArgumentError(`offset ${offset} is not a multiple of ${width}`);
  }
}
