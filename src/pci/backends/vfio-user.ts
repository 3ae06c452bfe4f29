/** The backend `vfio-user`: a server in another program has the device and translates. It is opened by the server's socket. */
import { DmaSpace } from "../../dma/space.js";
import type { DeviceIo } from "../../vfio/device-io.js";
import { VFIO_PCI_CONFIG_REGION_INDEX } from "../../vfio/uapi.js";
import { VfioUserClient } from "../../vfio-user/client/client.js";
import { VfioUserDevice } from "../../vfio-user/client/device.js";
import { VfioUserMapper } from "../../vfio-user/client/mapper.js";
import type { VfioUserOptions } from "../../vfio-user/client/options.js";
import { type OpenedBackend, opening } from "./backend.js";

/** The command register and two of its bits (PCI Local Bus 3.0, 6.2.2). */
const COMMAND = 0x04;
const IO_SPACE = 1 << 0;
const MEMORY_SPACE = 1 << 1;

/** Enables the registers of a function, as vfio-pci does when it opens one. */
function enableRegisters(io: DeviceIo): void {
  const command = new Uint8Array(2);
  io.readRegion(VFIO_PCI_CONFIG_REGION_INDEX, COMMAND, command);
  const [low = 0, high = 0] = command;
  io.writeRegion(VFIO_PCI_CONFIG_REGION_INDEX, COMMAND, Uint8Array.of(low | IO_SPACE | MEMORY_SPACE, high));
}

export const vfioUser = {
  name: "vfio-user",
  /** @param path of the server's socket @throws as VfioUserClient.connect() */
  open: (path: string, options: VfioUserOptions): OpenedBackend =>
    opening((opened) => {
      const client = opened(VfioUserClient.connect(path, options));
      const device = opened(new VfioUserDevice(client));
      const space = opened(new DmaSpace(new VfioUserMapper(client)));
      enableRegisters(device);
      client.onReconnect(() => {
        if (!device.closed) enableRegisters(device);
      });
      return { io: device, space, resources: [device, space, client] };
    }),
} as const;
