/** The interface to a device: regions, interrupts and reset, however the device is reached. */
import type { Lease } from "../core/lifetime/lease.js";
import type { ListenOptions, Subscription } from "../core/listeners.js";
import type { MappedMemory } from "../sys/memory.js";

/** Most vectors that an interrupt has: MSI-X's limit. */
export const MAX_VECTORS = 2048;

/** VFIO_DEVICE_GET_INFO. */
export interface DeviceInfo {
  /** VFIO_DEVICE_FLAGS_*, as the kernel or server gave them. */
  readonly flags: number;
  /** Whether reset() can work. */
  readonly resettable: boolean;
  /** The device is a PCI function (VFIO_DEVICE_FLAGS_PCI). */
  readonly isPci: boolean;
  /** Number of region indexes; some may be empty. */
  readonly numRegions: number;
  /** Number of interrupt indexes; some may be empty. */
  readonly numIrqs: number;
  /** Operand widths in bits of the PCI atomic operations that are completed on the way to the device. */
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
  /** Where the region starts in the device's descriptor. */
  readonly offset: number;
  /** readRegion() is allowed. */
  readonly readable: boolean;
  /** writeRegion() is allowed. */
  readonly writable: boolean;
  /** What may be mapped: everything, the areas of the sparse-mmap capability, or nothing. */
  readonly mappable: readonly RegionArea[];
  /** The MSI-X table lies in a part that may be mapped. Never touch it. */
  readonly msixMappable: boolean;
  /** Kind of a device-specific region (VFIO_REGION_INFO_CAP_TYPE). */
  readonly type:
    | {
        /** Such as VFIO_REGION_TYPE_GFX, or VFIO_REGION_TYPE_PCI_VENDOR_TYPE with a vendor id. */
        readonly type: number;
        /** Meaning depends on the type. */
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
  /** Masked by the kernel at each interrupt until unmasked (INTx). */
  readonly automasked: boolean;
  /** The number of vectors is fixed by the first enable. */
  readonly noResize: boolean;
}

/**
 * That a device went, and came back: one that another program serves can. While it is away every access is a
 * DeviceGoneError. Of what comes back, memory mappings (at the same addresses), interrupts and mapped parts of regions (the
 * views stay what they are) are set up as they were; all else (registers, queues, bus mastering) is as after a reset, and the
 * driver's to set up again.
 */
export type DevicePresence =
  | {
      /** The device went. */
      readonly kind: "gone";
      /** Why it went. */
      readonly error: Error;
      /** If true, the library tries to reach it again, and "back" or "lost" follows. If false, no event follows. */
      readonly retrying: boolean;
    }
  | {
      /** The device came back. */
      readonly kind: "back";
    }
  | {
      /** The device didn't come back in time. */
      readonly kind: "lost";
      /** Why the last attempt failed. */
      readonly error: Error;
    };

/**
 * How a device is reached: registers, interrupts, reset. One implementation per way to it (a VFIO descriptor, a
 * vfio-user socket); drivers never know which.
 */
export interface DeviceIo {
  /** The device's lifetime. What uses the device ends with it. */
  readonly lease: Lease;
  /** What the device is. @throws ClosedError, SysError */
  info(): DeviceInfo;
  /** @throws ArgumentError on an index the device doesn't have */
  regionInfo(index: number): RegionInfo;
  /** Fills `target` from the region: one access of its size where that is 1, 2, 4 or 8 and aligned. */
  readRegion(index: number, offset: number, target: Uint8Array): void;
  /** Writes `source` into the region: one access of its size where that is 1, 2, 4 or 8 and aligned. */
  writeRegion(index: number, offset: number, source: Uint8Array): void;
  /**
   * Several accesses, in this order, where the way to the device has something for that; else writeRegion() does the same.
   * @throws as writeRegion(); those before the one that failed are done
   */
  writeRegions?(
    index: number,
    writes: readonly { readonly offset: number; readonly source: Uint8Array }[],
  ): void;
  /** Maps part of a region. @throws UnsupportedError where the region or that part can't be mapped */
  mapRegion(index: number, offset: number, sizeBytes: number): MappedMemory;
  /** What an interrupt can do. @throws ArgumentError for an index that the device lacks */
  irqInfo(index: number): IrqInfo;
  /**
   * Signals these eventfds at vectors start, start + 1, ...; -1 takes a vector's eventfd away.
   * @throws SysError, UnsupportedError where the device has fewer vectors
   */
  setIrqEventfds(index: number, start: number, fds: readonly number[]): void;
  /** Switches an interrupt off altogether. */
  disableIrq(index: number): void;
  /** Masks, unmasks or triggers (as a loopback test) vectors. */
  actOnIrq(index: number, action: "mask" | "unmask" | "trigger", start: number, count: number): void;
  /** Resets the function. @throws UnsupportedError where it has no reset */
  reset(): void;
  /** {@link reset} without blocking the JavaScript thread; left out if there is no such way. @throws as a rejection */
  resetAsync?(): Promise<void>;
  /**
   * Calls `listener`, never in the middle of an access, when the device goes or comes back. Left out if that can't be
   * known.
   */
  onPresence?(listener: (event: DevicePresence) => void, options?: ListenOptions): Subscription;
}
