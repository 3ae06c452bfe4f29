/** Makes the configuration space of a simple emulated function. */
import { checkInteger, checkKeys, checkPowerOfTwo } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import {
  CAPABILITY_MSI,
  CAPABILITY_MSIX,
  MAX_MSI_VECTORS,
  MAX_MSIX_VECTORS,
  MSIX_ENTRY_BYTES,
} from "../../vfio/message-interrupts.js";

/** MSI-X of an emulated function. The BAR keeps the table and the pending bits as memory does: {@link memoryBar} makes one. */
export interface MsixOptions {
  /** How many vectors: 1 to 2048. */
  readonly vectors: number;
  /** The BAR that holds table and pending bits. */
  readonly bar: number;
  /** Where the table starts in the BAR, 16 bytes for each vector: a multiple of 8; 0 by default. */
  readonly tableOffset?: number | undefined;
  /** Where the pending bits start, 8 bytes for each 64 vectors: a multiple of 8; behind the table by default. */
  readonly pendingOffset?: number | undefined;
}

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
  /** MSI-X; none by default. */
  readonly msix?: MsixOptions | undefined;
  /** Whether it has an interrupt pin (INTA). Left out, it has one. */
  readonly hasPin?: boolean | undefined;
}

const CONFIG_BYTES = 256;
const UNASSIGNED_CLASS = 0x00ff00;
const MSI_AT = 0x40;
const MSI_64BIT = 0x80;
const MSIX_AT = 0x50;
const LAST_BAR = 5;
const STATUS_CAPABILITIES = 1 << 4;
const PIN_A = 1;

/**
 * Configuration space as at reset, for {@link EmulatedDevice.configSpace}: 256 bytes with a header of type 0, MSI and, on request, MSI-X. BARs are
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
    "msix",
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
  const capabilities: [at: number, id: number][] = [];
  if (msiVectors !== 0) {
    checkPowerOfTwo("msiVectors", msiVectors, 1, MAX_MSI_VECTORS);
    capabilities.push([MSI_AT, CAPABILITY_MSI]);
    view.setUint16(MSI_AT + 2, MSI_64BIT | (Math.log2(msiVectors) << 1), true);
  }
  if (options.msix !== undefined) {
    capabilities.push([MSIX_AT, CAPABILITY_MSIX]);
    writeMsix(view, options.msix);
  }
  if (capabilities.length > 0) view.setUint16(0x06, STATUS_CAPABILITIES, true);
  let linkAt = 0x34;
  for (const [at, id] of capabilities) {
    bytes[linkAt] = at;
    bytes[at] = id;
    linkAt = at + 1;
  }
  return bytes;
}

/** @throws ArgumentError */
function writeMsix(view: DataView, options: MsixOptions): void {
  checkKeys("msix", options, [
    "vectors",
    "bar",
    "tableOffset",
    "pendingOffset",
  ] satisfies (keyof MsixOptions)[]);
  const { vectors, bar, tableOffset = 0 } = options;
  checkInteger("msix.vectors", vectors, 1, MAX_MSIX_VECTORS);
  checkInteger("msix.bar", bar, 0, LAST_BAR);
  const pendingOffset = options.pendingOffset ?? tableOffset + vectors * MSIX_ENTRY_BYTES;
  for (const [name, offset] of [
    ["tableOffset", tableOffset],
    ["pendingOffset", pendingOffset],
  ] as const) {
    checkInteger(`msix.${name}`, offset, 0, 2 ** 32 - 8);
    if (offset % 8 !== 0) throw new ArgumentError(`msix.${name} must be a multiple of 8, got ${offset}`);
  }
  view.setUint16(MSIX_AT + 2, vectors - 1, true);
  view.setUint32(MSIX_AT + 4, (tableOffset | bar) >>> 0, true);
  view.setUint32(MSIX_AT + 8, (pendingOffset | bar) >>> 0, true);
}
