/** Makes the configuration space of a simple emulated function. */
import { checkInteger, checkKeys, checkPowerOfTwo } from "../../core/check.js";
import { CAPABILITY_MSI } from "../../vfio/message-interrupts.js";

/** What {@link initialConfigSpace} puts into a configuration space. */
export interface ConfigSpaceOptions {
  /** Vendor ID. 0xffff is what an empty slot reads. */
  readonly vendorId: number;
  /** Device ID. */
  readonly deviceId: number;
  /** Class code of 24 bits: class, subclass, programming interface. 0x00ff00 by default: unassigned. */
  readonly classCode?: number | undefined;
  /** Revision ID, 0 by default. */
  readonly revision?: number | undefined;
  /** Vectors of MSI: 1 by default, a power of 2 up to 32, or 0 for no MSI. */
  readonly msiVectors?: number | undefined;
  /** Whether it has an interrupt pin (INTA). Left out, it has one. */
  readonly hasPin?: boolean | undefined;
}

const CONFIG_BYTES = 256;
const UNASSIGNED_CLASS = 0x00ff00;
const MSI_AT = 0x40;
const MSI_64BIT = 0x80;
const STATUS_CAPABILITIES = 1 << 4;
const PIN_A = 1;
const MAX_MSI_VECTORS = 32;

/**
 * Configuration space as at reset, for {@link EmulatedDevice.configSpace}: 256 bytes with a header of type 0 and MSI. BARs are
 * memory BARs of 32 bits, which the server sizes. For other BARs and capabilities, change the bytes.
 * @throws ArgumentError
 */
export function initialConfigSpace(options: ConfigSpaceOptions): Uint8Array {
  checkKeys("configuration space", options, [
    "vendorId",
    "deviceId",
    "classCode",
    "revision",
    "msiVectors",
    "hasPin",
  ] satisfies (keyof ConfigSpaceOptions)[]);
  const { vendorId, deviceId, classCode = UNASSIGNED_CLASS, revision = 0, msiVectors = 1 } = options;
  checkInteger("vendorId", vendorId, 0, 0xfffe);
  checkInteger("deviceId", deviceId, 0, 0xffff);
  checkInteger("classCode", classCode, 0, 0xff_ffff);
  checkInteger("revision", revision, 0, 0xff);
  const bytes = new Uint8Array(CONFIG_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(0x00, vendorId, true);
  view.setUint16(0x02, deviceId, true);
  view.setUint32(0x08, ((classCode << 8) | revision) >>> 0, true);
  if (options.hasPin !== false) bytes[0x3d] = PIN_A;
  if (msiVectors !== 0) {
    checkPowerOfTwo("msiVectors", msiVectors, 1, MAX_MSI_VECTORS);
    view.setUint16(0x06, STATUS_CAPABILITIES, true);
    bytes[0x34] = MSI_AT;
    bytes[MSI_AT] = CAPABILITY_MSI;
    view.setUint16(MSI_AT + 2, MSI_64BIT | (Math.log2(msiVectors) << 1), true);
  }
  return bytes;
}
