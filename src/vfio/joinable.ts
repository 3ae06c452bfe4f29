/** Address spaces that a further device can join: how pci/open.ts attaches one without knowing the backend. */
import type { Resource } from "../core/lifetime/resource.js";
import type { DmaMapper } from "../dma/mapper.js";
import type { DeviceIo } from "./device-io.js";

/** A device that a mapper has attached to its address space. */
export interface JoinedDevice {
  /** The open device. Its closer calls {@link leave} afterwards. */
  readonly io: DeviceIo & Resource;
  /** Ends what the mapper holds for the device. */
  leave(): void;
}

/** A mapper that attaches devices itself. */
export interface JoinableMapper extends DmaMapper {
  /**
   * Opens a device and attaches it to the address space, with everything that is mapped there.
   * @param bdf domain:bus:device.function
   * @param token of the physical function, a UUID
   * @throws SysError, UnsupportedError, ArgumentError with nothing left open
   */
  attach(bdf: string, token: string | undefined): JoinedDevice;
}

/** Whether devices can join the mapper's address space. */
export function isJoinable(mapper: DmaMapper): mapper is JoinableMapper {
  return "attach" in mapper && typeof mapper.attach === "function";
}
