/** The PCI configuration space of the emulated controller. */
import type { Oddities } from "./host/oddities.js";
import { CMB_BAR } from "./queues/registers.js";

const CONFIG_BYTES = 4096;
/** Where capabilities stand. */
const EXPRESS_AT = 0x40;
const MSIX_AT = 0x80;
const MSI_AT = 0xa0;
const CAPABILITY_MSI = 0x05;
/** MSI control: addresses of 64 bits; one vector. */
const MSI_64BIT = 1 << 7;
const CAPABILITY_EXPRESS = 0x10;
const CAPABILITY_MSIX = 0x11;
const STATUS_CAPABILITIES = 1 << 4;
const BAR_64BIT = 1 << 2;
const BAR_PREFETCHABLE = 1 << 3;
/** Function level reset, in the device capabilities of PCI Express. */
const FUNCTION_LEVEL_RESET = 1 << 28;

/** The MSI-X table and pending bits are alone in their BAR: the table at 0, the bits behind it. */
export const MSIX_BAR = 4;
export const MSIX_PBA_AT = 4096;
export const MSIX_BAR_BYTES = 8192;

/** Configuration space of the controller as at reset: a PCI Express function of class NVMe. */
export function nvmeConfigSpace(
  vectors: number,
  hasCmb: boolean,
  {
    vendorId,
    deviceId,
    classCode,
    deadMsi,
  }: Pick<Oddities, "vendorId" | "deviceId" | "classCode" | "deadMsi">,
): Uint8Array {
  const bytes = new Uint8Array(CONFIG_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(0x00, vendorId, true);
  view.setUint16(0x02, deviceId, true);
  view.setUint16(0x06, STATUS_CAPABILITIES, true);
  view.setUint32(0x08, (classCode << 8) >>> 0, true);
  view.setUint32(0x10, BAR_64BIT, true);
  if (hasCmb) view.setUint32(0x10 + 4 * CMB_BAR, BAR_64BIT | BAR_PREFETCHABLE, true);
  view.setUint16(0x2c, vendorId, true);
  view.setUint16(0x2e, deviceId, true);
  bytes[0x34] = EXPRESS_AT;
  // Interrupt pin A.
  bytes[0x3d] = 1;

  bytes[EXPRESS_AT] = CAPABILITY_EXPRESS;
  const msiAt = deadMsi ? MSI_AT : 0;
  bytes[EXPRESS_AT + 1] = vectors > 0 ? MSIX_AT : msiAt;
  // Version 2, endpoint.
  view.setUint16(EXPRESS_AT + 2, 0x0002, true);
  view.setUint32(EXPRESS_AT + 4, FUNCTION_LEVEL_RESET, true);
  // A link of one lane at 2.5 GT/s, which is up: some drivers look.
  view.setUint32(EXPRESS_AT + 12, 0x11, true);
  view.setUint16(EXPRESS_AT + 18, 0x11, true);

  if (vectors > 0) {
    bytes[MSIX_AT] = CAPABILITY_MSIX;
    bytes[MSIX_AT + 1] = msiAt;
    view.setUint16(MSIX_AT + 2, vectors - 1, true);
    view.setUint32(MSIX_AT + 4, MSIX_BAR, true);
    view.setUint32(MSIX_AT + 8, MSIX_PBA_AT | MSIX_BAR, true);
  }
  if (deadMsi) {
    bytes[MSI_AT] = CAPABILITY_MSI;
    view.setUint16(MSI_AT + 2, MSI_64BIT, true);
  }
  return bytes;
}
