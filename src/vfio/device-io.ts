import type { Lease } from "../core/lifetime/lease.js";
import type { MappedMemory } from "../sys/memory.js";

/** VFIO_DEVICE_GET_INFO. */
export interface DeviceInfo {
  readonly flags: number;
  /** Whether reset() can work. */
  readonly resettable: boolean;
  readonly isPci: boolean;
  readonly numRegions: number;
  readonly numIrqs: number;
  /** Operand widths in bits of the PCI atomic operations that are completed on the way to the device. */
  readonly atomicCompletion: readonly number[];
}

/** Part of a region that may be mapped. */
export interface RegionArea {
  readonly offset: number;
  readonly sizeBytes: number;
}

/** VFIO_DEVICE_GET_REGION_INFO with its capabilities. */
export interface RegionInfo {
  readonly index: number;
  /** 0 where the device has no such region. */
  readonly sizeBytes: number;
  /** Where the region starts in the device's descriptor. */
  readonly offset: number;
  readonly readable: boolean;
  readonly writable: boolean;
  /** What may be mapped: everything, the areas of the sparse-mmap capability, or nothing. */
  readonly mappable: readonly RegionArea[];
  /** The MSI-X table lies in a part that may be mapped (touch it all the same never). */
  readonly msixMappable: boolean;
  /** Kind of a device-specific region (VFIO_REGION_INFO_CAP_TYPE). */
  readonly type: { readonly type: number; readonly subtype: number } | undefined;
}

/** VFIO_DEVICE_GET_IRQ_INFO. */
export interface IrqInfo {
  readonly index: number;
  /** Number of vectors; 0 where the device has no such interrupt. */
  readonly count: number;
  readonly eventfd: boolean;
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
  /** With `retrying`, "back" or "lost" follows; without, nothing does. */
  | { readonly kind: "gone"; readonly error: Error; readonly retrying: boolean }
  | { readonly kind: "back" }
  /** It didn't come back in time. `error` says why the last attempt failed. */
  | { readonly kind: "lost"; readonly error: Error };

/**
 * How a device is reached: registers, interrupts, reset. One implementation per way to it (a VFIO descriptor, a
 * vfio-user socket); drivers never know which.
 */
export interface DeviceIo {
  readonly lease: Lease;
  info(): DeviceInfo;
  /** @throws ArgumentError on an index the device doesn't have */
  regionInfo(index: number): RegionInfo;
  /** Fills `target` from the region: one access of its size where that is 1, 2, 4 or 8 and aligned. */
  readRegion(index: number, offset: number, target: Uint8Array): void;
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
  /**
   * Calls `listener`, never in the middle of an access, when the device goes or comes back. Left out where that can't be
   * known.
   * @returns how to stop that
   */
  onPresence?(listener: (event: DevicePresence) => void): () => void;
}
