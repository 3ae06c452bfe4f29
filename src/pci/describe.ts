/** Describes a PCI function by its configuration space, for functions that aren't on the host's PCI bus. */
import { DeviceGoneError } from "../core/errors.js";
import type { DeviceIo } from "../vfio/device-io.js";
import { VFIO_PCI_CONFIG_REGION_INDEX } from "../vfio/uapi.js";
import { PciRegister } from "./config-space.js";
import type { PciBarInfo, PciFunction } from "./sysfs.js";

const HEADER_BYTES = 0x40;
const SUBSYSTEM_VENDOR = 0x2c;
const SUBSYSTEM = 0x2e;
const BARS = 0x10;
const BAR_IO = 1;
const BAR_TYPE_64 = 4;
const BAR_PREFETCHABLE = 8;
/** What the vendor id reads as if no function answers. */
const NO_FUNCTION = 0xffff;

/**
 * What sysfs would say of a function. The header is read at once, since each access is a message.
 * @param known what sysfs says of a mediated device
 * @throws DeviceGoneError if no function answers
 */
export function describeFunction(
  address: string,
  io: DeviceIo,
  known: { readonly driver?: string | undefined; readonly iommuGroup?: number | undefined } = {},
): PciFunction {
  const header = new DataView(new ArrayBuffer(HEADER_BYTES));
  io.readRegion(VFIO_PCI_CONFIG_REGION_INDEX, 0, new Uint8Array(header.buffer));
  if (header.getUint16(PciRegister.vendorId, true) === NO_FUNCTION) throw new DeviceGoneError(io.lease.label);
  const bars: PciBarInfo[] = [];
  for (let index = 0; index < 6; index++) {
    const { sizeBytes } = io.regionInfo(index);
    if (sizeBytes === 0) continue;
    const bits = header.getUint32(BARS + 4 * index, true);
    const isIo = (bits & BAR_IO) !== 0;
    bars.push({
      index,
      kind: isIo ? "io" : "memory",
      sizeBytes,
      prefetchable: !isIo && (bits & BAR_PREFETCHABLE) !== 0,
      is64Bit: !isIo && (bits & 6) === BAR_TYPE_64,
    });
  }
  return {
    bdf: address,
    vendorId: header.getUint16(PciRegister.vendorId, true),
    deviceId: header.getUint16(PciRegister.deviceId, true),
    subsystemVendorId: header.getUint16(SUBSYSTEM_VENDOR, true),
    subsystemDeviceId: header.getUint16(SUBSYSTEM, true),
    classCode: header.getUint32(PciRegister.revision, true) >>> 8,
    revision: header.getUint8(PciRegister.revision),
    driver: known.driver,
    iommuGroup: known.iommuGroup,
    numaNode: undefined,
    bars,
    physicalFunction: undefined,
    maxVirtualFunctions: 0,
    virtualFunctions: [],
  };
}
