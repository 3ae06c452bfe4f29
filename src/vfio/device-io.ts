/** The interface to a device on any backend: regions, interrupts and reset. */
import type { DeviceRequestedError } from "../core/errors.js";
import { checkLeased, type Lease } from "../core/lifetime/lease.js";
import type { ListenOptions, Subscription } from "../core/listeners.js";
import type { MappedMemory } from "../sys/memory.js";

/** Most vectors of an interrupt: MSI-X's limit. */
export const MAX_VECTORS = 2048;

/** VFIO_DEVICE_GET_INFO. */
export interface DeviceInfo {
  /** VFIO_DEVICE_FLAGS_* from the kernel or server. */
  readonly flags: number;
  /** Whether reset() can work. */
  readonly resettable: boolean;
  /** The device is a PCI function (VFIO_DEVICE_FLAGS_PCI). */
  readonly isPci: boolean;
  /** Number of region indexes; some may be empty. */
  readonly numRegions: number;
  /** Number of interrupt indexes; some may be empty. */
  readonly numIrqs: number;
  /** Operand widths, in bits, of PCI atomic operations that the path from the device completes. */
  readonly atomicCompletion: readonly number[];
}

/** Part of a region that may be mapped. */
export interface RegionArea {
  /** First byte, from the start of the region. */
  readonly offset: number;
  /** Length in bytes. */
  readonly sizeBytes: number;
}

/** VFIO_DEVICE_GET_REGION_INFO with its capabilities. */
export interface RegionInfo {
  /** The region's index, such as VFIO_PCI_BAR0_REGION_INDEX. */
  readonly index: number;
  /** 0 if the device has no such region. */
  readonly sizeBytes: number;
  /** Start of the region in the device's descriptor. */
  readonly offset: number;
  /** readRegion() is allowed. */
  readonly readable: boolean;
  /** writeRegion() is allowed. */
  readonly writable: boolean;
  /** Areas that may be mapped: the whole region, those of the sparse-mmap capability, or none. */
  readonly mappable: readonly RegionArea[];
  /** The MSI-X table lies in a mappable part. Never access it there. */
  readonly msixMappable: boolean;
  /** Kind of a device-specific region (VFIO_REGION_INFO_CAP_TYPE). */
  readonly type:
    | {
        /** The type, such as VFIO_REGION_TYPE_GFX, or VFIO_REGION_TYPE_PCI_VENDOR_TYPE with a vendor id. */
        readonly type: number;
        /** The subtype, whose meaning depends on the type. */
        readonly subtype: number;
      }
    | undefined;
}

/** VFIO_DEVICE_GET_IRQ_INFO. */
export interface IrqInfo {
  /** The interrupt's index, such as VFIO_PCI_MSIX_IRQ_INDEX. */
  readonly index: number;
  /** Number of vectors; 0 if the device has no such interrupt. */
  readonly count: number;
  /** The interrupt can signal eventfds (VFIO_IRQ_INFO_EVENTFD). */
  readonly eventfd: boolean;
  /** The interrupt can be masked and unmasked (VFIO_IRQ_INFO_MASKABLE). */
  readonly maskable: boolean;
  /** The kernel masks the interrupt when it occurs, until it is unmasked (INTx). */
  readonly automasked: boolean;
  /** The first enable fixes the number of vectors. */
  readonly noResize: boolean;
}

/**
 * Events of a device that disappears or should be given back. One of another program can return, too. Meanwhile every access throws a
 * DeviceGoneError. When it returns, the library restores memory mappings (at the same addresses), interrupts and mapped parts
 * of regions (the same views). Everything else (registers, queues, bus mastering) is as after a reset: the driver must set
 * it up again.
 */
export type DevicePresence =
  | {
      /** The device disappeared. */
      readonly kind: "gone";
      /** The reason. */
      readonly error: Error;
      /** If true, the library tries to reconnect, and "back" or "lost" follows. If false, no event follows. */
      readonly retrying: boolean;
    }
  | {
      /** The device returned. */
      readonly kind: "back";
    }
  | {
      /** The device didn't return in time. */
      readonly kind: "lost";
      /** Why the last attempt failed. */
      readonly error: Error;
    }
  | {
      /**
       * The kernel requests the device back, because it is unbound or removed; "gone" follows if it doesn't answer. The
       * kernel waits for `close()`, and repeats the event every few seconds.
       */
      readonly kind: "requested";
      /** The same as an error, with which waits end. */
      readonly error: DeviceRequestedError;
    }
  | {
      /** The bus reported an uncorrectable error of the device (AER): its state is unknown until a reset. */
      readonly kind: "error";
    };

/**
 * Access to a device: registers, interrupts, reset. A VFIO descriptor and a vfio-user socket have different
 * implementations; drivers don't depend on them.
 */
export interface DeviceIo {
  /** The device's lifetime. Users of the device end with it. */
  readonly lease: Lease;
  /** Information about the device. @throws ClosedError, SysError */
  info(): DeviceInfo;
  /** Information about a region. @throws ArgumentError for an index that the device lacks */
  regionInfo(index: number): RegionInfo;
  /** Fills `target` from the region, by one access if the size is 1, 2, 4 or 8 and aligned. */
  readRegion(index: number, offset: number, target: Uint8Array): void;
  /** Writes `source` to the region, by one access if the size is 1, 2, 4 or 8 and aligned. */
  writeRegion(index: number, offset: number, source: Uint8Array): void;
  /**
   * Several writes in this order at once. Absent if the backend can't do that; use writeRegion() then.
   * @throws as writeRegion(), after the writes before the failed one were done
   */
  writeRegions?(
    index: number,
    writes: readonly { readonly offset: number; readonly source: Uint8Array }[],
  ): void;
  /** Maps part of a region. @throws UnsupportedError if that part can't be mapped */
  mapRegion(index: number, offset: number, sizeBytes: number): MappedMemory;
  /** Information about an interrupt. @throws ArgumentError for an index that the device lacks */
  irqInfo(index: number): IrqInfo;
  /**
   * Sets the eventfds of vectors start, start + 1, ...; -1 removes a vector's eventfd.
   * @throws SysError, UnsupportedError if the device has fewer vectors
   */
  setIrqEventfds(index: number, start: number, fds: readonly number[]): void;
  /** Disables all vectors of an interrupt. */
  disableIrq(index: number): void;
  /** Masks, unmasks, or triggers vectors (a loopback test). */
  actOnIrq(index: number, action: "mask" | "unmask" | "trigger", start: number, count: number): void;
  /** Resets the function. @throws UnsupportedError if it has no reset */
  reset(): void;
  /** {@link reset} without blocking the JavaScript thread; absent if the backend can't do that. Errors reject. */
  resetAsync?(): Promise<void>;
  /**
   * Calls `listener` when the device disappears or returns, but never during an access. Absent if the backend can't detect
   * it.
   */
  onPresence?(listener: (event: DevicePresence) => void, options?: ListenOptions): Subscription;
}

/** @throws ArgumentError */
export function checkDeviceIo(io: DeviceIo): void {
  checkLeased("io", io, "a DeviceIo, such as the io of a PciDevice", {
    regionInfo: "function",
    readRegion: "function",
    writeRegion: "function",
    irqInfo: "function",
  });
}
