/** The PCI configuration space of the emulated controller. */
import { initialConfigSpace } from "../../vfio-user/server/initial-config-space.js";
import type { Oddities } from "./host/oddities.js";
import { CMB_BAR } from "./queues/registers.js";

const CONFIG_BYTES = 4096;
const CAPABILITIES = 0x34;
/** Behind the capabilities of initialConfigSpace(). */
const EXPRESS_AT = 0x80;
const CAPABILITY_EXPRESS = 0x10;
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
  bytes.set(
    initialConfigSpace({
      ...{ vendorId, deviceId, classCode },
      msiVectors: deadMsi ? 1 : 0,
      msix: vectors > 0 ? { vectors, bar: MSIX_BAR, pendingOffset: MSIX_PBA_AT } : undefined,
    }),
  );
  view.setUint16(0x06, STATUS_CAPABILITIES, true);
  view.setUint32(0x10, BAR_64BIT, true);
  if (hasCmb) view.setUint32(0x10 + 4 * CMB_BAR, BAR_64BIT | BAR_PREFETCHABLE, true);
  view.setUint16(0x2c, vendorId, true);
  view.setUint16(0x2e, deviceId, true);

  bytes[EXPRESS_AT] = CAPABILITY_EXPRESS;
  bytes[EXPRESS_AT + 1] = view.getUint8(CAPABILITIES);
  bytes[CAPABILITIES] = EXPRESS_AT;
  // Version 2, endpoint.
  view.setUint16(EXPRESS_AT + 2, 0x0002, true);
  view.setUint32(EXPRESS_AT + 4, FUNCTION_LEVEL_RESET, true);
  // A link of one lane at 2.5 GT/s, which is up: some drivers look.
  view.setUint32(EXPRESS_AT + 12, 0x11, true);
  view.setUint16(EXPRESS_AT + 18, 0x11, true);
  return bytes;
}
