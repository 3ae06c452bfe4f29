/** Detects what a device and its kernel support. */
import { ArgumentError, UnsupportedError } from "../core/errors.js";
import type { DeviceInfo, IrqInfo } from "./device-io.js";
import { type Feature, hasFeature } from "./feature.js";
import type { FeatureTarget } from "./feature-target.js";
import { hasGfxPlanes } from "./gfx.js";
import { hotResetInfo } from "./hot-reset.js";
import {
  VFIO_PCI_ERR_IRQ_INDEX,
  VFIO_PCI_INTX_IRQ_INDEX,
  VFIO_PCI_MSI_IRQ_INDEX,
  VFIO_PCI_MSIX_IRQ_INDEX,
  VFIO_PCI_REQ_IRQ_INDEX,
} from "./uapi.js";
import {
  VFIO_DEVICE_FEATURE_DMA_BUF,
  VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
  VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY,
  VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP,
  VFIO_DEVICE_FEATURE_MIG_DATA_SIZE,
  VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2,
  VFIO_DEVICE_FEATURE_MIGRATION,
  VFIO_DEVICE_FEATURE_PCI_VF_TOKEN,
} from "./uapi-feature.js";

/** What a device and this kernel's VFIO support. */
export interface DeviceCapabilities extends DeviceInfo {
  /** A slot or bus reset exists. hotResetInfo() says whether the caller may use it. */
  readonly hotReset: boolean;
  /** Interrupts by kind; a count of 0 means that the device has none. */
  readonly irqs: {
    /** The interrupt line. */
    readonly intx: IrqInfo;
    /** MSI: `count` is the number of vectors. */
    readonly msi: IrqInfo;
    /** MSI-X: `count` is the size of its table. */
    readonly msix: IrqInfo;
    /** Uncorrectable bus errors. */
    readonly err: IrqInfo;
    /** Requests of the host to release the device. */
    readonly req: IrqInfo;
  };
  /** setVfToken() works. */
  readonly vfToken: boolean;
  /** The device can be migrated: see `Migration`. */
  readonly migration: boolean;
  /** The kernel estimates the size of the device's state (VFIO_DEVICE_FEATURE_MIG_DATA_SIZE). */
  readonly migrationDataSize: boolean;
  /** Pre-copy can report that the initial state restarts (VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2). */
  readonly precopyInfoV2: boolean;
  /** The device can enter a low-power state: see enterLowPower(). */
  readonly lowPower: boolean;
  /** The device can signal an eventfd when it wakes (VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP). */
  readonly lowPowerWakeup: boolean;
  /** The device logs the pages that it writes: see `DmaLogging`. */
  readonly dmaLogging: boolean;
  /** Parts of BARs can be exported as dma-bufs: see exportDmaBuf(). */
  readonly dmaBuf: boolean;
  /** The device offers its display as dma-bufs (VFIO_GFX_PLANE_TYPE_DMABUF). */
  readonly displayDmaBuf: boolean;
  /** The device offers its display as a region (VFIO_GFX_PLANE_TYPE_REGION). */
  readonly displayRegion: boolean;
}

/** The part of a device that the probe uses. */
interface ProbedDevice extends FeatureTarget {
  info(): DeviceInfo;
  irqInfo(index: number): IrqInfo;
}

/** Reads the capabilities from the kernel. @throws StateError, ClosedError, SysError */
export function probeDevice(device: ProbedDevice): DeviceCapabilities {
  const has = (id: number, direction: "get" | "set"): boolean => {
    const feature: Feature = { id, name: `feature ${id}` };
    return hasFeature(device, feature, direction);
  };
  return {
    ...device.info(),
    hotReset: hasHotReset(device),
    irqs: {
      intx: irqOrNone(device, VFIO_PCI_INTX_IRQ_INDEX),
      msi: irqOrNone(device, VFIO_PCI_MSI_IRQ_INDEX),
      msix: irqOrNone(device, VFIO_PCI_MSIX_IRQ_INDEX),
      err: irqOrNone(device, VFIO_PCI_ERR_IRQ_INDEX),
      req: irqOrNone(device, VFIO_PCI_REQ_IRQ_INDEX),
    },
    vfToken: has(VFIO_DEVICE_FEATURE_PCI_VF_TOKEN, "set"),
    migration: has(VFIO_DEVICE_FEATURE_MIGRATION, "get"),
    migrationDataSize: has(VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, "get"),
    precopyInfoV2: has(VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2, "set"),
    lowPower: has(VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, "set"),
    lowPowerWakeup: has(VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP, "set"),
    dmaLogging: has(VFIO_DEVICE_FEATURE_DMA_LOGGING_START, "set"),
    dmaBuf: has(VFIO_DEVICE_FEATURE_DMA_BUF, "get"),
    displayDmaBuf: hasGfxPlanes(device, "dmabuf"),
    displayRegion: hasGfxPlanes(device, "region"),
  };
}

/** For a missing interrupt some kernels report a count of 0, and others reject the index. */
export function irqOrNone(device: Pick<ProbedDevice, "irqInfo">, index: number): IrqInfo {
  try {
    return device.irqInfo(index);
  } catch (error) {
    if (!(error instanceof ArgumentError)) throw error;
    return { index, count: 0, eventfd: false, maskable: false, automasked: false, noResize: false };
  }
}

function hasHotReset(device: FeatureTarget): boolean {
  try {
    hotResetInfo(device);
    return true;
  } catch (error) {
    if (error instanceof UnsupportedError) return false;
    throw error;
  }
}
