/** Capabilities of message interrupts in PCI configuration space (PCI Local Bus 3.0, 6.8). */

export const CAPABILITY_MSI = 0x05;
export const CAPABILITY_MSIX = 0x11;
/** Message Control, at this offset in both capabilities. */
export const MESSAGE_CONTROL = 2;
export const MSI_ENABLE = 1 << 0;
export const MSIX_ENABLE = 1 << 15;
export const MSIX_FUNCTION_MASK = 1 << 14;
export const MAX_MSI_VECTORS = 32;
export const MAX_MSIX_VECTORS = 2048;
/** An entry of the MSI-X table: address, data, vector control. */
export const MSIX_ENTRY_BYTES = 16;
