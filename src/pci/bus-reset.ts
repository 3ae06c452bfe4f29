/** Resets the slot or bus of a PCI function, with all functions on it. */
import { BusyError, UnsupportedError } from "../core/errors.js";
import type { DmaMapper } from "../dma/mapper.js";
import { VfioDevice } from "../vfio/device.js";
import type { DeviceIo } from "../vfio/device-io.js";
import { type AffectedDevice, hotReset, hotResetAsync, hotResetInfo } from "../vfio/hot-reset.js";
import { type GroupDescriptor, groupsOf } from "../vfio/joinable.js";

/** The functions that a bus reset affects. @throws UnsupportedError, SysError */
export function affectedByBusReset(io: DeviceIo): readonly AffectedDevice[] {
  return hotResetInfo(hostDevice(io)).devices;
}

/** @throws BusyError, UnsupportedError, SysError */
export function resetBus(io: DeviceIo, mapper: DmaMapper): void {
  const device = hostDevice(io);
  hotReset(device, groupsToReset(device, mapper));
}

/** {@link resetBus} off the JavaScript thread. */
export async function resetBusAsync(io: DeviceIo, mapper: DmaMapper): Promise<void> {
  const device = hostDevice(io);
  await hotResetAsync(device, groupsToReset(device, mapper));
}

/** The groups that prove ownership; none for a device opened by cdev. @throws BusyError if a function isn't ours to reset */
function groupsToReset(device: VfioDevice, mapper: DmaMapper): readonly GroupDescriptor[] {
  const { devices } = hotResetInfo(device);
  const groups = device.openedThrough === "group" ? groupsOf(mapper) : [];
  const isOurs = ({ group, owned }: AffectedDevice): boolean =>
    owned ?? groups.some(({ number }) => number === group);
  const others = devices.filter((each) => !isOurs(each)).map(({ bdf }) => bdf);
  if (others.length > 0) {
    throw new BusyError(
      `a bus reset of ${device.lease.label} would also reset ${others.join(", ")}: bind them to vfio-pci and open them in this process`,
    );
  }
  return groups.filter(({ number }) => devices.some(({ group }) => group === number));
}

function hostDevice(io: DeviceIo): VfioDevice {
  io.lease.assertOpen();
  if (io instanceof VfioDevice) return io;
  throw new UnsupportedError(`${io.lease.label} has no bus reset: only devices of the kernel's VFIO have it`);
}
