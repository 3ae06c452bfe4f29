/**
 * Switches interrupts on in the configuration space of a device behind a vfio-user server.
 *
 * For a device of the kernel VFIO does this at VFIO_DEVICE_SET_IRQS. A server need not: those built on libvfio-user look at
 * MSI-X Enable, MSI Enable and Interrupt Disable, as hardware does, which a virtual machine's guest writes by itself.
 */
import type { DeviceIo } from "../../vfio/device-io.js";
import {
  CAPABILITY_MSI,
  CAPABILITY_MSIX,
  MESSAGE_CONTROL,
  MSI_ENABLE,
  MSIX_ENABLE,
  MSIX_FUNCTION_MASK,
} from "../../vfio/message-interrupts.js";
import { pciCapabilities } from "../../vfio/pci-capabilities.js";
import {
  VFIO_PCI_CONFIG_REGION_INDEX,
  VFIO_PCI_INTX_IRQ_INDEX,
  VFIO_PCI_MSI_IRQ_INDEX,
  VFIO_PCI_MSIX_IRQ_INDEX,
} from "../../vfio/uapi.js";

/** PCI Local Bus 3.0, 6.2 and 6.8. */
const COMMAND = 0x04;
const INTERRUPT_DISABLE = 1 << 10;
/** Multiple Message Enable: the power of two of the vectors in use. */
const MSI_VECTORS_SHIFT = 4;
const MSI_VECTORS_MASK = 7 << MSI_VECTORS_SHIFT;

type Registers = Pick<DeviceIo, "readRegion" | "writeRegion">;

/**
 * Lets the function interrupt in this way. With MSI or MSI-X enabled it may not use its pin (PCI Local Bus 3.0, 6.8.1).
 * @param vectors in use, of MSI
 */
export function enableInterrupts(io: Registers, index: number, vectors: number): void {
  switch (index) {
    case VFIO_PCI_INTX_IRQ_INDEX:
      change16(io, COMMAND, INTERRUPT_DISABLE, 0);
      return;
    case VFIO_PCI_MSI_IRQ_INDEX: {
      const power = Math.min(5, Math.ceil(Math.log2(Math.max(1, vectors))));
      changeMessageControl(
        io,
        CAPABILITY_MSI,
        MSI_ENABLE | MSI_VECTORS_MASK,
        MSI_ENABLE | (power << MSI_VECTORS_SHIFT),
      );
      return;
    }
    case VFIO_PCI_MSIX_IRQ_INDEX:
      changeMessageControl(io, CAPABILITY_MSIX, MSIX_ENABLE | MSIX_FUNCTION_MASK, MSIX_ENABLE);
  }
}

/** Keeps the function from interrupting in this way. */
export function disableInterrupts(io: Registers, index: number): void {
  switch (index) {
    case VFIO_PCI_INTX_IRQ_INDEX:
      change16(io, COMMAND, INTERRUPT_DISABLE, INTERRUPT_DISABLE);
      return;
    case VFIO_PCI_MSI_IRQ_INDEX:
      changeMessageControl(io, CAPABILITY_MSI, MSI_ENABLE, 0);
      return;
    case VFIO_PCI_MSIX_IRQ_INDEX:
      changeMessageControl(io, CAPABILITY_MSIX, MSIX_ENABLE, 0);
  }
}

/** A function without the capability has no such switch: its server decides by the eventfds alone. */
function changeMessageControl(io: Registers, id: number, mask: number, value: number): void {
  const at = findCapability(io, id);
  if (at !== undefined) change16(io, at + MESSAGE_CONTROL, mask, value);
}

function findCapability(io: Registers, id: number): number | undefined {
  const read = (offset: number, target: Uint8Array): void =>
    io.readRegion(VFIO_PCI_CONFIG_REGION_INDEX, offset, target);
  for (const capability of pciCapabilities(read)) if (capability.id === id) return capability.offset;
  return undefined;
}

function change16(io: Registers, offset: number, mask: number, value: number): void {
  const bytes = new Uint8Array(2);
  io.readRegion(VFIO_PCI_CONFIG_REGION_INDEX, offset, bytes);
  const view = new DataView(bytes.buffer);
  const before = view.getUint16(0, true);
  const after = (before & ~mask) | value;
  if (after === before) return;
  view.setUint16(0, after, true);
  io.writeRegion(VFIO_PCI_CONFIG_REGION_INDEX, offset, bytes);
}
