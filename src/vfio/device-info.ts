/** Decodes VFIO's flags, which are the same in the kernel's structs and in vfio-user's messages. */
import type { DeviceInfo, IrqInfo } from "./device-io.js";
import {
  VFIO_DEVICE_FLAGS_PCI,
  VFIO_DEVICE_FLAGS_RESET,
  VFIO_IRQ_INFO_AUTOMASKED,
  VFIO_IRQ_INFO_EVENTFD,
  VFIO_IRQ_INFO_MASKABLE,
  VFIO_IRQ_INFO_NORESIZE,
  VFIO_IRQ_SET_ACTION_MASK,
  VFIO_IRQ_SET_ACTION_TRIGGER,
  VFIO_IRQ_SET_ACTION_UNMASK,
} from "./uapi.js";

/** The action bits of VFIO_DEVICE_SET_IRQS by name. */
export const irqActions = {
  mask: VFIO_IRQ_SET_ACTION_MASK,
  unmask: VFIO_IRQ_SET_ACTION_UNMASK,
  trigger: VFIO_IRQ_SET_ACTION_TRIGGER,
} as const;

/** Decodes the answer of VFIO_DEVICE_GET_INFO. */
export function deviceInfoOf(
  {
    flags,
    num_regions,
    num_irqs,
  }: { readonly flags: number; readonly num_regions: number; readonly num_irqs: number },
  atomicCompletion: readonly number[],
): DeviceInfo {
  return {
    flags,
    resettable: (flags & VFIO_DEVICE_FLAGS_RESET) !== 0,
    isPci: (flags & VFIO_DEVICE_FLAGS_PCI) !== 0,
    numRegions: num_regions,
    numIrqs: num_irqs,
    atomicCompletion,
  };
}

/** Decodes the answer of VFIO_DEVICE_GET_IRQ_INFO for the interrupt `index`. */
export function irqInfoOf(
  index: number,
  { flags, count }: { readonly flags: number; readonly count: number },
): IrqInfo {
  return {
    index,
    count,
    eventfd: (flags & VFIO_IRQ_INFO_EVENTFD) !== 0,
    maskable: (flags & VFIO_IRQ_INFO_MASKABLE) !== 0,
    automasked: (flags & VFIO_IRQ_INFO_AUTOMASKED) !== 0,
    noResize: (flags & VFIO_IRQ_INFO_NORESIZE) !== 0,
  };
}
