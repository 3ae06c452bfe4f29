/** Address spaces that devices can join. PciDevice joins one without knowing the mapper behind it. */
import type { DmaMapper } from "../dma/mapper.js";
import type { DeviceIo } from "./device-io.js";

/** A device that a mapper has attached to its address space. */
export interface JoinedDevice {
  /** The open device. PciDevice closes its lease, and calls {@link leave} afterwards. */
  readonly io: DeviceIo;
  /** Ends what the mapper holds for the device. Must not refer to {@link io}, which would then never be garbage. */
  readonly leave: () => void;
}

/**
 * A mapper that attaches devices to its address space. `PciDevice.open(bdf, { dma: new DmaSpace(mapper) })` calls it, so a
 * mapper of your own can give drivers devices that this library doesn't know.
 */
export interface JoinableMapper extends DmaMapper {
  /**
   * Opens a device and attaches it to the address space, with everything that is mapped there.
   * @param bdf domain:bus:device.function
   * @param token that a physical function and its virtual functions share, a UUID (`vfToken` of PciOpenOptions)
   * @throws SysError, UnsupportedError, ArgumentError with nothing left open
   */
  attach(bdf: string, token: string | undefined): JoinedDevice;
}

/** Whether devices can join the mapper's address space. */
export function isJoinable(mapper: DmaMapper): mapper is JoinableMapper {
  return "attach" in mapper && typeof mapper.attach === "function";
}
