import type { DeviceIo } from "../vfio/device-io.js";
import { type ConfigSpace, PciRegister } from "./config-space.js";
import type { PciBarInfo, PciFunction } from "./sysfs.js";

const SUBSYSTEM_VENDOR = 0x2c;
const SUBSYSTEM = 0x2e;
const BARS = 0x10;
const BAR_IO = 1;
const BAR_TYPE_64 = 4;
const BAR_PREFETCHABLE = 8;

/** What sysfs would say of a function, from its own configuration space. */
export function describeFunction(address: string, io: DeviceIo, config: ConfigSpace): PciFunction {
  const bars: PciBarInfo[] = [];
  for (let index = 0; index < 6; index++) {
    const { sizeBytes } = io.regionInfo(index);
    if (sizeBytes === 0) continue;
    const bits = config.read32(BARS + 4 * index);
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
    vendorId: config.read16(PciRegister.vendorId),
    deviceId: config.read16(PciRegister.deviceId),
    subsystemVendorId: config.read16(SUBSYSTEM_VENDOR),
    subsystemDeviceId: config.read16(SUBSYSTEM),
    classCode: config.read32(PciRegister.revision) >>> 8,
    revision: config.read8(PciRegister.revision),
    driver: undefined,
    iommuGroup: undefined,
    numaNode: undefined,
    bars,
  };
}
